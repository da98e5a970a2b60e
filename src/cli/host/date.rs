//! Parses the end of a set's validity from the command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time of day that completes a date without a time: the end of the day. This program does not take leap seconds
/// (23:59:60) into account.
const END_OF_DAY: &str = "T23:59:59Z";

/// Converts `text` to seconds since 1970-01-01 00:00 UTC. `text` is a date (which means the last second of this day), a
/// date with a time (RFC 3339, in UTC), or `+` and a time span from now.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    from(text, SystemTime::now())
}

fn from(text: &str, now: SystemTime) -> Result<u64, String> {
    let form = "use 2030-01-31, 2030-01-31T12:00:00Z or +30d";
    let time = if let Some(span) = text.strip_prefix('+') {
        let span: Duration = humantime::parse_duration(span).map_err(|error| format!("{error}; {form}"))?;
        now.checked_add(span).ok_or("the date is too far in the future")?
    } else {
        let is_date = !text.contains(['T', 't', ' ']);
        let whole = if is_date { format!("{text}{END_OF_DAY}") } else { text.to_owned() };
        humantime::parse_rfc3339(&whole).map_err(|error| format!("{error}; {form}"))?
    };
    if time <= now {
        return Err("the date is in the past, so no guest would accept the set".to_owned());
    }
    time.duration_since(UNIX_EPOCH).map(|span| span.as_secs()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26 12:00 UTC.
    const NOW: u64 = 1_795_694_400;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    #[test]
    fn date_means_the_end_of_its_day_in_utc() {
        assert_eq!(from("2030-01-01", now()), Ok(1_893_456_000 + 86_399));
        assert_eq!(from("2030-01-01T00:00:00Z", now()), Ok(1_893_456_000));
        assert_eq!(from("+30d", now()), Ok(NOW + 30 * 86_400));
        assert_eq!(from("+1h 30m", now()), Ok(NOW + 5400));
    }

    #[test]
    fn date_that_is_none_or_is_past_is_refused() {
        let texts = [
            "",
            "+",
            "-1d",
            "+1",
            "tomorrow",
            "2030-02-30",
            "2030-13-01",
            "2030-1-1",
            "30.1.2030",
            "2030-01-01T00:00:00",
            "2030-01-01T00:00:00+01:00",
            "2026-11-25",
            "2026-11-26T12:00:00Z",
            "+0s",
            "+9999999999999y",
        ];
        for text in texts {
            assert!(from(text, now()).is_err(), "{text}");
        }
    }
}
