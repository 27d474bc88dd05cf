//! Formats of strings that schemas of custom resources may name (upstream: `apiserver/validation/formats.go`, go-openapi's `strfmt`).

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use portcullis_model::names;
use portcullis_model::quantity::Quantity;

/// Formats of strings, without their dashes.
const KNOWN: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "quantity",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format means anything for this type.
pub fn is_known(ty: &str, format: &str) -> bool {
    match ty {
        "" | "string" => KNOWN.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// Whether a text is not of a format. What is not known is not checked.
pub fn is_wrong(format: &str, text: &str) -> bool {
    if format.is_empty() {
        return false;
    }
    let is_right = match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "cidr" => is_cidr(text),
        "creditcard" => is_credit_card(text),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && is_hex(digits)
        }
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn(text, 10) || is_isbn(text, 13),
        "isbn10" => is_isbn(text, 10),
        "isbn13" => is_isbn(text, 13),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "mac" => is_mac(text),
        "quantity" => Quantity::parse(text).is_ok(),
        "rgbcolor" => is_rgb(text),
        "ssn" => is_ssn(text),
        "uri" => is_uri(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        _ => true,
    };
    !is_right
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let most = match (address.parse::<Ipv4Addr>().is_ok(), address.parse::<Ipv6Addr>().is_ok()) {
        (true, _) => 32,
        (_, true) => 128,
        _ => return false,
    };
    is_digits(prefix) && prefix.len() <= 3 && prefix.parse::<u32>().is_ok_and(|prefix| prefix <= most)
}

/// By the numbers of the issuers; what is no digit is left out.
fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| digits.starts_with(prefix));
    let is_issued = match digits.len() {
        13 => starts(&["4"]),
        14 => starts(&["300", "301", "302", "303", "304", "305", "36", "38"]),
        15 => starts(&["34", "37", "2131", "1800"]),
        16 => starts(&["4", "51", "52", "53", "54", "55", "6011", "65", "35"]),
        _ => false,
    };
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let values = digits.chars().rev().filter_map(|c| c.to_digit(10)).enumerate();
    let sum: u32 = values.map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum();
    is_issued && sum.is_multiple_of(10)
}

fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |len: usize| parts.next().filter(|part| part.len() == len && is_digits(part))?.parse::<u32>().ok();
    let (Some(year), Some(month), Some(day)) = (part(4), part(2), part(2)) else { return false };
    text.len() == 10 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day)
}

/// RFC 3339, and what go-openapi takes besides: `t` and `z` in small letters, no zone.
fn is_date_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't']) else { return is_date(text) };
    let (time, zone) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    let is_clock = |text: &str, parts: usize| {
        let limits = [24, 60, 60];
        text.split(':').count() == parts
            && text.split(':').zip(limits).all(|(part, limit)| {
                part.len() == 2 && is_digits(part) && part.parse::<u32>().is_ok_and(|part| part < limit)
            })
    };
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(clock, fraction)| (clock, Some(fraction)));
    let is_zone = match zone.split_at_checked(1) {
        None => true,
        Some(("Z" | "z", "")) => true,
        Some(("+" | "-", offset)) => is_clock(offset, 2),
        _ => false,
    };
    is_date(date) && is_clock(clock, 3) && fraction.is_none_or(is_digits) && is_zone
}

/// Go's durations (`1h5m`), and Scala's (`10 seconds`).
fn is_duration(text: &str) -> bool {
    const UNITS: &[&str] = &["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];
    const WORDS: &[&str] = &[
        "nano",
        "nanosecond",
        "micro",
        "microsecond",
        "milli",
        "millisecond",
        "sec",
        "second",
        "min",
        "minute",
        "hr",
        "hour",
        "day",
        "d",
        "week",
        "wk",
        "w",
    ];
    let mut rest = text.trim().trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    let mut parts = 0usize;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (amount, after) = rest.split_at_checked(number).unwrap_or((rest, ""));
        let after = after.trim_start();
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit).unwrap_or((after, ""));
        let word = unit.to_ascii_lowercase();
        let is_unit =
            UNITS.contains(&unit) || WORDS.contains(&word.as_str()) || WORDS.contains(&word.trim_end_matches('s'));
        if amount.parse::<f64>().is_err() || !is_unit {
            return false;
        }
        rest = after.trim_start();
        parts += 1;
    }
    parts > 0
}

fn is_email(text: &str) -> bool {
    let address = match (text.find('<'), text.strip_suffix('>')) {
        (Some(at), Some(inside)) => inside.get(at + 1..).unwrap_or_default(),
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let is_atom = |text: &str| {
        !text.is_empty()
            && !text.bytes().any(|byte| byte <= b' ' || matches!(byte, b'(' | b')' | b'<' | b'>' | b',' | b';'))
    };
    let is_quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let is_local = is_quoted || is_atom(local) && !local.contains('@') && !local.split('.').any(str::is_empty);
    is_local && is_atom(domain) && !domain.split('.').any(str::is_empty)
}

fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let is_end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        label.len() <= 63
            && is_end(bytes.first())
            && is_end(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let host = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 255 && host.split('.').all(is_label)
}

fn is_isbn(text: &str, len: usize) -> bool {
    let digits: Vec<char> = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if digits.len() != len {
        return false;
    }
    let mut sum = 0;
    for (at, c) in (0u32..).zip(&digits) {
        let value = match c.to_digit(10) {
            Some(value) => value,
            None if len == 10 && at == 9 && *c == 'X' => 10,
            None => return false,
        };
        sum += match (len, at % 2) {
            (10, _) => (at + 1) * value,
            (_, 0) => value,
            _ => 3 * value,
        };
    }
    if len == 10 { sum.is_multiple_of(11) } else { sum.is_multiple_of(10) }
}

/// Six, eight or twenty bytes in pairs, or in groups of four digits with dots.
fn is_mac(text: &str) -> bool {
    let is_of = |separator: char, digits: usize, counts: &[usize]| {
        counts.contains(&text.split(separator).count())
            && text.split(separator).all(|part| part.len() == digits && is_hex(part))
    };
    is_of(':', 2, &[6, 8, 20]) || is_of('-', 2, &[6, 8, 20]) || is_of('.', 4, &[3, 4, 10])
}

fn is_rgb(text: &str) -> bool {
    let Some(inside) = text.strip_prefix("rgb(").and_then(|text| text.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| is_digits(part) && part.parse::<u32>().is_ok_and(|part| part <= 255))
}

fn is_ssn(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    digits.len() == 9 && is_digits(&digits) && text.len() <= 11 && text.get(..3).is_some_and(is_digits)
}

/// An absolute URI or an absolute path, as in a request's first line.
fn is_uri(text: &str) -> bool {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) || text.is_empty() {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let digits: Vec<char> = text.chars().filter(|c| *c != '-').collect();
    let is_grouped = match text.len() {
        32 => true,
        36 => [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-')),
        _ => false,
    };
    let has_variant = || digits.get(16).is_some_and(|c| matches!(c.to_ascii_lowercase(), '8' | '9' | 'a' | 'b'));
    is_grouped
        && digits.len() == 32
        && digits.iter().all(char::is_ascii_hexdigit)
        && version.is_none_or(|version| digits.get(12) == Some(&version) && (version == '3' || has_variant()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_of_their_formats() {
        let check = |format: &str, text: &str, expected: bool| {
            assert_eq!(!is_wrong(format, text), expected, "{format} {text}");
        };
        check("date-time", "2014-12-15T19:30:20.000Z", true);
        check("date-time", "2014-12-15T19:30:20+02:00", true);
        check("date-time", "2014-13-15T19:30:20Z", false);
        check("datetime", "harbor", false);
        check("date", "2024-02-29", true);
        check("date", "2023-02-29", false);
        check("ipv4", "10.0.0.1", true);
        check("ipv4", "10.0.0", false);
        check("ipv6", "fd00::1", true);
        check("cidr", "10.0.0.0/8", true);
        check("cidr", "10.0.0.0/33", false);
        check("mac", "00:00:5e:00:53:01", true);
        check("mac", "00:00:5e", false);
        check("uuid", "123e4567-e89b-12d3-a456-426614174000", true);
        check("uuid4", "123e4567-e89b-12d3-a456-426614174000", false);
        check("isbn10", "0321751043", true);
        check("isbn13", "978-0321751041", true);
        check("isbn", "0321751044", false);
        check("creditcard", "4111-1111-1111-1111", true);
        check("creditcard", "4111-1111-1111-1112", false);
        check("hexcolor", "#FFFFFF", true);
        check("rgbcolor", "rgb(255,255,25)", true);
        check("rgbcolor", "rgb(256,0,0)", false);
        check("duration", "22 ns", true);
        check("duration", "1h5m", true);
        check("duration", "soon", false);
        check("quantity", "10Gi", true);
        check("quantity", "10Harbor", false);
        check("byte", "aGFyYm9y", true);
        check("byte", "?", false);
        check("email", "ana@example.com", true);
        check("email", "ana", false);
        check("hostname", "harbor.example.com", true);
        check("hostname", "-harbor", false);
        check("uri", "https://example.com/a", true);
        check("uri", "harbor", false);
        check("ssn", "111-11-1111", true);
        check("k8s-short-name", "harbor", true);
        check("k8s-short-name", "harbor.one", false);
        check("other", "anything", true);
    }

    #[test]
    fn formats_belong_to_types() {
        let check =
            |ty: &str, format: &str, expected: bool| assert_eq!(is_known(ty, format), expected, "{ty} {format}");
        check("string", "date-time", true);
        check("string", "int32", false);
        check("integer", "int32", true);
        check("number", "int32", false);
        check("number", "double", true);
        check("object", "date", false);
        check("", "uuid", true);
    }
}
