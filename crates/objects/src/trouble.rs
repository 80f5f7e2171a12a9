//! What a store's refusals mean, told apart where its client does not.

use std::error::Error;

/// A refusal that no later attempt changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Its address must not be connected to.
    #[error("the object store is not asked: {}", guard::Refused)]
    AddressRefused,
    /// There is no such bucket.
    #[error("the bucket does not exist")]
    BucketMissing,
    /// The key is unknown, expired or wrong.
    #[error("the object store does not accept the key")]
    KeyRefused,
    /// The key may not do this.
    #[error("the key has no right to do this")]
    Denied,
    /// Its clock and ours are too far apart.
    #[error("the object store's clock and this machine's are too far apart")]
    ClockSkew,
    /// No encrypted connection came about.
    #[error("no TLS connection to the object store came about")]
    Tls,
}

/// Codes of S3 that speak of the key itself.
const KEY_CODES: [&str; 8] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "XAdminUserNotFound",
];

impl Trouble {
    /// What an answer with this status and code says.
    pub(crate) fn of(status: u16, code: &str) -> Option<Self> {
        match (status, code) {
            (404, "NoSuchBucket") => Some(Self::BucketMissing),
            (403, "RequestTimeTooSkewed") => Some(Self::ClockSkew),
            (400 | 401 | 403 | 404, code) if KEY_CODES.contains(&code) => Some(Self::KeyRefused),
            (401, _) => Some(Self::KeyRefused),
            (403, _) => Some(Self::Denied),
            _ => None,
        }
    }

    /// The refusal among the causes of a store's error.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(trouble) = error.downcast_ref::<Self>() {
                return Some(*trouble);
            }
            cause = error.source();
        }
        None
    }
}
