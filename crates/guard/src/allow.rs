//! The operator's exceptions: addresses, networks and host names that may be
//! connected to although they are not public.

use std::net::IpAddr;

use crate::address::{canonical, holds_v4, holds_v6};

/// A text that is no exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` {reason}; use an address (10.1.2.3), a network (10.1.0.0/16, fd00::/8) or a host name (minio.internal)"
)]
pub struct AllowError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A network, with the address in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Net {
    address: IpAddr,
    length: u32,
}

/// What is allowed beside public addresses: nothing, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    nets: Vec<Net>,
    /// In lower case, in their ASCII form, without a dot at the end.
    hosts: Vec<String>,
}

impl Allow {
    /// Reads exceptions, one a text.
    ///
    /// # Errors
    /// A text that is none.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, AllowError> {
        let mut allow = Self::default();
        for text in texts {
            let text = text.as_ref().trim();
            let refuse = |reason| AllowError {
                text: text.escape_debug().to_string(),
                reason,
            };
            if text.contains('/') || text.parse::<IpAddr>().is_ok() {
                allow.nets.push(net(text).map_err(refuse)?);
            } else {
                allow.hosts.push(host(text).map_err(refuse)?);
            }
        }
        Ok(allow)
    }

    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        self.nets.iter().any(|net| match (net.address, address) {
            (IpAddr::V4(net_v4), IpAddr::V4(v4)) => holds_v4(net_v4, net.length, v4),
            (IpAddr::V6(net_v6), IpAddr::V6(v6)) => holds_v6(net_v6, net.length, v6),
            _ => false,
        })
    }

    pub(crate) fn has_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

fn net(text: &str) -> Result<Net, &'static str> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "is not a network")?;
    if canonical(address) != address {
        return Err("is IPv4 written as IPv6");
    }
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        // A sign is no part of a length.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|length| *length <= longest)
            .ok_or("has a length that its address does not")?,
        Some(_) => return Err("is not a network"),
        None => longest,
    };
    let is_clean = match address {
        IpAddr::V4(v4) => u32::from(v4).trailing_zeros() >= 32 - length,
        IpAddr::V6(v6) => u128::from(v6).trailing_zeros() >= 128 - length,
    };
    if !is_clean {
        return Err("has bits set behind its length");
    }
    Ok(Net { address, length })
}

fn host(text: &str) -> Result<String, &'static str> {
    let name = match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => name,
        // `0x7f.1` and its like are spellings of an address.
        Ok(_) => return Err("is an address in another spelling"),
        Err(_) => return Err("is not a host name"),
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.is_empty() || name.contains('*') {
        return Err("is not a host name");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_hosts() {
        let allow = Allow::parse(&[
            "127.0.0.1/32",
            "10.1.0.0/16",
            "fd00::/8",
            "192.168.7.7",
            "MinIO.Internal.",
        ])
        .unwrap();
        for (address, is_allowed) in [
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:127.0.0.1", true),
            ("::1", false),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("192.168.7.7", true),
            ("192.168.7.8", false),
        ] {
            assert_eq!(
                allow.has_address(address.parse().unwrap()),
                is_allowed,
                "{address}"
            );
        }
        assert!(allow.has_host("minio.internal") && allow.has_host("MINIO.internal."));
        assert!(!allow.has_host("x.minio.internal") && !allow.has_host("internal"));
    }

    #[test]
    fn everything_and_nothing() {
        let all = Allow::parse(&["0.0.0.0/0", "::/0"]).unwrap();
        assert!(all.has_address("127.0.0.1".parse().unwrap()));
        assert!(all.has_address("::1".parse().unwrap()));
        assert!(!Allow::default().has_address("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_exception_is_refused_with_what_would_do() {
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.0/104",
            "*.internal",
            "0x7f.1",
            "2130706433",
            "",
            ".",
            "http://host",
            "a b",
        ] {
            let error = Allow::parse(&[text]).unwrap_err().to_string();
            assert!(error.contains("use an address"), "{text}: {error}");
        }
    }
}
