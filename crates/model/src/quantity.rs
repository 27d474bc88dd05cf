//! Quantities: fixed-point numbers with a suffix, `250m`, `64Mi`, `1e3` (upstream: `resource.Quantity`).
//!
//! A quantity is stored and compared in canonical form: no digit is lost, no fraction is written, the exponent is as
//! large as it can be and a multiple of three (or of ten, in base two). What upstream does beyond its documentation is
//! kept, because stored objects depend on it: `Ki` alone is zero, `1.` is one, only base two is capped (at 2^63-1), and
//! a text that is nearly canonical (`+5`, `1.500k`) stays as it is.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Neg, Sub};

use thiserror::Error;

mod parse;

use parse::{Digits, Parsed};

/// Why a text is not a quantity. The texts are upstream's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// Not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// No digits where the number must be.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is made of the right letters but is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes that a quantity was written in, and is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySi,
    /// `12M`.
    DecimalSi,
}

/// Suffixes of [`Format::DecimalSi`] from 10^-9 to 10^18.
const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Suffixes of [`Format::BinarySi`] from 2^0 to 2^60.
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// The exponent of the smallest fraction.
const NANO: i32 = -9;
/// Numbers of more digits do not take the short cut of [`is_canonical`].
const PLAIN_DIGITS_MAX: usize = 18;

/// A fixed-point number: `mantissa * 10^exponent`. Equality and order are those of the value.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    format: Format,
}

impl Quantity {
    /// Zero, in the format of plain numbers.
    pub const ZERO: Self = Self { mantissa: 0, exponent: 0, format: Format::DecimalSi };

    /// Makes a quantity from an integer.
    #[must_use]
    pub fn from_i64(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), exponent: 0, format }
    }

    /// Makes a quantity from thousandths.
    #[must_use]
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), exponent: -3, format }
    }

    /// Reads a quantity. Fractions below 10^-9 are rounded away from zero, and so are the digits after the 37th.
    ///
    /// # Errors
    /// The error's text is upstream's.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse::parse(text).map(parse::Parsed::into_quantity)
    }

    /// Returns the family of suffixes.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Says whether the value is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// Returns -1, 0 or 1.
    #[must_use]
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// Returns the value as an integer, rounded away from zero, within the bounds of 64 bits.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// Returns the value in thousandths, rounded away from zero, within the bounds of 64 bits.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    /// Returns the value in units of `10^exponent`, rounded away from zero, within the bounds of 64 bits.
    #[must_use]
    pub fn scaled(&self, exponent: i32) -> i64 {
        let shift = self.exponent.saturating_sub(exponent);
        let units = if shift >= 0 {
            scale_up(self.mantissa, shift.unsigned_abs()).unwrap_or(saturated(self.mantissa))
        } else {
            match 10_i128.checked_pow(shift.unsigned_abs()) {
                Some(unit) => {
                    let whole = self.mantissa / unit;
                    if self.mantissa % unit == 0 { whole } else { whole + self.mantissa.signum() }
                }
                None => self.mantissa.signum(),
            }
        };
        i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
    }

    /// Appends the canonical form.
    pub fn push_canonical(&self, out: &mut String) {
        if self.is_zero() {
            out.push('0');
            return;
        }
        if self.format == Format::BinarySi
            && let Some((amount, suffix)) = self.binary()
        {
            push_number(out, amount);
            out.push_str(suffix);
            return;
        }
        let (amount, exponent) = self.decimal();
        push_number(out, amount);
        push_decimal_suffix(out, exponent, self.format);
    }

    /// The mantissa at a smaller exponent, saturated.
    fn aligned(&self, exponent: i32) -> i128 {
        let shift = self.exponent.saturating_sub(exponent).unsigned_abs();
        scale_up(self.mantissa, shift).unwrap_or(saturated(self.mantissa))
    }

    /// The canonical number and suffix in base two; `None` when base ten shows it better: fractions, and what is
    /// below 1024.
    fn binary(&self) -> Option<(i128, &'static str)> {
        let unit = 10_i128.checked_pow(self.exponent.min(0).unsigned_abs())?;
        if self.mantissa % unit != 0 {
            return None;
        }
        let mut amount = scale_up(self.mantissa / unit, self.exponent.max(0).unsigned_abs())?;
        if amount.abs() < 1024 {
            return None;
        }
        let mut suffixes = BINARY_SUFFIXES.iter();
        let mut suffix = suffixes.next()?;
        while amount % 1024 == 0 {
            let Some(next) = suffixes.next() else { break };
            amount /= 1024;
            suffix = next;
        }
        Some((amount, suffix))
    }

    /// The canonical number and its power of ten, a multiple of three.
    fn decimal(&self) -> (i128, i32) {
        let (mut amount, mut exponent) = (self.mantissa, self.exponent);
        while amount % 1000 == 0 && amount != 0 {
            amount /= 1000;
            exponent = exponent.saturating_add(3);
        }
        while amount % 10 == 0 && amount != 0 {
            amount /= 10;
            exponent = exponent.saturating_add(1);
        }
        // Zeros that were just taken off, or a number far below the limits of 128 bits.
        while exponent % 3 != 0 {
            amount = amount.saturating_mul(10);
            exponent -= 1;
        }
        (amount, exponent)
    }
}

/// A zero takes the other's format. Sums beyond 10^29 saturate.
impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let format = if self.is_zero() { other.format } else { self.format };
        let mantissa = self.aligned(exponent).saturating_add(other.aligned(exponent));
        Self { mantissa, exponent, format }
    }
}

/// As the sum with the negated value.
impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { mantissa: self.mantissa.saturating_neg(), ..self }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push_canonical(&mut text);
        out.write_str(&text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs != Ordering::Equal || self.mantissa == 0 {
            return signs;
        }
        let exponent = self.exponent.min(other.exponent);
        self.aligned(exponent).cmp(&other.aligned(exponent))
    }
}

/// Multiplies by a power of ten.
fn scale_up(mantissa: i128, power: u32) -> Option<i128> {
    if mantissa == 0 {
        return Some(0);
    }
    10_i128.checked_pow(power).and_then(|unit| mantissa.checked_mul(unit))
}

fn saturated(mantissa: i128) -> i128 {
    if mantissa < 0 { i128::MIN } else { i128::MAX }
}

/// Appends the suffix or exponent of a canonical number in base ten.
fn push_decimal_suffix(out: &mut String, exponent: i32, format: Format) {
    let si = usize::try_from(exponent / 3 + 3).ok().and_then(|at| DECIMAL_SUFFIXES.get(at));
    match si {
        Some(suffix) if format != Format::DecimalExponent => out.push_str(suffix),
        _ if exponent == 0 => {}
        // Upstream drops the suffix of what is too large for one (`1000E` becomes `1`); an exponent is kept here.
        _ => {
            out.push('e');
            out.push_str(itoa::Buffer::new().format(exponent));
        }
    }
}

fn push_number(out: &mut String, amount: i128) {
    match i64::try_from(amount) {
        Ok(amount) => out.push_str(itoa::Buffer::new().format(amount)),
        Err(_) => out.push_str(&amount.to_string()),
    }
}

/// Returns the form of a quantity that is stored: the text itself when it is canonical or nearly so, found without
/// arithmetic for nearly all, else the canonical form. White space around the text is dropped, as upstream does for JSON. `null` and absence are the
/// caller's.
///
/// # Errors
/// The error's text is upstream's.
pub fn canonical(text: &str) -> Result<Cow<'_, str>, QuantityError> {
    if is_canonical(text.as_bytes()) {
        return Ok(Cow::Borrowed(text));
    }
    let trimmed = text.trim();
    let mut out = String::new();
    match parse::parse(trimmed)? {
        Parsed::Number { is_settled: true, .. } => return Ok(Cow::Borrowed(trimmed)),
        Parsed::Number { quantity, .. } => quantity.push_canonical(&mut out),
        Parsed::Digits(digits) => push_digits(&mut out, &digits),
    }
    Ok(if out == trimmed { Cow::Borrowed(trimmed) } else { Cow::Owned(out) })
}

/// Appends the canonical form of a number of any length.
fn push_digits(out: &mut String, number: &Digits) {
    if number.digits.is_empty() {
        out.push('0');
        return;
    }
    if number.negative {
        out.push('-');
    }
    out.extend(number.digits.iter().map(|&digit| char::from(digit)));
    let zeros = number.exponent.rem_euclid(3);
    for _ in 0..zeros {
        out.push('0');
    }
    push_decimal_suffix(out, number.exponent.saturating_sub(zeros), number.format);
}

/// Says `true` for texts that are plainly canonical; `false` says nothing.
fn is_canonical(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, suffix) = text.split_at(digits);
    if number.first() == Some(&b'0') {
        return number.len() == 1 && suffix.is_empty();
    }
    if number.is_empty() || number.len() > PLAIN_DIGITS_MAX {
        return false;
    }
    let below_1024 = || number.len() <= 3;
    match suffix {
        [] | [b'n' | b'u' | b'm' | b'k' | b'M' | b'G' | b'T' | b'P' | b'E'] => !number.ends_with(b"000"),
        [b'K' | b'M' | b'G' | b'T' | b'P', b'i'] => below_1024(),
        // 8Ei is beyond 2^63-1.
        [b'E', b'i'] => number.len() == 1 && number < b"8",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
