//! Spans of time as text, `1h30m` (upstream: Go's `time.ParseDuration`, whose complaints reach clients).

use std::fmt::Write as _;

/// Units and their nanoseconds; micro has two signs.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The largest magnitude that a span may have on its way; only a negative one may keep it.
const NANOS_MAX: u64 = 1 << 63;

/// Reads a span, in nanoseconds.
///
/// # Errors
/// What is wrong with the text, in upstream's words.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (is_negative, mut rest) = match text.as_bytes().first() {
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
        let (whole, after) = take_while(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => take_while(after, |c| c.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, after) = take_while(after, |c| c != '.' && !c.is_ascii_digit());
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quoted(text)));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quoted(unit), quoted(text)));
        };
        let part = part(whole, fraction, *nanos).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|total| *total <= NANOS_MAX).ok_or_else(invalid)?;
        rest = after;
    }
    if is_negative {
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// A number of one unit in nanoseconds; None for one that is too large.
fn part(whole: &str, fraction: &str, nanos: u64) -> Option<u64> {
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok().filter(|whole| *whole <= NANOS_MAX)? };
    let value = whole.checked_mul(nanos).filter(|value| *value <= NANOS_MAX)?;
    let (mut numerator, mut scale) = (0u64, 1.0f64);
    for digit in fraction.bytes() {
        // Digits beyond what fits say nothing that a nanosecond could show.
        let Some(longer) = numerator.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0'))) else {
            break;
        };
        (numerator, scale) = (longer, scale * 10.0);
    }
    let below = (numerator as f64 * (nanos as f64 / scale)) as u64;
    value.checked_add(below).filter(|value| *value <= NANOS_MAX)
}

fn take_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// The text in quotes; what is not plain ASCII byte by byte.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=0x7f => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_upstream_reads_them() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        };
        check("0", Ok(0));
        check("1h30m", Ok(5_400_000_000_000));
        check("-1.5s", Ok(-1_500_000_000));
        check(".5m", Ok(30_000_000_000));
        check("3us2ns", Ok(3_002));
        check("3\u{b5}s", Ok(3_000));
        check("", Err(r#"time: invalid duration """#));
        check("-", Err(r#"time: invalid duration "-""#));
        check("abc", Err(r#"time: invalid duration "abc""#));
        check("5", Err(r#"time: missing unit in duration "5""#));
        check("5d", Err(r#"time: unknown unit "d" in duration "5d""#));
        check(".s", Err(r#"time: invalid duration ".s""#));
        check("1h\u{e9}", Err(r#"time: unknown unit "h\xc3\xa9" in duration "1h\xc3\xa9""#));
        check("9223372036854775807ns", Ok(i64::MAX));
        check("-9223372036854775808ns", Ok(i64::MIN));
        check("9223372036854775808ns", Err(r#"time: invalid duration "9223372036854775808ns""#));
        check("3000000h", Err(r#"time: invalid duration "3000000h""#));
        check("99999999999999999999h", Err(r#"time: invalid duration "99999999999999999999h""#));
    }
}
