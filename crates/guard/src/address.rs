//! Which addresses are public. What is not listed as public is not: a range that
//! is given out later fails closed for IPv6, where one block holds all of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 that is private, local, shared, for documentation or benchmarks, an
/// anycast relay, multicast or reserved: address and length of the prefix.
const REFUSED_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local: the metadata services of clouds are here.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // With the broadcast address.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The block of public IPv6. Outside of it lie `::`, `::1`, `64:ff9b::/96` and
/// `64:ff9b:1::/48` (which lead to IPv4), `100::/64`, `5f00::/16`, `fc00::/7`,
/// `fe80::/10` and `ff00::/8`.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What in that block is not public: Teredo and other protocols' assignments,
/// documentation, and 6to4, which leads to IPv4.
const REFUSED_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(v4) => !REFUSED_V4
            .iter()
            .any(|(net, length)| holds_v4(*net, *length, v4)),
        IpAddr::V6(v6) => {
            holds_v6(PUBLIC_V6.0, PUBLIC_V6.1, v6)
                && !REFUSED_V6
                    .iter()
                    .any(|(net, length)| holds_v6(*net, *length, v6))
        }
    }
}

/// The address a packet would go to: IPv4 in its mapped (`::ffff:a.b.c.d`) or
/// compatible (`::a.b.c.d`) form becomes IPv4.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    // `::` and `::1` are IPv6's own.
    match u128::from(v6) {
        0 | 1 => address,
        bits => u32::try_from(bits).map_or(address, |v4| Ipv4Addr::from(v4).into()),
    }
}

pub(crate) fn holds_v4(net: Ipv4Addr, length: u32, address: Ipv4Addr) -> bool {
    let differs = u32::from(net) ^ u32::from(address);
    differs.leading_zeros() >= length
}

pub(crate) fn holds_v6(net: Ipv6Addr, length: u32, address: Ipv6Addr) -> bool {
    let differs = u128::from(net) ^ u128::from(address);
    differs.leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_public() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
