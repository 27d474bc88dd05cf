//! Durations as Go writes them: `1h2m3.5s` (upstream: `metav1.Duration`, `time.ParseDuration`).

use thiserror::Error;

use super::quote;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Magnitude of the least duration.
const MAGNITUDE_MAX: u64 = 1 << 63;

/// Why a text is not a duration. The texts are Go's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DurationError {
    /// Malformed or out of range.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(Box<str>),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(Box<str>),
    /// A number with a unit that does not exist.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// The unit.
        unit: Box<str>,
        /// The whole text.
        text: Box<str>,
    },
}

/// Reads a duration, in nanoseconds: signed numbers with fraction and unit, `1.5h`, `-2h45m`, `300ms`.
///
/// # Errors
/// The error's text is Go's.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.into());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after_whole) = split_digits(rest);
        let (fraction, after) = match after_whole.strip_prefix('.') {
            Some(digits) => split_digits(digits),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        if whole > MAGNITUDE_MAX {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.into()));
        }
        let scale = nanos(unit).ok_or_else(|| DurationError::UnknownUnit { unit: unit.into(), text: text.into() })?;
        let part = whole.checked_mul(scale).and_then(|part| part.checked_add(fraction_nanos(fraction, scale)));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|&total| total <= MAGNITUDE_MAX)
            .ok_or_else(invalid)?;
        rest = next;
    }
    let signed = if negative { -i128::from(total) } else { i128::from(total) };
    i64::try_from(signed).map_err(|_| invalid())
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // U+00B5 and U+03BC look the same and are both read.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICRO,
        "ms" => MILLI,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// Nanoseconds of the digits after the point. Go multiplies in floating point, so the last digit is Go's too.
fn fraction_nanos(digits: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
        // Digits beyond 63 bits say nothing about nanoseconds.
        let Some(next) = next.filter(|&next| next <= MAGNITUDE_MAX) else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Appends a duration of `nanos` nanoseconds: `1h2m3.5s`, `1.5ms`, `0s`.
pub fn push_duration(out: &mut Vec<u8>, nanos: i64) {
    if nanos < 0 {
        out.push(b'-');
    }
    let size = nanos.unsigned_abs();
    match size {
        0 => out.extend_from_slice(b"0s"),
        1..MICRO => push_decimal(out, size, 1, "ns"),
        MICRO..MILLI => push_decimal(out, size, MICRO, "\u{b5}s"),
        MILLI..SECOND => push_decimal(out, size, MILLI, "ms"),
        _ => {
            let (hours, minutes) = (size / HOUR, size / MINUTE % 60);
            if hours > 0 {
                push_decimal(out, hours, 1, "h");
            }
            if hours > 0 || minutes > 0 {
                push_decimal(out, minutes, 1, "m");
            }
            push_decimal(out, size % MINUTE, SECOND, "s");
        }
    }
}

/// Appends `value / scale` with as many decimals as it needs, and the unit.
fn push_decimal(out: &mut Vec<u8>, value: u64, scale: u64, unit: &str) {
    out.extend_from_slice(itoa::Buffer::new().format(value / scale).as_bytes());
    let mut fraction = value % scale;
    let mut place = scale / 10;
    if fraction > 0 {
        out.push(b'.');
    }
    while fraction > 0 && place > 0 {
        out.push(b'0' + (fraction / place) as u8);
        fraction %= place;
        place /= 10;
    }
    out.extend_from_slice(unit.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        fn check(text: &str, nanos: i64, expected: &str) {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
            let mut out = Vec::new();
            push_duration(&mut out, nanos);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        check("0", 0, "0s");
        check("-0", 0, "0s");
        check("1ns", 1, "1ns");
        check("1500ns", 1_500, "1.5\u{b5}s");
        check("2\u{3bc}s", 2_000, "2\u{b5}s");
        check("1.5ms", 1_500_000, "1.5ms");
        check("30s", 30_000_000_000, "30s");
        check("90s", 90_000_000_000, "1m30s");
        check("1h", 3_600_000_000_000, "1h0m0s");
        check("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s");
        check("-1.5h", -5_400_000_000_000, "-1h30m0s");
        check(".5s", 500_000_000, "500ms");
        check("1.s", 1_000_000_000, "1s");
        check("3s2s", 5_000_000_000, "5s");
        check("1.000000001s", 1_000_000_001, "1.000000001s");
        check("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s");
        check("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s");
        check("0.33333333333333333333h", 1_200_000_000_000, "20m0s");
    }

    #[test]
    fn what_is_no_duration_is_refused_in_go_words() {
        fn check(text: &str, expected: &str) {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), expected);
        }
        check("", r#"time: invalid duration """#);
        check("-", r#"time: invalid duration "-""#);
        check("3", r#"time: missing unit in duration "3""#);
        check("s", r#"time: invalid duration "s""#);
        check(".s", r#"time: invalid duration ".s""#);
        check("1d", r#"time: unknown unit "d" in duration "1d""#);
        check("1h 2m", r#"time: unknown unit "h " in duration "1h 2m""#);
        check("Not Valid!", r#"time: invalid duration "Not Valid!""#);
        check("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#);
        check("3000000h", r#"time: invalid duration "3000000h""#);
    }
}
