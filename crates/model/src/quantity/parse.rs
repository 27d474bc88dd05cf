//! Reading quantities, in time linear in the text, whatever the exponent says.

use super::{Format, NANO, Quantity, QuantityError};

/// Digits that fit 64 bits for sure; so many are taken as they are.
const EXACT_DIGITS_MAX: usize = 18;
/// The same in base two, before the digits that the suffix takes.
const EXACT_BINARY_DIGITS: i64 = 14;
/// Digits that fit a mantissa; of longer numbers the value is rounded, the text is not.
const MANTISSA_DIGITS_MAX: usize = 37;
/// The cap of numbers in base two; base ten has none.
const AMOUNT_MAX: u128 = i64::MAX as u128;
/// Nanos in one.
const NANOS: u128 = 1_000_000_000;

/// What was read.
pub(super) enum Parsed {
    /// A number, and whether the text may stay as it is: upstream keeps one whose digits and exponent are those of the
    /// canonical form, even where signs, points and zeros are not (`+5`, `1.500k`).
    Number { quantity: Quantity, is_settled: bool },
    /// A number in base ten that may be of any length.
    Digits(Digits),
}

/// Decimal digits without zeros at either end, unless there is only a zero, and a power of ten.
pub(super) struct Digits {
    pub(super) negative: bool,
    pub(super) digits: Vec<u8>,
    pub(super) exponent: i32,
    pub(super) format: Format,
}

/// A text, taken apart.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point without leading zeros.
    whole: &'a [u8],
    /// Digits after the point.
    fraction: &'a [u8],
    suffix: &'a [u8],
    /// Whether there is a digit at all: upstream takes `Ki` for zero as long as it need not look at the number.
    has_digits: bool,
}

/// What a suffix means.
enum Scale {
    /// A power of ten and the family it belongs to.
    Decimal(i32, Format),
    /// A power of two.
    Binary(u32),
}

pub(super) fn parse(text: &str) -> Result<Parsed, QuantityError> {
    let parts = split(text.as_bytes())?;
    match scale(parts.suffix)? {
        Scale::Decimal(exponent, format) => decimal(&parts, exponent, format),
        Scale::Binary(exponent) => binary(&parts, exponent),
    }
}

fn split(text: &[u8]) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let count = |bytes: &[u8], keep: fn(&u8) -> bool| bytes.iter().take_while(|byte| keep(byte)).count();
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (zeros, rest) = unsigned.split_at(count(unsigned, |&byte| byte == b'0'));
    let (whole, rest) = rest.split_at(count(rest, u8::is_ascii_digit));
    let (fraction, suffix) = match rest {
        [b'.', rest @ ..] => rest.split_at(count(rest, u8::is_ascii_digit)),
        _ => (&[][..], rest),
    };
    let letters = count(suffix, |byte| b"eEinumkKMGTP".contains(byte));
    let exponent = match suffix.get(letters..).unwrap_or_default() {
        [b'-' | b'+', rest @ ..] => rest,
        rest => rest,
    };
    if !exponent.iter().all(u8::is_ascii_digit) {
        return Err(QuantityError::Format);
    }
    // Signs and zeros alone are zero.
    let has_digits = !(zeros.is_empty() && whole.is_empty() && fraction.is_empty()) || unsigned.is_empty();
    Ok(Parts { negative, whole, fraction, suffix, has_digits })
}

fn scale(suffix: &[u8]) -> Result<Scale, QuantityError> {
    let decimal = |exponent| Ok(Scale::Decimal(exponent, Format::DecimalSi));
    match suffix {
        b"" => decimal(0),
        b"n" => decimal(-9),
        b"u" => decimal(-6),
        b"m" => decimal(-3),
        b"k" => decimal(3),
        b"M" => decimal(6),
        b"G" => decimal(9),
        b"T" => decimal(12),
        b"P" => decimal(15),
        b"E" => decimal(18),
        b"Ki" => Ok(Scale::Binary(10)),
        b"Mi" => Ok(Scale::Binary(20)),
        b"Gi" => Ok(Scale::Binary(30)),
        b"Ti" => Ok(Scale::Binary(40)),
        b"Pi" => Ok(Scale::Binary(50)),
        b"Ei" => Ok(Scale::Binary(60)),
        [b'e' | b'E', exponent @ ..] => {
            let text = std::str::from_utf8(exponent).map_err(|_| QuantityError::Suffix)?;
            let exponent: i64 = text.parse().map_err(|_| QuantityError::Suffix)?;
            // Upstream keeps the low 32 bits.
            Ok(Scale::Decimal(exponent as i32, Format::DecimalExponent))
        }
        _ => Err(QuantityError::Suffix),
    }
}

fn decimal(parts: &Parts<'_>, exponent: i32, format: Format) -> Result<Parsed, QuantityError> {
    let digits = || parts.whole.iter().chain(parts.fraction);
    // A stripped zero counts as a digit.
    let count = parts.whole.len().max(1) + parts.fraction.len();
    let shift = i64::from(exponent) - i64::try_from(parts.fraction.len()).unwrap_or(i64::MAX);
    if count <= EXACT_DIGITS_MAX && shift >= i64::from(NANO) {
        let value = digits().fold(0, |value: i128, digit| value * 10 + i128::from(digit - b'0'));
        let mantissa = if parts.negative { -value } else { value };
        let exponent = i32::try_from(shift).map_err(|_| QuantityError::Numeric)?;
        let quantity = Quantity { mantissa, exponent, format };
        let is_settled = !parts.whole.is_empty() && value != 0 && quantity.decimal() == (mantissa, exponent);
        return Ok(Parsed::Number { quantity, is_settled });
    }
    if !parts.has_digits {
        return Err(QuantityError::Numeric);
    }
    let mut digits: Vec<u8> = digits().copied().skip_while(|&digit| digit == b'0').collect();
    let mut shift = shift;
    if shift < i64::from(NANO) && !digits.is_empty() {
        let dropped = usize::try_from(i64::from(NANO) - shift).unwrap_or(usize::MAX);
        round_up(&mut digits, dropped);
        shift = i64::from(NANO);
    }
    while digits.pop_if(|digit| *digit == b'0').is_some() {
        shift += 1;
    }
    let exponent = i32::try_from(shift).unwrap_or(i32::MAX);
    Ok(Parsed::Digits(Digits { negative: parts.negative, digits, exponent, format }))
}

/// Drops the last digits of a number that is not zero, and adds one if they were not all zero.
fn round_up(digits: &mut Vec<u8>, dropped: usize) {
    let kept = digits.len().saturating_sub(dropped);
    let is_rounded = digits.iter().skip(kept).any(|&digit| digit != b'0');
    digits.truncate(kept);
    if !is_rounded {
        return;
    }
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

fn binary(parts: &Parts<'_>, exponent: u32) -> Result<Parsed, QuantityError> {
    let count = i64::try_from(parts.whole.len().max(1)).unwrap_or(i64::MAX);
    let is_exact = parts.fraction.is_empty() && count <= EXACT_BINARY_DIGITS - i64::from(exponent) * 3 / 10;
    if !is_exact && !parts.has_digits {
        return Err(QuantityError::Numeric);
    }
    let mut whole: u128 = 0;
    for digit in parts.whole {
        whole = (whole * 10 + u128::from(digit - b'0')).min(AMOUNT_MAX);
    }
    // From the last digit on: a tenth of what stands behind, and a digit of the unit. What is left over in any
    // division makes the sum larger than its floor.
    let unit = NANOS << exponent;
    let (mut part, mut is_rounded) = (0, false);
    for digit in parts.fraction.iter().rev() {
        let sum = u128::from(digit - b'0') * unit + part;
        part = sum / 10;
        is_rounded |= !sum.is_multiple_of(10);
    }
    // 63 bits shifted by at most 60.
    let amount = (whole << exponent).min(AMOUNT_MAX);
    let nanos = (amount * NANOS + part + u128::from(is_rounded)).min(AMOUNT_MAX * NANOS);
    let format = if nanos > 0 && nanos < NANOS { Format::DecimalSi } else { Format::BinarySi };
    let mantissa = i128::try_from(nanos).unwrap_or(i128::MAX);
    let mantissa = if parts.negative { -mantissa } else { mantissa };
    let quantity = Quantity { mantissa, exponent: NANO, format };
    // Upstream writes multiples of eight anew, whether or not another suffix would suit them.
    let is_settled = is_exact && !whole.is_multiple_of(8);
    Ok(Parsed::Number { quantity, is_settled })
}

impl Parsed {
    pub(super) fn into_quantity(self) -> Quantity {
        match self {
            Self::Number { quantity, .. } => quantity,
            Self::Digits(digits) => digits.to_quantity(),
        }
    }
}

impl Digits {
    /// The value, rounded away from zero to 37 digits.
    fn to_quantity(&self) -> Quantity {
        let (kept, dropped) = self.digits.split_at(self.digits.len().min(MANTISSA_DIGITS_MAX));
        let value = kept.iter().fold(0, |value: i128, digit| value * 10 + i128::from(digit - b'0'));
        let value = value + i128::from(!dropped.is_empty());
        let dropped = i32::try_from(dropped.len()).unwrap_or(i32::MAX);
        Quantity {
            mantissa: if self.negative { -value } else { value },
            exponent: self.exponent.saturating_add(dropped),
            format: self.format,
        }
    }
}
