//! Regular expressions as custom resources use them (upstream: Go's `regexp`, whose syntax is RE2's).
//!
//! Go and the `regex` crate agree on most of the syntax and on linear time, but not on all of it and not on the words of complaints.
//! So a pattern is read here by Go's rules, and written down in the crate's on the way: classes are those of ASCII, groups capture nothing.

mod unicode_classes;

use regex::{Regex, RegexBuilder};

/// How often something may be repeated, counting repetitions inside of repetitions.
const REPEAT_MAX: u32 = 1_000;
/// How deep groups may nest.
const NESTING_MAX: usize = 250;
/// Bytes that a pattern may take when it is made ready to match.
const COMPILED_BYTES_MAX: usize = 256 << 10;
/// The same of one that is made ready at little cost.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// Bytes of a pattern that is made ready: before the limit of what is ready is looked at, all of its classes are spelled out.
const SOURCE_BYTES_MAX: usize = 4 << 10;
/// Classes of Unicode in a pattern that is made ready. A case-blind one takes 35 KB and a millisecond.
const UNICODE_CLASSES_MAX: usize = 32;
/// How many bytes one weighs as much as.
const UNICODE_CLASS_WEIGHT: usize = 256;
/// Bytes of the name of a class of Unicode; the longest has 22 letters.
const CLASS_NAME_BYTES_MAX: usize = 64;

/// Why a pattern is none, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    code: &'static str,
    expression: String,
}

impl std::fmt::Display for PatternError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "error parsing regexp: {}: `{}`", self.code, self.expression)
    }
}

/// A pattern by Go's rules.
#[derive(Clone, Debug)]
pub struct Pattern {
    translated: String,
    unicode_classes: usize,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let mut parser = Parser {
            whole: text,
            rest: text,
            out: String::with_capacity(text.len() + 8),
            groups: Vec::new(),
            unicode_classes: 0,
            last_posix_end: text.rfind(":]"),
        };
        parser.run()?;
        Ok(Pattern { translated: parser.out, unicode_classes: parser.unicode_classes })
    }

    /// What making it ready costs, in bytes to be looked at.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.translated.len() + self.unicode_classes * UNICODE_CLASS_WEIGHT
    }

    /// Makes it ready to match. None for one that would take too much room.
    #[must_use]
    pub fn compile(&self) -> Option<Regex> {
        self.compile_within(COMPILED_BYTES_MAX)
    }

    /// Makes it ready to match if that is cheap.
    #[must_use]
    pub fn compile_small(&self) -> Option<Regex> {
        self.compile_within(SMALL_BYTES_MAX)
    }

    fn compile_within(&self, bytes_max: usize) -> Option<Regex> {
        if self.translated.len() > SOURCE_BYTES_MAX || self.unicode_classes > UNICODE_CLASSES_MAX {
            return None;
        }
        let mut builder = RegexBuilder::new(&self.translated);
        builder.size_limit(bytes_max).dfa_size_limit(bytes_max);
        builder.build().ok()
    }
}

/// What stands last in a sequence: what a repetition would repeat.
#[derive(Clone, Copy)]
struct Last {
    /// The product of the repetitions in it.
    repeats: u32,
}

/// A group that is open, the whole pattern at the bottom.
#[derive(Clone, Copy, Default)]
struct Group {
    last: Option<Last>,
    /// The most that anything in it is repeated.
    repeats: u32,
}

struct Parser<'p> {
    whole: &'p str,
    rest: &'p str,
    out: String,
    groups: Vec<Group>,
    /// How many classes of Unicode there were.
    unicode_classes: usize,
    /// Where the last `:]` of the pattern begins, so that nobody looks through all of it for each `[:`.
    last_posix_end: Option<usize>,
}

type Parsed<T> = Result<T, PatternError>;

fn error<T>(code: &'static str, expression: &str) -> Parsed<T> {
    Err(PatternError { code, expression: expression.to_owned() })
}

/// What was taken from a text to leave this rest.
fn taken<'s>(before: &'s str, after: &str) -> &'s str {
    before.get(..before.len().saturating_sub(after.len())).unwrap_or_default()
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Parsed<()> {
        self.groups.push(Group::default());
        // What the operator before this place took up to the end, if the step before was one.
        let mut last_repeat: Option<&'p str> = None;
        while let Some(first) = self.rest.chars().next() {
            let here = self.rest;
            let mut repeat = None;
            match first {
                '(' => self.open_group()?,
                '|' => self.alternative(),
                ')' => self.close_group()?,
                '^' | '$' | '.' => {
                    self.skip(1);
                    self.out.push(first);
                    self.push_last(1);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.skip(1);
                    self.out.push(first);
                    self.repeat(here, last_repeat, None)?;
                    repeat = Some(here);
                }
                '{' => match counts(here) {
                    None => self.literal(first),
                    Some((least, most, after)) => {
                        self.rest = after;
                        let is_backwards = most.is_some_and(|most| least > most);
                        if least > REPEAT_MAX || most.is_some_and(|most| most > REPEAT_MAX) || is_backwards {
                            return error("invalid repeat count", taken(here, after));
                        }
                        self.out.push_str(taken(here, after));
                        self.repeat(here, last_repeat, Some((least, most)))?;
                        repeat = Some(here);
                    }
                },
                '\\' => self.escape()?,
                _ => self.literal(first),
            }
            last_repeat = repeat;
        }
        if self.groups.len() != 1 { error("missing closing )", self.whole) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn group(&mut self) -> Option<&mut Group> {
        self.groups.last_mut()
    }

    fn push_last(&mut self, repeats: u32) {
        if let Some(group) = self.group() {
            group.repeats = group.repeats.max(repeats);
            group.last = Some(Last { repeats });
        }
    }

    fn literal(&mut self, c: char) {
        self.skip(c.len_utf8());
        push_literal(&mut self.out, c);
        self.push_last(1);
    }

    /// Takes a `?` behind an operator, and checks what is repeated.
    fn repeat(&mut self, before: &str, last_repeat: Option<&str>, counts: Option<(u32, Option<u32>)>) -> Parsed<()> {
        if self.rest.starts_with('?') {
            self.skip(1);
            self.out.push('?');
        }
        if let Some(last) = last_repeat {
            return error("invalid nested repetition operator", taken(last, self.rest));
        }
        let rest = self.rest;
        let Some(last) = self.group().and_then(|group| group.last) else {
            return error("missing argument to repetition operator", taken(before, rest));
        };
        let repeats = match counts {
            None => last.repeats,
            Some((_, Some(0))) => 0,
            Some((least, most)) => most.unwrap_or(least).max(1).saturating_mul(last.repeats),
        };
        let counted = counts.is_some_and(|(least, most)| least >= 2 || most.is_some_and(|most| most >= 2));
        if counted && repeats > REPEAT_MAX {
            return error("invalid repeat count", taken(before, rest));
        }
        self.push_last(repeats);
        Ok(())
    }

    fn push_group(&mut self) -> Parsed<()> {
        if self.groups.len() > NESTING_MAX {
            return error("expression nests too deeply", self.whole);
        }
        self.groups.push(Group::default());
        Ok(())
    }

    fn alternative(&mut self) {
        self.skip(1);
        self.out.push('|');
        if let Some(group) = self.group() {
            group.last = None;
        }
    }

    fn close_group(&mut self) -> Parsed<()> {
        if self.groups.len() < 2 {
            return error("unexpected )", self.whole);
        }
        let closed = self.groups.pop().unwrap_or_default();
        self.skip(1);
        self.out.push(')');
        self.push_last(closed.repeats.max(1));
        Ok(())
    }

    fn open_group(&mut self) -> Parsed<()> {
        if !self.rest.starts_with("(?") {
            self.skip(1);
            self.out.push_str("(?:");
            return self.push_group();
        }
        if self.rest.starts_with("(?P<") && self.rest.len() > 4 || self.rest.starts_with("(?<") && self.rest.len() > 3 {
            return self.named_group();
        }
        let here = self.rest;
        self.skip(2);
        let (mut is_negative, mut saw_flag) = (false, false);
        while let Some(c) = self.rest.chars().next() {
            self.skip(c.len_utf8());
            match c {
                'i' | 'm' | 's' | 'U' => saw_flag = true,
                '-' if !is_negative => (is_negative, saw_flag) = (true, false),
                ':' | ')' if !is_negative || saw_flag => {
                    let written = taken(here, self.rest);
                    // `(?)` says nothing, and the crate does not take it.
                    if written != "(?)" {
                        self.out.push_str(written);
                    }
                    return if c == ':' { self.push_group() } else { Ok(()) };
                }
                _ => break,
            }
        }
        error("invalid or unsupported Perl syntax", taken(here, self.rest))
    }

    fn named_group(&mut self) -> Parsed<()> {
        let here = self.rest;
        let Some((head, after)) = here.split_once('>') else {
            return error("invalid named capture", here);
        };
        let name = head.split_once('<').map_or("", |(_, name)| name);
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
            return error("invalid named capture", taken(here, after));
        }
        self.rest = after;
        self.out.push_str("(?:");
        self.push_group()
    }

    /// A backslash outside of a class.
    fn escape(&mut self) -> Parsed<()> {
        let here = self.rest;
        match here.chars().nth(1) {
            Some(c @ ('A' | 'z' | 'b' | 'B')) => {
                self.skip(2);
                match c {
                    'b' => self.out.push_str(r"(?-u:\b)"),
                    c => self.out.extend(['\\', c]),
                }
            }
            Some('C') => return error("invalid escape sequence", r"\C"),
            Some('Q') => {
                self.skip(2);
                let (quoted, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = after;
                quoted.chars().for_each(|c| push_literal(&mut self.out, c));
                if quoted.is_empty() {
                    return Ok(());
                }
            }
            Some('p' | 'P') => {
                let class = self.unicode_class()?;
                self.out.push_str(&class);
            }
            Some(c) if perl_class(c).is_some() => {
                self.skip(2);
                self.out.push_str(perl_class(c).unwrap_or_default());
            }
            _ => {
                let c = self.escaped_char()?;
                push_literal(&mut self.out, c);
            }
        }
        self.push_last(1);
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\P{^Lu}`.
    fn unicode_class(&mut self) -> Parsed<String> {
        let here = self.rest;
        let is_negated = here.starts_with(r"\P");
        self.skip(2);
        let name = if self.rest.starts_with('{') {
            let Some((name, after)) = self.rest.split_once('}') else {
                return error("invalid character class range", here);
            };
            self.rest = after;
            name.get(1..).unwrap_or_default()
        } else {
            let len = self.rest.chars().next().map_or(0, char::len_utf8);
            let name = self.rest.get(..len).unwrap_or_default();
            self.skip(len);
            name
        };
        let (name, is_negated) = name.strip_prefix('^').map_or((name, is_negated), |name| (name, !is_negated));
        if !unicode_classes::is_class(name) {
            return error("invalid character class range", taken(here, self.rest));
        }
        self.unicode_classes += 1;
        let class = format!(r"\{}{{{name}}}", if is_negated { 'P' } else { 'p' });
        Ok(class)
    }

    /// A character behind a backslash.
    fn escaped_char(&mut self) -> Parsed<char> {
        let here = self.rest;
        self.skip(1);
        let Some(c) = self.rest.chars().next() else {
            return error("trailing backslash at end of expression", "");
        };
        self.skip(c.len_utf8());
        let is_octal = |text: &str| text.starts_with(|c: char| ('0'..='7').contains(&c));
        let found = match c {
            '0' => Some(self.octal(0)),
            '1'..='7' if is_octal(self.rest) => Some(self.octal(c.to_digit(8).unwrap_or_default())),
            'x' => self.hexadecimal(),
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
            _ => None,
        };
        match found {
            Some(c) => Ok(c),
            None => error("invalid escape sequence", taken(here, self.rest)),
        }
    }

    /// Up to two more octal digits.
    fn octal(&mut self, mut value: u32) -> char {
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
            value = value * 8 + digit;
            self.skip(1);
        }
        char::from_u32(value).unwrap_or_default()
    }

    /// `7f` or `{10FFFF}`.
    fn hexadecimal(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        self.skip(first.len_utf8());
        if first != '{' {
            let second = self.rest.chars().next()?;
            self.skip(second.len_utf8());
            return char::from_u32(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let (mut value, mut digits) = (0u32, 0usize);
        loop {
            let c = self.rest.chars().next()?;
            self.skip(c.len_utf8());
            if c == '}' {
                break;
            }
            value = value.checked_mul(16)?.checked_add(c.to_digit(16)?)?;
            if value > u32::from(char::MAX) {
                return None;
            }
            digits += 1;
        }
        // Halves of pairs are code points to Go and match nothing in a valid text.
        (digits > 0).then(|| char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// `[...]`.
    fn class(&mut self) -> Parsed<()> {
        let here = self.rest;
        self.skip(1);
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.skip(1);
            self.out.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            let inside = self.whole.len() - self.rest.len() + 2;
            if self.rest.starts_with("[:") && self.last_posix_end.is_some_and(|end| end >= inside) {
                self.posix_class()?;
                continue;
            }
            let mut next = self.rest.chars();
            match (next.next(), next.next()) {
                (Some('\\'), Some('p' | 'P')) => {
                    let class = self.unicode_class()?;
                    self.out.push_str(&class);
                }
                (Some('\\'), Some(c)) if perl_class(c).is_some() => {
                    self.skip(2);
                    self.out.push_str(perl_class(c).unwrap_or_default());
                }
                _ => self.class_range(here)?,
            }
        }
        self.skip(1);
        self.out.push(']');
        self.push_last(1);
        Ok(())
    }

    fn class_range(&mut self, class: &str) -> Parsed<()> {
        let range = self.rest;
        let low = self.class_char(class)?;
        push_in_class(&mut self.out, low);
        let mut next = self.rest.chars();
        if next.next() != Some('-') || matches!(next.next(), None | Some(']')) {
            return Ok(());
        }
        self.skip(1);
        let high = self.class_char(class)?;
        if high < low {
            return error("invalid character class range", taken(range, self.rest));
        }
        self.out.push('-');
        push_in_class(&mut self.out, high);
        Ok(())
    }

    fn class_char(&mut self, class: &str) -> Parsed<char> {
        match self.rest.chars().next() {
            None => error("missing closing ]", class),
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(c)
            }
        }
    }

    /// `[:alpha:]`, `[:^digit:]`.
    fn posix_class(&mut self) -> Parsed<()> {
        let len = self.rest.get(2..).and_then(|rest| rest.find(":]")).map_or(self.rest.len(), |at| at + 4);
        let written = self.rest.get(..len).unwrap_or_default();
        let name = written.trim_start_matches("[:").trim_start_matches('^').trim_end_matches(":]");
        const NAMES: &[&str] = &[
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        if !NAMES.contains(&name) {
            return error("invalid character class range", written);
        }
        self.skip(len);
        self.out.push_str(written);
        Ok(())
    }
}

/// What Perl's classes are to Go: of ASCII alone.
fn perl_class(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// The counts of `{2}`, `{2,}` or `{2,5}`, and what follows. Anything else in braces is a text.
fn counts<'p>(text: &'p str) -> Option<(u32, Option<u32>, &'p str)> {
    // Too large a number is a count all the same, and refused as such.
    let number = |text: &'p str| -> Option<(u32, &'p str)> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = text.split_at_checked(digits)?;
        let is_plain = digits.len() == 1 || !digits.is_empty() && !digits.starts_with('0');
        is_plain.then(|| (digits.parse().unwrap_or(u32::MAX), after))
    };
    let (least, rest) = number(text.strip_prefix('{')?)?;
    if let Some(after) = rest.strip_prefix('}') {
        return Some((least, Some(least), after));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(after) = rest.strip_prefix('}') {
        return Some((least, None, after));
    }
    let (most, rest) = number(rest)?;
    Some((least, Some(most), rest.strip_prefix('}')?))
}

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation()
        && !matches!(c, '<' | '>' | '_' | '\'' | '"' | '`' | ',' | ';' | ':' | '/' | '=' | '!' | '@' | '%')
    {
        out.push('\\');
    }
    out.push(c);
}

fn push_in_class(out: &mut String, c: char) {
    if matches!(c, '[' | ']' | '\\' | '^' | '-' | '&' | '~') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        let check = |pattern: &str, expected: &str| {
            let found = Pattern::parse(pattern).err().map(|error| error.to_string());
            assert_eq!(found, Some(format!("error parsing regexp: {expected}")), "{pattern}");
        };
        check("(", "missing closing ): `(`");
        check("a(b", "missing closing ): `a(b`");
        check("a)b", "unexpected ): `a)b`");
        check("*a", "missing argument to repetition operator: `*`");
        check("a|*", "missing argument to repetition operator: `*`");
        check("(+?)", "missing argument to repetition operator: `+?`");
        check("a**", "invalid nested repetition operator: `**`");
        check("a*?+b", "invalid nested repetition operator: `*?+`");
        check("a{1001}", "invalid repeat count: `{1001}`");
        check("a{3,2}", "invalid repeat count: `{3,2}`");
        check("((a{100}){10}){2}", "invalid repeat count: `{2}`");
        check("[a", "missing closing ]: `[a`");
        check("[]a", "missing closing ]: `[]a`");
        check("[z-a]", "invalid character class range: `z-a`");
        check("[[:harbor:]]", "invalid character class range: `[:harbor:]`");
        check(r"\p{Harbor}", r"invalid character class range: `\p{Harbor}`");
        check(r"a\", "trailing backslash at end of expression: ``");
        check(r"\1", r"invalid escape sequence: `\1`");
        check(r"\y", r"invalid escape sequence: `\y`");
        check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check("(?<=a)", "invalid named capture: `(?<=a)`");
        check("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`");
        check(&"(".repeat(2_000), &format!("expression nests too deeply: `{}`", "(".repeat(2_000)));
    }

    /// Each of these once took a look through the whole rest for each of its characters, or a table for each of its classes.
    #[test]
    fn long_patterns_are_read_once() {
        const TIMES: usize = 1 << 20;
        let check = |piece: &str, head: &str, expected: Option<&str>| {
            let pattern = format!("{head}{}", piece.repeat(TIMES));
            let found = Pattern::parse(&pattern);
            assert_eq!(found.as_ref().err().map(|error| error.code), expected, "{piece}");
            assert!(found.is_err() || found.unwrap().compile().is_none(), "{piece}");
        };
        check("{", "", None);
        check("{1", "", None);
        check("{1,", "", None);
        check("[:", "[", Some("missing closing ]"));
        check(r"\pL", "", None);
        check(r"\p{Greek}", "", None);
        check(r"\Q", "", None);
        check("(", "", Some("expression nests too deeply"));
        check("(?P<", "", Some("invalid named capture"));
    }

    #[test]
    fn what_would_take_much_to_make_ready_is_not_made() {
        let check = |pattern: String, expected: bool| {
            let compiled = Pattern::parse(&pattern).unwrap().compile();
            assert_eq!(compiled.is_some(), expected, "{pattern:.40}");
        };
        check("a".repeat(SOURCE_BYTES_MAX), true);
        check("a".repeat(SOURCE_BYTES_MAX + 1), false);
        check(format!("(?i){}", r"\PL".repeat(UNICODE_CLASSES_MAX + 1)), false);
        check("(?i)(a{10}){100}".to_owned(), true);
        check(r"(?i)(\PL{10}){100}".to_owned(), false);
    }

    #[test]
    fn what_matches_in_go_matches() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let compiled = Pattern::parse(pattern).unwrap().compile();
            assert_eq!(compiled.map(|regex| regex.is_match(text)), Some(expected), "{pattern} {text}");
        };
        check("^[A-Z]{2}$", "PT", true);
        check("^[A-Z]{2}$", "PTX", false);
        check("^[a-z&&b]$", "&", true);
        check(r"^[\w\s:/.\\-]+$", "a b:\\-", true);
        check(r"^\d$", "\u{663}", false);
        check(r"^\pL$", "\u{e9}", true);
        check("^(?i)(abort|warn)?$", "WARN", true);
        check("^(?P<a>b)(?<c>d)$", "bd", true);
        check("a{,2}", "a{,2}", true);
        check("{", "{", true);
        check(r"\Qa.b\E+", "a.bb", true);
        check(r"\Qa.b\E", "axb", false);
        check(r"^\x41\x{42}\103$", "ABC", true);
        check("^[[:alpha:]-]+$", "a-b", true);
        check("^.{2,}|[^./]$", "a", true);
        check(r"^(0|(([0-9]+)h)?(([0-9]+)m)?)$", "10h5m", true);
        check("^[]a]$", "]", true);
        check("^[0-9a-zA-Z-.]+$", "a-b.c", true);
    }
}
