//! A string that is not printed. [`Secret::expose`] is the only way to it.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What is shown instead of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// A string whose `Debug` and `Serialize` say `[redacted]`. It has no
/// `Display`, so that it cannot slip into a message.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Each call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no value was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { REDACTED })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { REDACTED })
    }
}

/// Writes a database URL with its password replaced; one that cannot be parsed
/// is replaced whole.
pub(crate) fn redacted_url<S: Serializer>(url: &Secret, out: S) -> Result<S::Ok, S::Error> {
    let text = url.expose();
    if text.is_empty() || (text.starts_with("sqlite:") && !text.contains('?')) {
        return out.serialize_str(text);
    }
    match url::Url::parse(text) {
        Ok(mut parsed) => {
            // The query may hold a password too (`?password=`).
            if parsed.query().is_some() {
                parsed.set_query(Some(REDACTED));
            }
            if parsed.password().is_some() && parsed.set_password(Some("redacted")).is_err() {
                return out.serialize_str(REDACTED);
            }
            out.serialize_str(parsed.as_str())
        }
        Err(_) => out.serialize_str(REDACTED),
    }
}
