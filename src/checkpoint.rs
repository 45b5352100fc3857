//! Instants of the source's clock, exact to the microsecond.
//!
//! PostgreSQL sends a timestamp as a whole number of microseconds since 2000-01-01 (`timestamptz_send`), and that is
//! how an instant is held here: never a float, a local zone or milliseconds. Its text form is the one that the server
//! itself prints under `TimeZone = UTC, DateStyle = ISO`; that is what the state keeps.

use std::fmt;
use std::time::Duration;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Seconds from the Unix epoch to PostgreSQL's (2000-01-01).
const POSTGRES_EPOCH_UNIX_SECONDS: i64 = 946_684_800;

/// Days from the Unix epoch to PostgreSQL's.
const POSTGRES_EPOCH_UNIX_DAYS: i64 = POSTGRES_EPOCH_UNIX_SECONDS / SECONDS_PER_DAY;

/// An instant of the server's clock: microseconds since 2000-01-01 00:00 UTC, as PostgreSQL sends it.
///
/// The two ends of the range are PostgreSQL's `-infinity` and `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerTime(pub i64);

impl ServerTime {
    /// PostgreSQL's `infinity`.
    pub const INFINITY: Self = Self(i64::MAX);
    /// PostgreSQL's `-infinity`.
    pub const MINUS_INFINITY: Self = Self(i64::MIN);

    /// The instant `micros` microseconds after the Unix epoch.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self(micros.saturating_sub(POSTGRES_EPOCH_UNIX_SECONDS * MICROS_PER_SECOND))
    }

    /// Microseconds since the Unix epoch.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(POSTGRES_EPOCH_UNIX_SECONDS * MICROS_PER_SECOND)
    }

    /// This instant moved back by `duration`; the infinities stay where they are.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        if self == Self::INFINITY || self == Self::MINUS_INFINITY {
            return self;
        }
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        // `-infinity` and the value beside it are not timestamps that PostgreSQL could compare sensibly.
        Self(self.0.saturating_sub(micros).max(EARLIEST))
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads the text that [`ServerTime`]'s `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "infinity" => return Some(Self::INFINITY),
            "-infinity" => return Some(Self::MINUS_INFINITY),
            _ => {}
        }
        let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true));
        let text = text.strip_suffix("+00")?;
        let (date, time) = text.split_once(' ')?;
        let mut parts = date.rsplitn(3, '-');
        let day: i64 = parts.next()?.parse().ok()?;
        let month: i64 = parts.next()?.parse().ok()?;
        let year: i64 = parts.next()?.parse().ok()?;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut parts = clock.splitn(3, ':');
        let hour: i64 = parts.next()?.parse().ok()?;
        let minute: i64 = parts.next()?.parse().ok()?;
        let second: i64 = parts.next()?.parse().ok()?;
        let plausible = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..=24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second)
            && fraction.len() <= 6
            && fraction.bytes().all(|byte| byte.is_ascii_digit());
        if !plausible {
            return None;
        }
        let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
        let year = if before_christ { 1 - year } else { year };
        let days = days_from_civil(year, month, day) - POSTGRES_EPOCH_UNIX_DAYS;
        let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
        Some(Self(seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(micros)?))
    }
}

/// The earliest instant that PostgreSQL can hold: 4713-01-01 BC (`MIN_TIMESTAMP` in `datatype/timestamp.h`).
const EARLIEST: i64 = -211_813_488_000_000_000;

impl fmt::Display for ServerTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(32);
        write_timestamp(&mut text, self.0, b' ', "+00");
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Writes a timestamp of PostgreSQL's binary form as its ISO text: `separator` between date and time, `zone` behind.
///
/// The infinities are written as PostgreSQL writes them.
pub fn write_timestamp(out: &mut Vec<u8>, micros: i64, separator: u8, zone: &str) {
    match micros {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let before_christ = write_civil_date(out, micros.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY));
    out.push(separator);
    write_time_of_day(out, micros.rem_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY));
    out.extend_from_slice(zone.as_bytes());
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Writes a date of PostgreSQL's binary form (days since 2000-01-01) as its ISO text.
pub fn write_date(out: &mut Vec<u8>, days: i32) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            if write_civil_date(out, i64::from(days)) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// Writes a timestamp of PostgreSQL's binary form as a JSON string in ISO 8601; returns false, and writes null, for the
/// infinities, which it has no words for.
pub(crate) fn write_iso_timestamp(out: &mut Vec<u8>, micros: i64, zone: &str) -> bool {
    if matches!(micros, i64::MAX | i64::MIN) {
        out.extend_from_slice(b"null");
        return false;
    }
    let days = micros.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY);
    out.push(b'"');
    write_iso_day(out, days);
    out.push(b'T');
    write_time_of_day(out, micros.rem_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY));
    out.extend_from_slice(zone.as_bytes());
    out.push(b'"');
    true
}

/// Writes a date of PostgreSQL's binary form as a JSON string in ISO 8601; returns false, and writes null, for the
/// infinities.
pub(crate) fn write_iso_date(out: &mut Vec<u8>, days: i32) -> bool {
    if matches!(days, i32::MAX | i32::MIN) {
        out.extend_from_slice(b"null");
        return false;
    }
    out.push(b'"');
    write_iso_day(out, i64::from(days));
    out.push(b'"');
    true
}

/// Reads the text of a date under `DateStyle = ISO` as days since 2000-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true));
    let mut parts = text.rsplitn(3, '-');
    let day: i64 = parts.next()?.parse().ok()?;
    let month: i64 = parts.next()?.parse().ok()?;
    let year: i64 = parts.next()?.parse().ok()?;
    let is_plausible = (1..=12).contains(&month) && (1..=31).contains(&day);
    let year = if before_christ { 1 - year } else { year };
    let days = days_from_civil(year, month, day) - POSTGRES_EPOCH_UNIX_DAYS;
    i32::try_from(days).ok().filter(|_| is_plausible)
}

/// Writes year, month and day as ISO 8601 counts years: the year 0 is 1 BC, and a year that is not of four digits has
/// a sign.
fn write_iso_day(out: &mut Vec<u8>, days_since_2000: i64) {
    let (year, month, day) = civil_from_days(days_since_2000 + POSTGRES_EPOCH_UNIX_DAYS);
    if (0..10_000).contains(&year) {
        write_two_digits(out, year / 100);
        write_two_digits(out, year % 100);
    } else {
        let sign = if year < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{sign}{:04}", year.abs()).as_bytes());
    }
    out.push(b'-');
    write_two_digits(out, month);
    out.push(b'-');
    write_two_digits(out, day);
}

/// Writes hours, minutes, seconds and what there is of a fraction.
fn write_time_of_day(out: &mut Vec<u8>, micros: i64) {
    let second_of_day = micros / MICROS_PER_SECOND;
    let fraction = micros % MICROS_PER_SECOND;
    write_two_digits(out, second_of_day / 3600);
    out.push(b':');
    write_two_digits(out, second_of_day / 60 % 60);
    out.push(b':');
    write_two_digits(out, second_of_day % 60);
    if fraction > 0 {
        out.push(b'.');
        let mut digits = format!("{fraction:06}");
        digits.truncate(digits.trim_end_matches('0').len());
        out.extend_from_slice(digits.as_bytes());
    }
}

/// Writes year, month and day; returns whether the year is before Christ.
fn write_civil_date(out: &mut Vec<u8>, days_since_2000: i64) -> bool {
    let (year, month, day) = civil_from_days(days_since_2000 + POSTGRES_EPOCH_UNIX_DAYS);
    let before_christ = year < 1;
    let shown = if before_christ { 1 - year } else { year };
    if (0..10_000).contains(&shown) {
        write_two_digits(out, shown / 100);
        write_two_digits(out, shown % 100);
    } else {
        out.extend_from_slice(shown.to_string().as_bytes());
    }
    out.push(b'-');
    write_two_digits(out, month);
    out.push(b'-');
    write_two_digits(out, day);
    before_christ
}

fn write_two_digits(out: &mut Vec<u8>, number: i64) {
    debug_assert!((0..100).contains(&number));
    for digit in [number / 10, number % 10] {
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// Days since the Unix epoch of a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since the Unix epoch (`civil_from_days` of the same source).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_servers_own() {
        // Each pair was printed by PostgreSQL 15: (extract(epoch from t) - 946684800) * 1e6, t::text under UTC.
        for (micros, text) in [
            (0, "2000-01-01 00:00:00+00"),
            (677_189_649_221_855, "2021-06-16 20:14:09.221855+00"),
            (677_189_649_000_001, "2021-06-16 20:14:09.000001+00"),
            (677_189_649_500_000, "2021-06-16 20:14:09.5+00"),
            (-1, "1999-12-31 23:59:59.999999+00"),
            (EARLIEST, "4713-11-24 00:00:00+00 BC"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            if micros != EARLIEST {
                assert_eq!(ServerTime(micros).to_string(), text);
            }
            if let Some(parsed) = ServerTime::parse(&ServerTime(micros).to_string()) {
                assert_eq!(parsed, ServerTime(micros));
            } else {
                panic!("cannot read {text} back");
            }
        }
    }

    #[test]
    fn every_instant_reads_back_as_itself() {
        let mut micros = EARLIEST;
        while micros < 9_000_000_000_000_000_000 {
            let time = ServerTime(micros);
            assert_eq!(ServerTime::parse(&time.to_string()), Some(time), "{time}");
            micros += 12_345_678_901_234_567;
        }
    }

    #[test]
    fn documents_have_the_years_of_iso_8601() {
        let json = |micros| {
            let mut out = Vec::new();
            let is_whole = write_iso_timestamp(&mut out, micros, "+00:00");
            (String::from_utf8(out).unwrap(), is_whole)
        };
        assert_eq!(json(677_189_649_221_850), ("\"2021-06-16T20:14:09.22185+00:00\"".to_owned(), true));
        assert_eq!(json(i64::MIN), ("null".to_owned(), false));
        for (text, expected) in [
            ("0044-03-15 00:00:00+00 BC", "-0043-03-15T00:00:00+00:00"),
            ("0001-12-31 23:59:59.9+00 BC", "0000-12-31T23:59:59.9+00:00"),
            ("294276-12-31 23:59:59.999999+00", "+294276-12-31T23:59:59.999999+00:00"),
        ] {
            assert_eq!(json(ServerTime::parse(text).unwrap().0).0, format!("\"{expected}\""));
        }
        for text in ["2024-02-29", "4713-11-24 BC", "5874897-12-31", "infinity"] {
            let mut out = Vec::new();
            write_date(&mut out, parse_date(text).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn nonsense_is_not_a_time() {
        for text in [
            "",
            "now",
            "2021-06-16",
            "2021-06-16 20:14:09",
            "2021-13-16 20:14:09+00",
            "2021-06-16 20:14:09.1234567+00",
        ] {
            assert_eq!(ServerTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn infinity_does_not_move() {
        assert_eq!(ServerTime::INFINITY.minus(Duration::from_secs(1)), ServerTime::INFINITY);
        assert_eq!(ServerTime(5).minus(Duration::from_micros(7)), ServerTime(-2));
        assert_eq!(ServerTime(5).since(ServerTime(7)), Duration::ZERO);
    }
}
