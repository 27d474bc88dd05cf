//! Percent-decoding and query strings as Go's `net/url` reads them, because clients are written against that.

use std::borrow::Cow;

/// A query string, read on demand; nothing is allocated for a parameter without escapes.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Wraps the text after `?` (empty when there is none).
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the text.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Returns the first value of `name`. A pair with a bad escape or a `;` does not exist, as in Go.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }

    /// Returns all values of `name`, in order. Values of other names are not decoded.
    pub fn all(self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        self.raw_pairs().filter(move |(key, _)| is_name(key, name)).filter_map(|(_, value)| decode_component(value))
    }

    /// Returns every pair, in order.
    pub fn pairs(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.raw_pairs().filter_map(|(key, value)| Some((decode_component(key)?, decode_component(value)?)))
    }

    /// The pairs as they were sent.
    fn raw_pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

/// Says whether a key as it was sent stands for a name that has no character to be escaped. Only a longer one needs decoding.
fn is_name(key: &str, name: &str) -> bool {
    debug_assert!(!name.bytes().any(|byte| matches!(byte, b'%' | b'+' | b';' | b' ')));
    key == name || key.len() > name.len() && decode_component(key).is_some_and(|key| key == name)
}

/// Decodes a query component: escapes, and `+` as a space. `None` for a bad escape or a `;`; bytes that are not UTF-8 become
/// U+FFFD.
fn decode_component(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+' | b';')) {
        return Some(Cow::Borrowed(text));
    }
    if text.contains(';') {
        return None;
    }
    let decoded = percent_decode(&text.replace('+', " "))?;
    Some(Cow::Owned(
        String::from_utf8(decoded).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()),
    ))
}

/// Decodes percent escapes exactly once; `None` when a `%` is not followed by two hexadecimal digits.
pub(crate) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = hex_digit(bytes.next()?)?;
            let low = hex_digit(bytes.next()?)?;
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_as_go_does() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let pairs: Vec<_> = Query::new(query).pairs().collect();
            let expected: Vec<_> = expected.iter().map(|(k, v)| (Cow::from(*k), Cow::from(*v))).collect();
            assert_eq!(pairs, expected, "{query}");
        };
        check("", &[]);
        check("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check("watch", &[("watch", "")]);
        check("&&a==b&", &[("a", "=b")]);
        check("a=x%3Dy+z", &[("a", "x=y z")]);
        check("a=%zz&b=1", &[("b", "1")]);
        check("a=%2&b=1", &[("b", "1")]);
        check("a=1;b=2&c=3", &[("c", "3")]);
        check("a;b&c;=1&d=%3B", &[("d", ";")]);
        check("%61=%2525", &[("a", "%25")]);
        check("a=%ff", &[("a", "\u{fffd}")]);
    }

    #[test]
    fn finds_first_and_all() {
        let query = Query::new("a=1&b=2&a=3");
        assert_eq!(query.get("a").as_deref(), Some("1"));
        assert_eq!(query.get("c"), None);
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "3"]);
        // A pair that does not exist is not the first.
        assert_eq!(Query::new("a=%zz&a=1;&%61=x+y").get("a").as_deref(), Some("x y"));
        // A key is compared as it reads, not as it was sent.
        assert_eq!(Query::new("aa=0&%61=1&a=2&a%62=3").all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(Query::new("ab;=0&a;b=1&a%3Bb=2&%61b=3&a%2=4").all("ab").collect::<Vec<_>>(), ["3"]);
    }
}
