//! The guard itself: names are resolved here and nowhere else, and what comes of
//! it is checked before it is handed on.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::{Allow, Refused, is_public};

/// The addresses of a name.
pub type Found = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// How names are resolved: by the system; tests have their own answers.
pub type Lookup = dyn Fn(String) -> Found + Send + Sync;

/// Which addresses may be connected to. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    allow: Arc<Allow>,
    lookup: Arc<Lookup>,
}

impl Guard {
    /// A guard that lets public addresses and these exceptions through.
    #[must_use]
    pub fn new(allow: Allow) -> Self {
        Self::with_lookup(allow, Arc::new(|name| Box::pin(system(name))))
    }

    /// A guard that resolves names its own way, for tests of what a name may lead to.
    #[must_use]
    pub fn with_lookup(allow: Allow, lookup: Arc<Lookup>) -> Self {
        Self {
            allow: Arc::new(allow),
            lookup,
        }
    }

    /// Whether this address may be connected to.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        if is_public(address) || self.allow.has_address(address) {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// Checks a URL as far as it can be without asking anybody: one whose host is
    /// an IP address, however that is spelled. Such a host never meets
    /// the resolver.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_literal(&self, url: &Url) -> Result<(), Refused> {
        match url.host() {
            Some(Host::Ipv4(v4)) => self.check(v4.into()),
            Some(Host::Ipv6(v6)) => self.check(v6.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => Err(Refused),
        }
    }

    /// Whether a URL could be asked at this moment, for a person who gives one: a
    /// name that has no address now is not refused. It holds nothing for later:
    /// each connection is checked anew.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit(&self, url: &Url) -> Result<(), Refused> {
        self.check_literal(url)?;
        let Some(Host::Domain(name)) = url.host() else {
            return Ok(());
        };
        match self.addresses(name.to_owned()).await {
            Err(error) if Refused::is_in(&*error) => Err(Refused),
            _ => Ok(()),
        }
    }

    /// The addresses of `name` that may be connected to.
    async fn addresses(
        &self,
        name: String,
    ) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let is_trusted = self.allow.has_host(&name);
        let found = (self.lookup)(name).await?;
        let had_any = !found.is_empty();
        let let_through: Vec<IpAddr> = found
            .into_iter()
            .filter(|address| is_trusted || self.check(*address).is_ok())
            .collect();
        if had_any && let_through.is_empty() {
            return Err(Refused.into());
        }
        Ok(let_through)
    }
}

/// What the HTTP client resolves names with.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, name) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let addresses = guard.addresses(name).await?;
            // The client puts the URL's port in the place of 0.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

async fn system(name: String) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}
