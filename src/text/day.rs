//! Formats dates for people, such as `2030-01-01`.

use std::fmt::{self, Display, Formatter};

/// A time in seconds since 1970-01-01 00:00 UTC. `Display` writes the date of this time, in UTC.
///
/// ```
/// use smbios_creds::text::day::Day;
/// assert_eq!(Day(1_893_456_000).to_string(), "2030-01-01");
/// assert_eq!(Day(951_782_400).to_string(), "2000-02-29");
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Day(pub u64);

impl Display for Day {
    /// Uses the algorithm `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // The calculation uses eras of 400 years that begin on 1 March, so that a leap day is the last day of a year.
        let days = self.0 / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        write!(f, "{:04}-{month:02}-{day:02}", era * 400 + year + next)
    }
}
