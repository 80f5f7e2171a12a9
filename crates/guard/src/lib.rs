//! The one way out: every HTTP request to an address that an operator, a portal
//! or a link names goes through [`Guard::client`].
//!
//! Owns the rule of which addresses may be connected to, and what bounds every
//! request: redirects, timeouts, the size of a body. Invariants: an address is
//! checked after it was resolved and is the one connected to; an IP literal is
//! checked before each request and each redirect; a refusal tells neither the
//! address nor whether anybody listens there. No proxy of the environment is
//! used: it would resolve names elsewhere.
//!
//! Never here: credentials, what a body means, retries.

mod address;
mod allow;
mod body;
mod client;
mod resolve;
#[cfg(test)]
mod tests;

pub use address::is_public;
pub use allow::{Allow, AllowError};
pub use body::{BodyError, whole};
pub use client::{Bounds, Client, Error, Redirects};
pub use resolve::{Found, Guard, Lookup};

/// The stable code of [`Refused`], wherever one is told.
pub const ADDRESS_REFUSED: &str = "address_refused";

/// An address that must not be connected to. It says no more than that: whoever
/// chose the address might learn from the rest what lies in this network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its address is private, local or reserved, and not allowed: if it is meant, add the address or the host to `guard.allow`"
)]
pub struct Refused;

impl Refused {
    /// Whether `error` or a cause of it is a refusal.
    #[must_use]
    pub fn is_in(error: &(dyn std::error::Error + 'static)) -> bool {
        holds::<Self>(error)
    }
}

/// Whether a request failed since no TLS connection came about: a certificate that
/// is not accepted, or a server that does not speak TLS.
#[must_use]
pub fn is_tls(error: &reqwest::Error) -> bool {
    holds::<rustls::Error>(error)
}

/// Whether `error` or a cause of it is an `E`.
fn holds<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        // An I/O error hides what it wraps from `source`.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if wrapped.is_some_and(|inner| holds::<E>(inner)) {
            return true;
        }
        cause = error.source();
    }
    false
}
