//! Response headers that say when: `Date` and `Retry-After`.

use std::time::Duration;

use model::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Longer waits are cut to this: a source that says "tomorrow" is asked again by
/// the schedule of pulls, not by a waiting run.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The source's clock.
pub(crate) fn served_at(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// How long the source asks us to wait: seconds, or a date by its own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let wait = match (text(RETRY_AFTER.as_str()), text("x-ms-retry-after-ms")) {
        (Some(wait), _) => match wait.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => http_date(wait)?.since(served_at(headers).unwrap_or_else(Timestamp::now)),
        },
        (None, Some(wait)) => Duration::from_millis(wait.parse().ok()?),
        (None, None) => return None,
    };
    Some(wait.min(RETRY_AFTER_MAX))
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
