//! How a scalar is written: plain, in quotes, as a block (the rules of libyaml's emitter with goyaml's choices).

use super::scalar::plain;

/// The way to write a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// What a text allows.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    is_multiline: bool,
    block_plain: bool,
    single: bool,
    block: bool,
}

/// Chooses the style of a string. A simple key stands before its colon on one line.
pub(super) fn choose(text: &str, is_simple_key: bool) -> Style {
    let traits = traits(text);
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if plain(text).is_none() && !is_timestamp(text) && !is_base_60(text) {
        Style::Plain
    } else {
        Style::Double
    };
    // YAML 1.1 takes these for line breaks and would fold them; upstream loses them.
    let has_odd_break = text.contains(['\u{85}', '\u{2028}', '\u{2029}']);
    if has_odd_break || (is_simple_key && traits.is_multiline) {
        return Style::Double;
    }
    match wanted {
        Style::Plain if traits.block_plain => Style::Plain,
        Style::Plain if traits.single => Style::Single,
        Style::Literal if traits.block && !is_simple_key => Style::Literal,
        _ => Style::Double,
    }
}

/// Says whether a key can stand before its colon.
pub(super) fn is_simple_key(text: &str) -> bool {
    /// libyaml's bound on what it looks ahead.
    const SIMPLE_KEY_LEN_MAX: usize = 128;
    text.len() <= SIMPLE_KEY_LEN_MAX && !text.chars().any(is_break)
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Says whether libyaml writes a character as it is.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

fn traits(text: &str) -> Traits {
    if text.is_empty() {
        return Traits { is_multiline: false, block_plain: true, single: true, block: false };
    }
    let mut has_indicators = text.starts_with("---") || text.starts_with("...");
    let (mut has_breaks, mut has_special) = (false, false);
    let (mut break_space, mut space_break) = (false, false);
    let (mut after_space, mut after_break) = (false, false);
    let mut after_blank = true;
    let mut chars = text.chars().peekable();
    let mut is_first = true;
    while let Some(c) = chars.next() {
        let before_blank = chars.peek().is_none_or(|&next| next == ' ' || next == '\t' || is_break(next));
        has_indicators |= match c {
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => is_first,
            '?' | '-' => is_first && before_blank,
            ':' => before_blank,
            '#' => after_blank,
            _ => false,
        };
        has_special |= !is_printable(c);
        if c == ' ' {
            break_space |= after_break;
            (after_space, after_break) = (true, false);
        } else if is_break(c) {
            has_breaks = true;
            space_break |= after_space;
            (after_space, after_break) = (false, true);
        } else {
            (after_space, after_break) = (false, false);
        }
        after_blank = c == ' ' || c == '\t' || is_break(c);
        is_first = false;
    }
    let is_edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
    let has_edge = is_edge(text.chars().next()) || is_edge(text.chars().next_back());
    let is_hard = space_break || has_special;
    Traits {
        is_multiline: has_breaks,
        block_plain: !(has_edge || break_space || is_hard || has_breaks || has_indicators),
        single: !(break_space || is_hard),
        block: !(text.ends_with(' ') || is_hard),
    }
}

/// Says whether a text reads as a date or a moment, which YAML 1.1 takes for one: `2026-1-2`, `2026-01-02T03:04:05Z`.
fn is_timestamp(text: &str) -> bool {
    let digits = |text: &str, most: usize| {
        let len = text.bytes().take_while(u8::is_ascii_digit).count();
        (1..=most).contains(&len).then_some(len)
    };
    let bytes = text.as_bytes();
    if bytes.get(..4).is_none_or(|year| !year.iter().all(u8::is_ascii_digit)) || bytes.get(4) != Some(&b'-') {
        return false;
    }
    // Read what is written loosely into the strict form that `time` reads.
    let mut strict = text.get(..5).unwrap_or_default().to_owned();
    let mut rest = text.get(5..).unwrap_or_default();
    for separator in ["-", "T", ":", ":", ""] {
        let Some(len) = digits(rest, 2) else { return false };
        let (number, after) = rest.split_at(len);
        strict.push_str(&format!("{number:0>2}"));
        let is_date = separator == "T";
        if is_date && after.is_empty() {
            return is_moment(&format!("{strict}T00:00:00Z"));
        }
        let spaced = is_date && after.starts_with(' ');
        rest = match separator {
            "T" => match after.strip_prefix(['T', 't', ' ']) {
                Some(rest) => rest,
                None => return false,
            },
            _ => match after.strip_prefix(separator) {
                Some(rest) => rest,
                None => return false,
            },
        };
        strict.push_str(separator);
        if spaced {
            // Without an offset.
            return is_spaced_moment(strict, rest);
        }
    }
    is_moment(&format!("{strict}{rest}"))
}

fn is_spaced_moment(mut strict: String, rest: &str) -> bool {
    let (clock, fraction) = rest.split_once('.').map_or((rest, ""), |(clock, fraction)| (clock, fraction));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let parts: Vec<&str> = clock.trim_start_matches(' ').split(':').collect();
    let is_number = |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() != 3 || !parts.iter().all(is_number) {
        return false;
    }
    let padded: Vec<String> = parts.iter().map(|part| format!("{part:0>2}")).collect();
    strict.push_str(&padded.join(":"));
    strict.push('Z');
    is_moment(&strict)
}

fn is_moment(text: &str) -> bool {
    crate::time::parse_time(text).is_ok()
}

/// Says whether a text reads as a number of base 60 (`1:30`), which older readers would take for one.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let is_loose = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let is_sixtieth = |part: &str| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..b'6').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    };
    whole.contains(':')
        && first.starts_with(|c: char| c.is_ascii_digit())
        && is_loose(first)
        && is_loose(fraction)
        && parts.all(is_sixtieth)
}

/// A float as Go's verb `g` has it: an exponent of at least two digits below 10^-4 and from 10^6 on.
pub(super) fn shortest_verb(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    shortest(&value.to_string(), &format!("{value:e}"))
}

/// Picks between `decimal` and `scientific` forms of one number.
pub(super) fn shortest(decimal: &str, scientific: &str) -> String {
    /// The powers of ten that are written out.
    const EXPONENTS: std::ops::Range<i32> = -4..6;
    let Some((digits, exponent)) = scientific.split_once('e') else { return decimal.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if EXPONENTS.contains(&exponent) {
        return decimal.to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
