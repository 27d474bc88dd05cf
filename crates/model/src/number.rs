//! Numbers of JSON as Go reads and writes them.
//!
//! `encoding/json` prints the shortest digits that read back as the same float, in exponent form only when very small or
//! very large, and refuses a fraction or an exponent where an integer is wanted, even `1.0`.

use std::io::Write as _;

use thiserror::Error;

/// Below this absolute value a float is written with an exponent.
const EXPONENT_BELOW: f64 = 1e-6;
/// From this absolute value on a float is written with an exponent.
const EXPONENT_FROM: f64 = 1e21;
/// `%v` writes an exponent below this absolute value.
const VERB_EXPONENT_BELOW: f64 = 1e-4;

/// Why a text is not the number that was wanted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NumberError {
    /// The text does not follow the grammar of a JSON number.
    #[error("invalid number literal")]
    Syntax,
    /// An integer was wanted, the text has a fraction or an exponent.
    #[error("number is not an integer")]
    NotAnInteger,
    /// The number does not fit the wanted type.
    #[error("number is out of range")]
    OutOfRange,
    /// NaN and infinities have no JSON form.
    #[error("number is not finite")]
    NotFinite,
}

/// A JSON number where no schema names its type: an integer when it is written as one and fits, else a float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Written without fraction and exponent, within 64 bits.
    Int(i64),
    /// Everything else.
    Float(f64),
}

/// The parts of a JSON number's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Integer,
    Real,
}

/// Checks `text` against the JSON grammar of numbers.
fn form(text: &[u8]) -> Result<Form, NumberError> {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let mut kind = Form::Integer;
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.first() == Some(&b'0')) {
        return Err(NumberError::Syntax);
    }
    rest = rest.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        kind = Form::Real;
        let count = digits(fraction);
        if count == 0 {
            return Err(NumberError::Syntax);
        }
        rest = fraction.get(count..).unwrap_or_default();
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        kind = Form::Real;
        let exponent = match exponent {
            [b'+' | b'-', unsigned @ ..] => unsigned,
            unsigned => unsigned,
        };
        let count = digits(exponent);
        if count == 0 {
            return Err(NumberError::Syntax);
        }
        rest = exponent.get(count..).unwrap_or_default();
    }
    if rest.is_empty() { Ok(kind) } else { Err(NumberError::Syntax) }
}

/// Reads a JSON number as a 64-bit integer. `1.0` and `1e3` are no integers; `-0` is 0.
///
/// # Errors
/// Says whether the text is no number, no integer, or too large.
pub fn parse_i64(text: &str) -> Result<i64, NumberError> {
    match form(text.as_bytes())? {
        Form::Real => Err(NumberError::NotAnInteger),
        Form::Integer => text.parse().map_err(|_| NumberError::OutOfRange),
    }
}

/// Reads a JSON number as a 32-bit integer, by the rules of [`parse_i64`].
///
/// # Errors
/// Says whether the text is no number, no integer, or too large.
pub fn parse_i32(text: &str) -> Result<i32, NumberError> {
    i32::try_from(parse_i64(text)?).map_err(|_| NumberError::OutOfRange)
}

/// Reads a JSON number as a float; `1e400` is out of range, as for Go.
///
/// # Errors
/// Says whether the text is no number or too large.
pub fn parse_f64(text: &str) -> Result<f64, NumberError> {
    form(text.as_bytes())?;
    let value: f64 = text.parse().map_err(|_| NumberError::Syntax)?;
    if value.is_finite() { Ok(value) } else { Err(NumberError::OutOfRange) }
}

/// Reads a JSON number that no schema describes (custom resources, free JSON that is looked into).
///
/// # Errors
/// Says whether the text is no number or too large.
pub fn parse_number(text: &str) -> Result<Number, NumberError> {
    if form(text.as_bytes())? == Form::Integer
        && let Ok(value) = text.parse()
    {
        return Ok(Number::Int(value));
    }
    parse_f64(text).map(Number::Float)
}

/// Appends `value` as `encoding/json` writes it: shortest digits, `1e-7` and `1e+21` at the ends.
///
/// # Errors
/// NaN and infinities have no JSON form; nothing is appended.
pub fn push_json_float(out: &mut Vec<u8>, value: f64) -> Result<(), NumberError> {
    if !value.is_finite() {
        return Err(NumberError::NotFinite);
    }
    let size = value.abs();
    // Writing to a Vec cannot fail.
    let _ = if size != 0.0 && size < EXPONENT_BELOW {
        write!(out, "{value:e}")
    } else if size >= EXPONENT_FROM {
        let text = format!("{value:e}");
        write!(out, "{}", text.replacen('e', "e+", 1))
    } else {
        write!(out, "{value}")
    };
    Ok(())
}

/// Returns `value` as Go's `%v` prints it in messages: `0.5`, `1e-05`, `1e+21`.
#[must_use]
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (VERB_EXPONENT_BELOW..EXPONENT_FROM).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(negative) => format!("{digits}e-{negative:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn floats_are_written_as_encoding_json_writes_them() {
        fn check(value: f64, expected: &str) {
            let mut out = Vec::new();
            push_json_float(&mut out, value).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), expected);
            assert_eq!(expected.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(0.5, "0.5");
        check(-1.25, "-1.25");
        check(1e-6, "0.000001");
        check(9.5e-7, "9.5e-7");
        check(1e-7, "1e-7");
        check(-1.5e-10, "-1.5e-10");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.234e25, "1.234e+25");
        check(f64::MAX, "1.7976931348623157e+308");
        check(5e-324, "5e-324");
        check(0.1 + 0.2, "0.30000000000000004");
        check(9007199254740993.0, "9007199254740992");
    }

    #[test]
    fn floats_that_are_no_numbers_are_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut out = Vec::new();
            assert_eq!(push_json_float(&mut out, value), Err(NumberError::NotFinite));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn floats_in_messages_are_as_go_prints_them() {
        fn check(value: f64, expected: &str) {
            assert_eq!(float_text(value), expected);
        }
        check(0.7, "0.7");
        check(3.0, "3");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(1e21, "1e+21");
        check(1e20, "100000000000000000000");
        check(1.5e-100, "1.5e-100");
        check(f64::INFINITY, "+Inf");
    }

    #[test]
    fn integers_are_written_as_integers() {
        fn check(text: &str, wide: Result<i64, NumberError>, narrow: Result<i32, NumberError>) {
            assert_eq!(parse_i64(text), wide, "{text}");
            assert_eq!(parse_i32(text), narrow, "{text}");
        }
        use NumberError::{NotAnInteger, OutOfRange, Syntax};
        check("0", Ok(0), Ok(0));
        check("-0", Ok(0), Ok(0));
        check("2147483647", Ok(2_147_483_647), Ok(i32::MAX));
        check("2147483648", Ok(2_147_483_648), Err(OutOfRange));
        check("-2147483648", Ok(-2_147_483_648), Ok(i32::MIN));
        check("-9223372036854775808", Ok(i64::MIN), Err(OutOfRange));
        check("9223372036854775808", Err(OutOfRange), Err(OutOfRange));
        check("1.0", Err(NotAnInteger), Err(NotAnInteger));
        check("1e3", Err(NotAnInteger), Err(NotAnInteger));
        for bad in ["", "-", "01", "+1", "1.", ".5", "1e", "1e+", "0x1", "1 ", "NaN", "1_0", "--1"] {
            check(bad, Err(Syntax), Err(Syntax));
        }
    }

    #[test]
    fn numbers_without_a_schema_stay_integers_when_they_can() {
        fn check(text: &str, expected: Result<Number, NumberError>) {
            assert_eq!(parse_number(text), expected, "{text}");
        }
        check("12", Ok(Number::Int(12)));
        check("9223372036854775808", Ok(Number::Float(9_223_372_036_854_775_808.0)));
        check("1.0", Ok(Number::Float(1.0)));
        check("1E2", Ok(Number::Float(100.0)));
        check("1e400", Err(NumberError::OutOfRange));
        check("1e-400", Ok(Number::Float(0.0)));
    }
}
