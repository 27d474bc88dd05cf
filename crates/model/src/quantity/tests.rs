#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn quantities_are_canonical() {
    fn check(text: &str, expected: &str) {
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        // What is stored stays.
        assert_eq!(canonical(expected).as_deref(), Ok(expected));
        assert_eq!(Quantity::parse(text.trim()), Quantity::parse(expected), "{text}");
    }
    for same in ["0", "1", "999", "1001", "250m", "1500m", "64Mi", "10Gi", "1536Mi", "1k", "1e3", "12e6", "7Ei", "1n"] {
        check(same, same);
    }
    check("1000", "1k");
    check("1000m", "1");
    check("1024Mi", "1Gi");
    check("1024", "1024");
    check("1024Ki", "1Mi");
    check("1023Ki", "1023Ki");
    check("0.5", "500m");
    check(".5", "500m");
    check("1.", "1.");
    check("0.5Gi", "512Mi");
    check("1.5Ki", "1536");
    check("0.5Ki", "512");
    check("0.1Ki", "102400m");
    check("0.0001Ki", "102400u");
    check("1.1Ki", "1126400m");
    check("100000", "100k");
    check("1200", "1200");
    check("12000000", "12M");
    check("-5", "-5");
    check("+5", "+5");
    check("-1000m", "-1");
    check("007", "007");
    check("00", "0");
    check("-0", "0");
    check("0Ki", "0");
    check("0.000", "0");
    check(" 1 ", "1");
    check("5e1", "50");
    check("1E3", "1E3");
    check("1e0", "1e0");
    check("1e+6", "1e+6");
    check("1e-3", "1e-3");
    check("1500e-3", "1500e-3");
    check("1e-9", "1e-9");
    check("1e-10", "1e-9");
    check("1e-2000000000", "1e-9");
    check("0.1n", "1n");
    check("1.0000000001", "1000000001n");
    check("-0.1n", "-1n");
    check("0.0000000001Ki", "103n");
    check("9223372036854775807", "9223372036854775807");
    check("9223372036854775808", "9223372036854775808");
    check("10000000000000000000", "10E");
    check("1234567890123456789012345678901234567890000", "1234567890123456789012345678901234567890k");
    check("-9223372036854775809", "-9223372036854775809");
    check("8Ei", "9223372036854775807");
    check("99999999999Pi", "9223372036854775807");
    check("9223372036854775807.5", "9223372036854775807500m");
    check("2022400.656828081414129e20", "202240065682808141412900e3");
    check("0.99999999999", "1");
    check("99.9999999999", "100");
    check("1.500", "1.500");
    check("1.500k", "1.500k");
    check("0.005k", "5");
    check("-58.Gi", "-58.Gi");
    check("01025Ki", "01025Ki");
    check("+665000Mi", "665000Mi");
    check("+8Mi", "8Mi");
    check("10E", "10E");
    check("1e21", "1e21");
    check("0.000000000000000000000000000001E", "1n");
}

#[test]
fn letters_without_digits_are_zero_as_upstream_has_it() {
    fn check(text: &str, expected: Result<&str, QuantityError>) {
        assert_eq!(canonical(text).as_deref().map_err(|error| *error), expected, "{text}");
    }
    check("-", Ok("0"));
    check(".", Ok("0"));
    check("Ki", Ok("0"));
    check("m", Ok("0"));
    check("Pi", Err(QuantityError::Numeric));
    check(".Ei", Err(QuantityError::Numeric));
    check("e-10", Err(QuantityError::Numeric));
}

#[test]
fn what_is_no_quantity_is_refused() {
    fn check(text: &str, expected: QuantityError) {
        assert_eq!(canonical(text), Err(expected), "{text}");
    }
    use QuantityError::{Format, Suffix};
    for text in ["", " ", "Not Valid!", "1,5", "1 Gi", "1.2.3", "1GB", "1B", "0x10", "1e3.5", "１", "null", "1e1m"] {
        check(text, Format);
    }
    for text in ["--1", "1K", "1ki", "1KiM", "1mm", "1i", "1e", "1ee3", "1m3", "1e99999999999999999999", "1e-", "1Ki5"]
    {
        check(text, Suffix);
    }
    assert!(QuantityError::Format.to_string().starts_with("quantities must match the regular expression '^([+-]?"));
}

#[test]
fn quantities_compare_by_value() {
    fn check(left: &str, right: &str, expected: Ordering) {
        let (left, right) = (Quantity::parse(left).unwrap(), Quantity::parse(right).unwrap());
        assert_eq!(left.cmp(&right), expected, "{left} {right}");
        assert_eq!(right.cmp(&left), expected.reverse());
    }
    check("1", "1000m", Ordering::Equal);
    check("1Ki", "1024", Ordering::Equal);
    check("1Ki", "1k", Ordering::Greater);
    check("-1", "1m", Ordering::Less);
    check("0", "-0", Ordering::Equal);
    check("1e1000", "9Ei", Ordering::Greater);
    check("-1e1000", "9Ei", Ordering::Less);
    check("1e1000", "1e1001", Ordering::Less);
    check("0", "1e1000", Ordering::Less);
}

#[test]
fn quantities_add_and_subtract() {
    fn check(left: &str, right: &str, sum: &str, difference: &str) {
        let (left, right) = (Quantity::parse(left).unwrap(), Quantity::parse(right).unwrap());
        assert_eq!((left + right).to_string(), sum);
        assert_eq!((left - right).to_string(), difference);
    }
    check("1", "500m", "1500m", "500m");
    check("1Gi", "512Mi", "1536Mi", "512Mi");
    check("0", "1Gi", "1Gi", "-1Gi");
    check("1Gi", "0", "1Gi", "1Gi");
    check("1Gi", "1Gi", "2Gi", "0");
    check("100m", "1Ki", "1024100m", "-1023900m");
}

#[test]
fn values_are_rounded_away_from_zero() {
    fn check(text: &str, value: i64, milli: i64) {
        let quantity = Quantity::parse(text).unwrap();
        assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
    }
    check("0", 0, 0);
    check("1", 1, 1000);
    check("1m", 1, 1);
    check("1500m", 2, 1500);
    check("-1500m", -2, -1500);
    check("1n", 1, 1);
    check("1Ki", 1024, 1_024_000);
    check("10E", i64::MAX, i64::MAX);
    check("-1e1000", i64::MIN, i64::MIN);
}

#[test]
fn the_short_cut_agrees_with_the_arithmetic() {
    for suffix in ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        for number in (0..2100).chain([9_999, 10_000, 65_536, 1_048_576, 999_999, 123_000]) {
            let text = format!("{number}{suffix}");
            if is_canonical(text.as_bytes()) {
                assert_eq!(Quantity::parse(&text).unwrap().to_string(), text);
            }
        }
    }
}

#[test]
fn long_texts_cost_what_they_weigh() {
    let digits = "9".repeat(1 << 20);
    assert_eq!(canonical(&digits).as_deref(), Ok(digits.as_str()));
    assert_eq!(canonical(&format!("0.{digits}")).as_deref(), Ok("1"));
    assert_eq!(canonical(&format!("0.{digits}Ki")).as_deref(), Ok("1Ki"));
    assert_eq!(canonical(&format!("{digits}e-2000000")).as_deref(), Ok("1e-9"));
}
