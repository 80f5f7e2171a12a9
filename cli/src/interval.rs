//! Intervals between two pulls, as people write them: `30m`, `6h`, `1d`.

use db::check_pull_interval;

/// What an interval may be written in, the largest first.
const UNITS: [(char, u32); 3] = [('d', 86_400), ('h', 3_600), ('m', 60)];

/// The seconds of an interval.
pub(crate) fn interval(text: &str) -> Result<u32, String> {
    let seconds = || {
        let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(seconds)
    };
    let seconds = seconds().ok_or("an interval is a number and a unit: 30m, 6h, 1d")?;
    check_pull_interval(seconds)
}

/// As [`interval`], or `never`: 0.
pub(crate) fn interval_or_never(text: &str) -> Result<u32, String> {
    match text {
        "never" => Ok(0),
        _ => interval(text),
    }
}

/// An interval as people write it.
pub(crate) fn interval_text(seconds: u32) -> String {
    let fits = |(_, unit): &(char, u32)| seconds.is_multiple_of(*unit);
    match UNITS.into_iter().find(fits) {
        Some((unit, of)) => format!("{}{unit}", seconds / of),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_numbers_with_a_unit_within_bounds() {
        for (text, seconds) in [("15m", 900), ("6h", 21_600), ("90d", 7_776_000)] {
            assert_eq!(interval(text), Ok(seconds));
            assert_eq!(interval_text(seconds), text);
        }
        assert_eq!(interval("24h").map(interval_text).as_deref(), Ok("1d"));
        assert_eq!(interval_or_never("never"), Ok(0));
        assert_eq!(interval_text(901), "901s");
        for wrong in [
            "14m", "91d", "0h", "6", "h", "-1h", "1.5h", "6 h", "never", "9999999d",
        ] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
