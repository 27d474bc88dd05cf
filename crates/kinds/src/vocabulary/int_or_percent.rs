//! A number of pods, or a share of them: `3` or `25%` (upstream: `ValidatePositiveIntOrPercent`, `IsNotMoreThan100Percent`).

use portcullis_model::status::BadValue;

use super::{Errors, Path, number};
use crate::views::IntOrString;

/// What is said of a text that is no percentage.
const NOT_PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                           validation is '[0-9]+%')";
/// The largest share there is.
const PERCENT_MAX: i64 = 100;

/// A number of zero or more, or a percentage.
pub fn int_or_percent(value: IntOrString<'_>, at: &Path<'_>, errors: &mut Errors) {
    match value {
        IntOrString::Int(value) => number::non_negative(value.into(), at, errors),
        IntOrString::String(text) if percent(text).is_none() => errors.invalid(at, text, NOT_PERCENT),
        IntOrString::String(_) => {}
    }
}

/// A percentage of no more than everything; a number may be anything.
pub fn at_most_all(value: IntOrString<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let IntOrString::String(text) = value
        && percent(text).is_some_and(|share| share > PERCENT_MAX)
    {
        errors.invalid(at, text, "must not be greater than 100%");
    }
}

/// Whether it stands for nothing: no number, no share. A text that is neither counts as nothing.
#[must_use]
pub fn is_zero(value: IntOrString<'_>) -> bool {
    match value {
        IntOrString::Int(value) => value == 0,
        IntOrString::String(text) => percent(text).unwrap_or_else(|| integer(text)) == 0,
    }
}

/// The value as a complaint shows it.
#[must_use]
pub fn shown(value: IntOrString<'_>) -> BadValue {
    match value {
        IntOrString::Int(value) => value.into(),
        IntOrString::String(text) => text.into(),
    }
}

/// The number before the `%`; the largest there is for one that is larger still.
fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// A text that reads as a number is one, and any other is zero.
fn integer(text: &str) -> i64 {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().unwrap_or(i64::MAX) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    #[test]
    fn numbers_and_shares() {
        use IntOrString::{Int, String};
        let check = |value: IntOrString<'_>, nothing: bool, expected: &[&str]| {
            let mut errors = Errors::new();
            int_or_percent(value, &Path::new("n"), &mut errors);
            at_most_all(value, &Path::new("n"), &mut errors);
            let found: Vec<_> =
                lines(errors).iter().map(|line| line.chars().take(40).collect::<std::string::String>()).collect();
            assert_eq!(found, expected, "{value:?}");
            assert_eq!(is_zero(value), nothing, "{value:?}");
        };
        check(Int(0), true, &[]);
        check(Int(7), false, &[]);
        check(Int(200), false, &[]);
        check(Int(-7), false, &["n: Invalid value: -7: must be greater th"]);
        check(String("0%"), true, &[]);
        check(String("100%"), false, &[]);
        check(String("101%"), false, &["n: Invalid value: \"101%\": must not be gr"]);
        check(String("99999999999999999999%"), false, &["n: Invalid value: \"99999999999999999999%"]);
        check(String(""), true, &["n: Invalid value: \"\": a valid percent st"]);
        check(String("%"), true, &["n: Invalid value: \"%\": a valid percent s"]);
        check(String("-1%"), true, &["n: Invalid value: \"-1%\": a valid percent"]);
        check(String("5"), false, &["n: Invalid value: \"5\": a valid percent s"]);
        check(String("-5"), false, &["n: Invalid value: \"-5\": a valid percent "]);
        check(String("other"), true, &["n: Invalid value: \"other\": a valid perce"]);
    }
}
