//! The key to a store, and where the store answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

/// The region that stores without regions go by.
const REGION: &str = "us-east-1";

/// A key that cannot be used. No text repeats what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It is no JSON object with these members.
    #[error(
        "the credentials are not JSON with access_key_id and secret_access_key, and where needed session_token, endpoint, region and allow_http"
    )]
    Form,
    /// Half of the key is missing.
    #[error("access_key_id and secret_access_key must both be given")]
    Missing,
    /// Something that no header can carry.
    #[error("the credentials hold white space or control characters")]
    Text,
    /// The endpoint is no URL that can be asked.
    #[error("the endpoint must be http:// or https://, with a host and without credentials")]
    Endpoint,
    /// The endpoint is not encrypted, and nobody has allowed that.
    #[error("the endpoint begins with http://: set allow_http if that is meant")]
    Http,
    /// The client could not be set up.
    #[error("the client of the object store cannot be set up on this machine")]
    Setup,
}

/// A key to a store in S3. `Debug` shows that there is one, and nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The key's id.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What belongs to a key for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// Where the store answers; none for Amazon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its region; `us-east-1` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether an endpoint that begins with `http://` is meant.
    #[serde(default)]
    pub allow_http: bool,
}

impl Access {
    /// Reads a key from JSON, and checks it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn from_json(text: &[u8]) -> Result<Self, AccessError> {
        let access: Self = serde_json::from_slice(text).map_err(|_| AccessError::Form)?;
        access.check()?;
        Ok(access)
    }

    /// The key as JSON, to be sealed.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and flags serialise")
    }

    /// Whether it could be a key.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn check(&self) -> Result<(), AccessError> {
        if self.access_key_id.is_empty() || self.secret_access_key.is_empty() {
            return Err(AccessError::Missing);
        }
        let texts = [Some(&self.access_key_id), Some(&self.secret_access_key)];
        let texts = texts
            .into_iter()
            .chain([self.session_token.as_ref(), self.region.as_ref()]);
        if !texts.flatten().all(|text| is_plain(text)) {
            return Err(AccessError::Text);
        }
        let Some(endpoint) = self.endpoint() else {
            return Ok(());
        };
        let url = Url::parse(endpoint).map_err(|_| AccessError::Endpoint)?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match url.scheme() {
            "https" | "http" if !url.has_host() || !is_bare => Err(AccessError::Endpoint),
            "http" if !self.allow_http => Err(AccessError::Http),
            "https" | "http" => Ok(()),
            _ => Err(AccessError::Endpoint),
        }
    }

    /// The endpoint in the form of a URL that the store's client takes: in ASCII,
    /// its host as it is asked. Given another, the client panics.
    pub(crate) fn endpoint_url(&self) -> Option<String> {
        let endpoint = self.endpoint()?;
        let url = Url::parse(endpoint).ok();
        let text = url.map_or_else(|| endpoint.to_owned(), String::from);
        Some(text.trim_end_matches('/').to_owned())
    }

    /// Where the store answers; none for Amazon's own.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().filter(|text| !text.is_empty())
    }

    pub(crate) fn region(&self) -> &str {
        let given = self.region.as_deref().filter(|text| !text.is_empty());
        given.unwrap_or(REGION)
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(..)")
    }
}
