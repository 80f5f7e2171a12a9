//! Ids: a UUIDv7 behind a prefix that says what it names, so that a stray id in
//! a log or a URL explains itself. Our ids may appear anywhere; the source's ids
//! never do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {noun} id: expected `{prefix}` followed by 32 hexadecimal digits")]
pub struct IdError {
    /// The noun the id should name.
    pub noun: &'static str,
    /// The prefix it should carry.
    pub prefix: &'static str,
    /// What was given, cut to 64 characters.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix of this kind of id.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; later ids sort after earlier ones.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .filter(|rest| rest.len() == 32 && !rest.contains(|c: char| c.is_ascii_uppercase()))
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| IdError {
                        noun: $noun,
                        prefix: $prefix,
                        text: text.chars().take(64).collect(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/// A FHIR server or patient portal.
    SourceId, "src_", "source");
id!(/// A person of the operator's.
    PatientId, "pat_", "patient");
id!(/// A patient at a source.
    ConnectionId, "con_", "connection");
id!(/// One run of fetching a connection.
    PullId, "pul_", "pull");
id!(/// A document that a resource names by its URL.
    AttachmentId, "att_", "attachment");
id!(/// An immutable file of a connection's log.
    BatchId, "bat_", "batch");
id!(/// Where records go.
    DestinationId, "dst_", "destination");
id!(/// One run of delivering to a destination.
    ExportId, "exp_", "export");
id!(/// Something that happened.
    EventId, "evt_", "event");
id!(/// One test or rehearsal of a destination.
    ProbeId, "prb_", "probe");
id!(/// A key to the API.
    KeyId, "key_", "key");
id!(/// An entry of the audit log.
    AuditId, "aud_", "audit entry");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_sorts_by_time() {
        let (first, second) = (PullId::new(), PullId::new());
        assert!(first.to_string() < second.to_string());
        assert_eq!(first.to_string().parse::<PullId>().unwrap(), first);
    }

    #[test]
    fn refuses_another_kind_and_names_what_it_wants() {
        let error = ConnectionId::from_str(&PullId::new().to_string()).unwrap_err();
        assert!(error.to_string().contains("not a connection id"));
        assert!("con_123".parse::<ConnectionId>().is_err());
    }
}
