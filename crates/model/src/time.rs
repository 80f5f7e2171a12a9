//! Points in time, as the database and the segments hold them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time now, by this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// This time and `duration` more.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This time less `duration`.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long from `earlier` to this time; nothing if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Timestamp {
    /// The second in which this time lies, in RFC 3339 and UTC: what every server can
    /// compare with, since many keep no fractions.
    #[must_use]
    pub fn to_second(self) -> String {
        Self(self.0.div_euclid(1_000_000).saturating_mul(1_000_000)).to_string()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => fmt::Display::fmt(&time, f),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

/// The instant a FHIR `instant` or `dateTime` text names, where it names one:
/// version order needs instants, since offsets differ. Partial dates give none.
#[must_use]
pub fn fhir_instant(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|time| Timestamp(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_compare_across_offsets() {
        let utc = fhir_instant("2024-01-02T00:00:00Z").unwrap();
        let east = fhir_instant("2024-01-02T00:00:00.123+10:00").unwrap();
        assert!(east < utc);
        assert_eq!(fhir_instant("2024-01"), None);
        let second = fhir_instant("2024-01-02T00:00:00.987Z")
            .unwrap()
            .to_second();
        assert_eq!(second, "2024-01-02T00:00:00Z");
    }
}
