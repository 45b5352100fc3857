//! Reads single values, exactly, and says what would be right where one is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::DateTime;

use crate::client_certificate::ClientCertificateFiles;
use crate::settings::secret::Secret;

/// Everything that is wrong with the settings, collected to be said at once.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<String>);

impl Problems {
    /// Says that `name` is wrong, with its value.
    pub(super) fn wrong(&mut self, name: &str, value: &str, right: impl Display) {
        self.0.push(format!("{name} is {value:?}, {right}"));
    }

    /// Says something that shows no value.
    pub(super) fn say(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Takes the value, or says what is wrong with it and takes the default.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        written: Option<String>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(written) = given(written) else { return default };
        parse(written.trim()).unwrap_or_else(|right| {
            self.wrong(name, &written, right);
            default
        })
    }

    /// Takes a secret from its variable or from the file that the other variable names.
    pub(super) fn secret(
        &mut self,
        name: &str,
        written: Option<String>,
        file: Option<String>,
    ) -> Option<Secret> {
        match (given(written), given(file)) {
            (Some(_), Some(_)) => {
                self.say(format!("{name} and {name}_FILE are both set, keep one"));
                None
            }
            (Some(written), None) => Some(Secret::new(written)),
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    let text = text.strip_suffix('\r').unwrap_or(text);
                    if text.is_empty() {
                        self.wrong(&format!("{name}_FILE"), &file, "which is empty");
                        return None;
                    }
                    Some(Secret::new(text))
                }
                Err(error) => {
                    self.wrong(&format!("{name}_FILE"), &file, format!("which cannot be read: {error}"));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// Takes a file that must be there.
    pub(super) fn file(&mut self, name: &str, written: Option<String>) -> Option<PathBuf> {
        let written = given(written)?;
        if let Err(error) = std::fs::File::open(Path::new(&written)) {
            self.wrong(name, &written, format!("which cannot be read: {error}"));
        }
        Some(PathBuf::from(written))
    }
}

impl Problems {
    /// Takes the files of a client certificate, named by two settings; without the second, the key is in the first's file.
    pub(super) fn client_certificate(
        &mut self,
        settings: [&'static str; 2],
        [certificate, key]: [Option<String>; 2],
    ) -> Option<ClientCertificateFiles> {
        let [certificate_setting, key_setting] = settings;
        let certificate = self.file(certificate_setting, certificate);
        let key = self.file(key_setting, key);
        let Some(certificate) = certificate else {
            if key.is_some() {
                self.say(format!("{key_setting} is set without {certificate_setting}"));
            }
            return None;
        };
        let key = key.unwrap_or_else(|| certificate.clone());
        Some(ClientCertificateFiles { certificate, key, settings })
    }
}

/// What was written; an empty value is as good as none, as compose files and `.env.example` write it.
pub(super) fn given(written: Option<String>) -> Option<String> {
    written.filter(|written| !written.trim().is_empty())
}

/// Reads a whole number in `allowed`.
pub(super) fn count<T: FromStr + PartialOrd + Display>(
    allowed: RangeInclusive<T>,
) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        let digits = text.replace('_', "");
        let number = digits.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| format!("write a whole number from {} to {}", allowed.start(), allowed.end()))
    }
}

/// Reads a size in bytes: a plain number, or one with `k`, `m`, `g` and the like, which count in 1024.
pub(super) fn bytes(allowed: RangeInclusive<usize>) -> impl FnOnce(&str) -> Result<usize, String> {
    move |text| {
        let digits_end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let unit = match text[digits_end..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => Some(1_usize),
            "k" | "kb" | "kib" => Some(1 << 10),
            "m" | "mb" | "mib" => Some(1 << 20),
            "g" | "gb" | "gib" => Some(1 << 30),
            _ => None,
        };
        let number = text[..digits_end].parse::<usize>().ok();
        let size = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        size.filter(|size| allowed.contains(size)).ok_or_else(|| {
            format!("write a size such as 5MiB, from {} to {} bytes", allowed.start(), allowed.end())
        })
    }
}

/// Reads seconds with at most nine digits behind the point.
pub(super) fn seconds(allowed: RangeInclusive<Duration>) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| {
        let right = || {
            format!("write seconds from {} to {}", allowed.start().as_secs_f64(), allowed.end().as_secs_f64())
        };
        let (whole, nanos) = decimal(text, 9).filter(|_| !text.starts_with('-')).ok_or_else(right)?;
        let nanos = u32::try_from(nanos).map_err(|_| right())?;
        let duration = Duration::new(whole, nanos);
        if allowed.contains(&duration) { Ok(duration) } else { Err(right()) }
    }
}

/// Splits a decimal number into its whole part and its fraction in units of 10^-`places`; the sign is passed over.
///
/// Nothing if it is no such number or is finer than that.
fn decimal(text: &str, places: usize) -> Option<(u64, u64)> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let (kept, finer) = fraction.split_at(places.min(fraction.len()));
    if finer.bytes().any(|byte| byte != b'0') {
        return None;
    }
    Some((whole.parse().ok()?, format!("{kept:0<places$}").parse().ok()?))
}

/// The last second of the year 9999: a later instant is one given in milliseconds by mistake.
const LAST_SECOND: i64 = 253_402_300_799;

/// The first second of the year 1.
const FIRST_SECOND: i64 = -62_135_596_800;

/// Reads an instant in microseconds since 1970, exactly: RFC 3339, or seconds since 1970.
pub(super) fn instant(text: &str) -> Result<i64, String> {
    let right = || {
        "write an instant in the years 1 to 9999 as 2021-06-16T20:14:09Z or in seconds since 1970, with at most six digits behind the second"
            .to_owned()
    };
    let micros = if text.contains(':') {
        // The parser drops digits beyond nine, so the fraction is looked at here.
        let fraction: String = text
            .split_once('.')
            .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
            .unwrap_or_default();
        if fraction.bytes().skip(6).any(|digit| digit != b'0') {
            return Err(right());
        }
        DateTime::parse_from_rfc3339(text).map_err(|_| right())?.timestamp_micros()
    } else {
        let (whole, fraction) = decimal(text, 6).ok_or_else(right)?;
        let magnitude = i64::try_from(whole)
            .ok()
            .and_then(|whole| whole.checked_mul(1_000_000)?.checked_add(i64::try_from(fraction).ok()?))
            .ok_or_else(right)?;
        if text.starts_with('-') { -magnitude } else { magnitude }
    };
    if (FIRST_SECOND..=LAST_SECOND).contains(&micros.div_euclid(1_000_000)) {
        Ok(micros)
    } else {
        Err(right())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_exact_to_the_microsecond() {
        for (text, micros) in [
            ("2021-06-16T20:14:09.221855Z", 1_623_874_449_221_855),
            ("2021-06-16T23:14:09.221855+03:00", 1_623_874_449_221_855),
            ("2021-06-16 20:14:09Z", 1_623_874_449_000_000),
            ("2021-06-16T20:14:09.2218550000Z", 1_623_874_449_221_855),
            ("1623874449.221855", 1_623_874_449_221_855),
            ("9007199254.740993", 9_007_199_254_740_993),
            ("0", 0),
            ("-0.000001", -1),
            ("1969-12-31T23:59:59.999999Z", -1),
        ] {
            assert_eq!(instant(text), Ok(micros), "{text}");
        }
        for text in [
            "",
            "now",
            "2021-06-16",
            "2021-06-16T20:14:09",
            "1.2345678",
            "1623874449221",
            "1e9",
            ".5",
            "5.",
            "--1",
            "2021-06-16T20:14:09.1234567Z",
            "99999999999999999999",
        ] {
            assert!(instant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_count_in_1024() {
        for (text, size) in
            [("5MiB", 5 << 20), ("512k", 512 << 10), ("512 KB", 512 << 10), ("1g", 1 << 30), ("77", 77)]
        {
            assert_eq!(bytes(0..=usize::MAX)(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "5TiB", "1.5m", "-1", "99999999999999999999", "9999999999999g"] {
            assert!(bytes(0..=usize::MAX)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_read_without_floats() {
        let any = || Duration::ZERO..=Duration::MAX;
        assert_eq!(seconds(any())("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(seconds(any())("2"), Ok(Duration::from_secs(2)));
        for text in ["-1", "1s", "nan", "0.0000000001", "", "1e3"] {
            assert!(seconds(any())(text).is_err(), "{text}");
        }
    }
}
