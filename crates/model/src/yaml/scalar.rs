//! What a scalar means: YAML 1.1 as goyaml reads it.

use super::YamlError;
use super::node::ScalarTag;

/// The value of a scalar that is no string; `None` stands for a string.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond the signed integers.
    Uint(u64),
    Float(f64),
}

impl Value {
    fn tag(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
        }
    }
}

/// Returns what a scalar is, by its tag or by its look.
pub(super) fn resolve(text: &str, tag: ScalarTag) -> Result<Option<Value>, YamlError> {
    let wanted = match tag {
        ScalarTag::Plain => return Ok(plain(text)),
        ScalarTag::Str | ScalarTag::Binary | ScalarTag::Merge => return Ok(None),
        ScalarTag::Int => "!!int",
        ScalarTag::Float => "!!float",
        ScalarTag::Bool => "!!bool",
        ScalarTag::Null => "!!null",
    };
    match (plain(text), tag) {
        (Some(Value::Int(value)), ScalarTag::Float) => Ok(Some(Value::Float(value as f64))),
        (Some(Value::Uint(value)), ScalarTag::Float) => Ok(Some(Value::Float(value as f64))),
        (Some(value), _) if value.tag() == wanted => Ok(Some(value)),
        (value, _) => {
            let found = value.map_or("!!str", Value::tag);
            Err(YamlError::Meaning(format!("cannot decode {found} `{text}` as a {wanted}")))
        }
    }
}

/// Returns what a plain scalar looks like; `None` for a string.
pub(super) fn plain(text: &str) -> Option<Value> {
    let Some(first) = text.bytes().next() else { return Some(Value::Null) };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => word(text),
        b'.' => infinity(text).or_else(|| fraction(text)),
        b'+' | b'-' | b'0'..=b'9' => infinity(text).or_else(|| number(text)),
        _ => None,
    }
}

fn word(text: &str) -> Option<Value> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        "~" | "null" | "Null" | "NULL" => Value::Null,
        _ => return None,
    })
}

fn infinity(text: &str) -> Option<Value> {
    Some(Value::Float(match text {
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        _ => return None,
    }))
}

/// Reads a float that starts with its point; underscores stand between two digits.
fn fraction(text: &str) -> Option<Value> {
    if !text.contains('_') {
        return float(text);
    }
    let is_digit = |part: &str, byte: Option<u8>| !part.is_empty() && byte.is_some_and(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('_').collect();
    let are_apart = parts.windows(2).all(|pair| match pair {
        [left, right] => is_digit(left, left.bytes().next_back()) && is_digit(right, right.bytes().next()),
        _ => true,
    });
    if are_apart { float(&parts.concat()) } else { None }
}

fn float(text: &str) -> Option<Value> {
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = text.parse().ok().filter(|_| is_number)?;
    value.is_finite().then_some(Value::Float(value))
}

/// Reads integers of base 2, 8, 10 and 16 and floats; underscores between digits say nothing.
fn number(text: &str) -> Option<Value> {
    let cleaned: String;
    let text = if text.contains('_') {
        cleaned = text.replace('_', "");
        cleaned.as_str()
    } else {
        text
    };
    if let Some(value) = integer(text) {
        return Some(value);
    }
    if is_float(text) {
        return float(text);
    }
    None
}

fn integer(text: &str) -> Option<Value> {
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (digits, base) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (unsigned.get(2..)?, 16),
        [b'0', b'o' | b'O', _, ..] => (unsigned.get(2..)?, 8),
        [b'0', b'b' | b'B', _, ..] => (unsigned.get(2..)?, 2),
        [b'0'] => (unsigned, 10),
        [b'0', ..] => (unsigned.get(1..)?, 8),
        _ => (unsigned, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, base).ok()?;
    if is_negative {
        return 0_i64.checked_sub_unsigned(size).map(Value::Int);
    }
    match i64::try_from(size) {
        Ok(value) => Some(Value::Int(value)),
        // A sign and the upper half of 64 bits make a float.
        Err(_) if text.starts_with('+') => None,
        Err(_) => Some(Value::Uint(size)),
    }
}

/// Says whether a text is written as a decimal float: digits, a point, an exponent.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            is_digits(whole) && is_digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && is_digits(mantissa),
    };
    is_mantissa && exponent.is_none_or(|exponent| !exponent.is_empty() && is_digits(exponent))
}
