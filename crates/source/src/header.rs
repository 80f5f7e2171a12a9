//! Response headers that say when: `Date` and `Retry-After`.

use std::time::Duration;

use model::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};

/// Longer waits are cut to this: a source that says "tomorrow" is asked again by
/// the schedule of pulls, not by a waiting run.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A reset at this number of seconds or more is a time since 1970, not a wait.
const EPOCH_SECONDS_MIN: u64 = 1_000_000_000;

/// The source's clock.
pub(crate) fn served_at(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// How long the source asks us to wait: `Retry-After` in seconds or as a date by its
/// own clock, else what large vendors say instead.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let now = || served_at(headers).unwrap_or_else(Timestamp::now);
    let by_standard = |wait: &str| match wait.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(http_date(wait)?.since(now())),
    };
    let until_reset = |wait: &str| {
        let seconds: u64 = wait.parse().ok()?;
        let at = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        Some(if seconds < EPOCH_SECONDS_MIN {
            Duration::from_secs(seconds)
        } else {
            Timestamp(at).since(now())
        })
    };
    let wait = text(RETRY_AFTER.as_str())
        .and_then(by_standard)
        .or_else(|| {
            Some(Duration::from_millis(
                text("x-ms-retry-after-ms")?.parse().ok()?,
            ))
        })
        .or_else(|| until_reset(text("ratelimit-reset")?))
        .or_else(|| until_reset(text("x-ratelimit-reset")?))?;
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Whether the answer says that the token is good and its scopes do not reach.
pub(crate) fn is_insufficient_scope(headers: &HeaderMap) -> bool {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("insufficient_scope"))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(Timestamp(date.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        retry_after(&map)
    }

    #[test]
    fn retry_after_has_two_forms() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            wait(&[("retry-after", "120")]),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            wait(&[("retry-after", "999999999999")]),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(
            wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]),
            Some(Duration::ZERO)
        );
        assert_eq!(
            wait(&[("retry-after", "Thu, 01 Jan 2099 00:00:00 GMT")]),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(
            wait(&[("x-ms-retry-after-ms", "1500")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            wait(&[("retry-after", "soon"), ("ratelimit-reset", "3")]),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            wait(&[date, ("x-ratelimit-reset", "784111787")]),
            Some(Duration::from_secs(784_111_787).min(RETRY_AFTER_MAX))
        );
        let later = ("date", "Sat, 01 Jan 2022 00:00:00 GMT");
        assert_eq!(
            wait(&[later, ("x-ratelimit-reset", "1640995210")]),
            Some(Duration::from_secs(10))
        );
        assert_eq!(wait(&[("ratelimit-reset", "")]), None);
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("retry-after", "-1")]), None);
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn the_date_header_is_the_servers_clock() {
        let mut map = HeaderMap::new();
        map.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(served_at(&map), Some(Timestamp(784_111_777_000_000)));
        map.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(served_at(&map), None);
    }
}
