//! How durations and sizes are written: one grammar each, for the jobs file, git's
//! configuration and the command line.
//!
//! A duration is numbers with units, `90s`, `1m30s` or `2w`; a size is one number of
//! bytes, with or without a unit, `500m` or `1g`, as git writes sizes. A bare number is
//! no duration: what its unit would be differs from program to program.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::SignedDuration;

/// The units of durations, the largest first, in milliseconds.
const TIMES: [(&str, u64); 6] = [
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// The units of sizes, in bytes as a power of two.
const SIZES: [(char, u32); 4] = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];

/// No duration is longer, so that it can be added to any point in time: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Why a text is no duration, or no size. It reads on from the text: `"5": it has no unit`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It is no duration, but one can guess which one was meant.
    #[error("it is no duration; write {0}")]
    Meant(String),
    /// A number by itself.
    #[error("it has no unit; for seconds write {0}s")]
    Bare(u64),
    /// It is nothing of the kind.
    #[error("it is no duration; write numbers with ms, s, m, h, d or w, such as 90s, 1m30s or 2w")]
    Duration,
    /// It is shorter than it may be.
    #[error("it is too short: at least {} is needed", duration_text(*.0))]
    Short(Duration),
    /// It is longer than any duration may be.
    #[error("it is too long: 100 years are the most")]
    Long,
    /// It is no size.
    #[error("it is no size; write one number with k, m, g or t, such as 500m or 1g")]
    Size,
}

/// Reads a duration of at least `least`.
///
/// # Errors
/// Where it is none, or shorter.
pub fn parse_duration(text: &str, least: Duration) -> Result<Duration, UnitError> {
    let text = text.trim();
    let duration = match read_duration(text) {
        Some(duration) => duration?,
        None => return Err(meant(text)),
    };
    match duration {
        _ if duration < least => Err(UnitError::Short(least)),
        _ if duration > LONGEST => Err(UnitError::Long),
        _ => Ok(duration),
    }
}

/// Reads numbers with units, each unit once and smaller than the one before; `None` where
/// it is something else.
fn read_duration(text: &str) -> Option<Result<Duration, UnitError>> {
    let mut units = TIMES.iter();
    let mut total = Some(0u64);
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after, |c| c.is_ascii_alphabetic());
        if number.is_empty() {
            return None;
        }
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok();
        total = part
            .and_then(|number| number.checked_mul(*millis))
            .and_then(|part| total?.checked_add(part));
        rest = after.trim_start();
    }
    let millis = total.ok_or(UnitError::Long);
    (!text.is_empty()).then(|| millis.map(Duration::from_millis))
}

/// `text` after the characters that `take` accepts, and those.
fn split(text: &str, take: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !take(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// What is wrong with a text that is no duration: with what was meant by it, if other
/// programs would understand it.
fn meant(text: &str) -> UnitError {
    if let Ok(number) = text.parse() {
        return UnitError::Bare(number);
    }
    let understood = text.parse::<SignedDuration>().ok();
    match understood.and_then(|duration| Duration::try_from(duration).ok()) {
        Some(duration) if duration.as_millis() > 0 => UnitError::Meant(duration_text(duration)),
        _ => UnitError::Duration,
    }
}

/// A duration as it is written, to the millisecond.
pub fn duration_text(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in TIMES {
        if left >= millis {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{unit}", left / millis);
            left %= millis;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Reads a size in bytes: units are powers of 1024, as in git's configuration.
///
/// # Errors
/// Where it is none.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&text, |c| c.is_ascii_digit());
    let mut known = SIZES.iter();
    let shift = match unit {
        "" => Some(0),
        unit => known
            .find(|(name, _)| unit.strip_prefix(*name) == Some(""))
            .map(|(_, shift)| *shift),
    };
    let number = number.parse::<u64>().ok();
    let size = number.zip(shift);
    size.and_then(|(number, shift)| number.checked_mul(1 << shift))
        .ok_or(UnitError::Size)
}

/// A size in bytes for people: `3.4 MiB`.
pub fn size_text(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<Duration, String> {
        parse_duration(text, Duration::from_millis(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("1s500ms", 1500),
            ("2w", 1_209_600_000),
            (" 30d ", 2_592_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_as_one_that_is() {
        for (text, said) in [
            ("5", "it has no unit; for seconds write 5s"),
            ("10 minutes", "it is no duration; write 10m"),
            ("1.5h", "it is no duration; write 1h30m"),
            ("90 sec", "it is no duration; write 1m30s"),
            ("0s", "it is too short: at least 1ms is needed"),
            ("101w5200w", UnitError::Duration.to_string().as_str()),
            ("5300w", "it is too long: 100 years are the most"),
            (
                "99999999999999999999s",
                "it is too long: 100 years are the most",
            ),
            ("30s1m", UnitError::Duration.to_string().as_str()),
            ("", UnitError::Duration.to_string().as_str()),
            ("-5m", UnitError::Duration.to_string().as_str()),
            ("soon", UnitError::Duration.to_string().as_str()),
            ("5é", UnitError::Duration.to_string().as_str()),
        ] {
            assert_eq!(duration(text), Err(said.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["1w2d3h4m5s6ms", "90ms", "1m30s", "2w"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        assert_eq!(duration_text(Duration::ZERO), "0s");
    }

    #[test]
    fn sizes_are_bytes_with_gits_units() {
        for (text, bytes) in [
            ("0", Ok(0)),
            ("123", Ok(123)),
            ("6k", Ok(6 << 10)),
            ("500m", Ok(500 << 20)),
            ("1G", Ok(1 << 30)),
            ("2t", Ok(2 << 40)),
            ("1.5g", Err(UnitError::Size)),
            ("500mb", Err(UnitError::Size)),
            ("g", Err(UnitError::Size)),
            ("99999999t", Err(UnitError::Size)),
            ("-1", Err(UnitError::Size)),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
