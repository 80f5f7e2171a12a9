//! Object stores in S3, for whoever keeps objects there: the record store and
//! destinations. Where one lies, with what key, and what its refusals mean.
//!
//! Invariants: every request goes through the guard, and with a key that was
//! given for this store: nothing is read from the environment or asked of a
//! metadata service. Of a store's error answers only the code is kept, since the
//! rest may repeat what was signed or whose key it was.

mod access;
mod connect;
mod location;
#[cfg(test)]
mod tests;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use guard::{Bounds, Guard, Redirects};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

pub use access::{Access, AccessError};
pub use location::{Location, LocationError, is_s3};
pub use trouble::Trouble;

/// Tries of a request within the store's client. Few: whoever calls has retries of
/// its own, that others can see.
const RETRIES_MAX: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a byte from the store; while it is sent to it says nothing, so this
/// bounds an upload: 32 MiB at 270 kB/s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest part in flight is some tens of MiB, but batches may be larger.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Opens the store at `location`. Reaches for nothing yet.
///
/// # Errors
/// A key, an endpoint or a region that cannot be used.
pub fn open(
    location: &Location,
    access: &Access,
    guard: &Guard,
) -> Result<Arc<dyn ObjectStore>, AccessError> {
    access.check()?;
    let bounds = Bounds {
        connect_timeout: Duration::from_secs(10),
        idle_timeout: IDLE_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        redirects: Redirects::None,
        https_only: !access.allow_http,
        decompress: false,
    };
    let client = guard.client(&bounds).map_err(|_| AccessError::Setup)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&location.bucket)
        .with_access_key_id(&access.access_key_id)
        .with_secret_access_key(&access.secret_access_key)
        .with_region(access.region())
        .with_allow_http(access.allow_http)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIMEOUT,
        })
        .with_http_connector(connect::Connector::new(client));
    if let Some(token) = &access.session_token {
        builder = builder.with_token(token);
    }
    if let Some(endpoint) = access.endpoint_url() {
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder.build().map_err(|_| AccessError::Setup)?;
    Ok(match &location.prefix {
        Some(prefix) => Arc::new(PrefixStore::new(store, prefix.clone())),
        None => Arc::new(store),
    })
}
