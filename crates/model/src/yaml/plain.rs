//! JSON that is YAML and means the same as both. Programs send JSON where YAML is asked for, and reading it as YAML takes ten times as
//! long: so what is certain to come out as it went in goes another way. Everything in doubt is left to the YAML reader.

/// Longest text that goes this way.
const LEN_MAX: usize = 1 << 20;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Bytes of a key. YAML has no keys longer than 1,024.
const KEY_LEN_MAX: usize = 128;
/// Digits of a whole number.
const DIGITS_MAX: usize = 15;

/// The JSON that a text is turned into: without spaces, keys sorted. None where YAML may see anything else in it, or a complaint is due.
pub(super) fn json(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > LEN_MAX || text.first() != Some(&b'{') {
        return None;
    }
    let out = Vec::with_capacity(text.len());
    let mut reader = Reader { text, at: 0, out, open: Vec::new(), members: Vec::new() };
    reader.value()?;
    while let Some(frame) = reader.open.last().copied() {
        reader.skip_spaces();
        let end = if frame.is_object { b'}' } else { b']' };
        if reader.peek() == Some(end) {
            reader.close(end)?;
            continue;
        }
        reader.begin_next(frame)?;
        if frame.is_object {
            reader.key()?;
        }
        reader.value()?;
    }
    // A file ends with its line.
    matches!(text.get(reader.at..), Some([] | [b'\n'])).then_some(reader.out)
}

/// A list or object whose end has not been read. Offsets are those of what is written.
#[derive(Clone, Copy)]
struct Frame {
    is_object: bool,
    /// Something was read: a comma comes before what is next.
    has_more: bool,
    /// Behind its brace.
    start: usize,
    /// Its first member among those of all open objects.
    first: usize,
    /// Whether its keys came in order.
    is_sorted: bool,
}

/// A member of an object, by offsets of what is written: its key without quotes, which begins behind the quote that it begins with.
#[derive(Clone, Copy)]
struct Member {
    key: usize,
    key_end: usize,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    open: Vec<Frame>,
    members: Vec<Member>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| {
            self.at += 1;
            self.out.push(byte);
        })
    }

    /// Steps to the next element or member of the innermost container.
    fn begin_next(&mut self, frame: Frame) -> Option<()> {
        if frame.has_more {
            self.take(b',')?;
            self.skip_spaces();
        }
        self.open.last_mut()?.has_more = true;
        Some(())
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Option<()> {
        let key = self.out.len() + 1;
        self.string()?;
        let key_end = self.out.len() - 1;
        self.take(b':')?;
        self.skip_spaces();
        if key_end - key > KEY_LEN_MAX {
            return None;
        }
        let frame = self.open.last_mut()?;
        if let Some(before) = self.members.get(frame.first..)?.last() {
            frame.is_sorted &= self.out.get(before.key..before.key_end)? < self.out.get(key..key_end)?;
        }
        self.members.push(Member { key, key_end });
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            open @ (b'{' | b'[') => {
                self.take(open)?;
                let (start, first) = (self.out.len(), self.members.len());
                let is_object = open == b'{';
                self.open.push(Frame { is_object, has_more: false, start, first, is_sorted: true });
                (self.open.len() <= DEPTH_MAX).then_some(())
            }
            b'-' | b'0'..=b'9' => self.whole_number(),
            _ => [&b"null"[..], b"true", b"false"].into_iter().find_map(|word| self.word(word)),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            self.out.extend_from_slice(word);
        })
    }

    /// Reads a whole number as every program writes it. What follows it is looked at by who reads on.
    fn whole_number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let unsigned = rest.strip_prefix(b"-").unwrap_or(rest);
        let digits = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_plain = match unsigned.first()? {
            b'0' => digits == 1 && unsigned.len() == rest.len(),
            _ => (1..=DIGITS_MAX).contains(&digits),
        };
        let number = rest.get(..rest.len() - unsigned.len() + digits).filter(|_| is_plain)?;
        self.out.extend_from_slice(number);
        self.at += number.len();
        Some(())
    }

    /// Reads a string of printable ASCII in which nothing is escaped in more than one way.
    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        let rest = self.text.get(self.at..)?;
        let mut bytes = rest.iter().enumerate();
        let len = loop {
            match bytes.next()? {
                (len, b'"') => break len,
                (_, b'\\') => _ = bytes.next().filter(|(_, byte)| matches!(byte, b'"' | b'\\' | b'n' | b'r' | b't'))?,
                (_, b'<' | b'>' | b'&') => return None,
                (_, b' '..=b'~') => {}
                _ => return None,
            }
        };
        self.out.extend_from_slice(rest.get(..=len)?);
        self.at += len + 1;
        Some(())
    }

    /// Ends the innermost container, and brings the members of an object in order.
    fn close(&mut self, end: u8) -> Option<()> {
        self.take(end)?;
        let frame = self.open.pop()?;
        if !frame.is_sorted {
            self.sort(frame)?;
        }
        self.members.truncate(frame.first);
        Some(())
    }

    fn sort(&mut self, frame: Frame) -> Option<()> {
        let members = self.members.get(frame.first..)?;
        let ends = members.iter().skip(1).map(|next| next.key - 2).chain([self.out.len() - 1]);
        let with_ends = members.iter().zip(ends);
        let mut sorted: Vec<(&[u8], &[u8])> = with_ends
            .map(|(member, end)| Some((self.out.get(member.key..member.key_end)?, self.out.get(member.key - 1..end)?)))
            .collect::<Option<_>>()?;
        sorted.sort_unstable();
        // Which of two counts, and what is said of it, the YAML reader knows.
        if sorted.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return None;
        }
        let members: Vec<&[u8]> = sorted.into_iter().map(|(_, member)| member).collect();
        let written = members.join(&b',');
        self.out.get_mut(frame.start..frame.start + written.len())?.copy_from_slice(&written);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Converted, node, read};
    use super::*;

    fn as_yaml(text: &str) -> Converted {
        read::to_json(&node::compose(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn what_goes_this_way_comes_out_as_through_yaml() {
        let check = |text: &str| {
            let found = json(text.as_bytes()).map(|json| String::from_utf8(json).unwrap());
            let expected = as_yaml(text);
            assert_eq!(found.as_deref(), Some(std::str::from_utf8(&expected.json).unwrap()), "{text}");
            assert_eq!(expected.duplicates, None, "{text}");
        };
        check("{}");
        check("{}\n");
        check(r#"{"a":1,"b":[],"c":{},"d":[{},[]]}"#);
        check(r#"{ "b": [1, -2, 0], "a": {"d": null, "c": true, "e": false } }"#);
        check(r#"{"kind":"Pod","apiVersion":"v1","spec":{"z":{"y":1,"x":2},"a":[{"k":1,"j":2},"s"]}}"#);
        check(r#"{"b":{"b":{"b":1,"a":2},"a":3},"aa":4,"a":5,"ab":6}"#);
        check(
            r#"{"a":"x: y # z","b":"'","c":"- a","d":"\"q\" \\ \n\r\t","e":"~","f":"yes","g":"012","h":" s ","i":""}"#,
        );
        check(r#"{"yes":"no","1":"2","~":"x","=":"=","f:name":{"k:{\"a\":1}":{}},"!t":"%","@":"`","-":"?"}"#);
        check(r#"{"n":123456789012345,"m":-123456789012345}"#);
        check(&format!("{}1{}", r#"{"a":"#.repeat(64), "}".repeat(64)));
        check(&format!(r#"{{"{}":1}}"#, "k".repeat(KEY_LEN_MAX)));
    }

    #[test]
    fn what_is_in_doubt_does_not() {
        let check = |text: &str| assert_eq!(json(text.as_bytes()), None, "{text}");
        for text in ["", "[]", "1", "a: b", " {}", "{}\n\n", "{} ", "{\n}", "{\t}", "{}{}", "{", "{]", "[}", r#"{"a"}"#]
        {
            check(text);
        }
        // Keys that come twice are complained of, in any order.
        check(r#"{"a":1,"a":2}"#);
        check(r#"{"a":1,"b":2,"a":3}"#);
        check(r#"{"x":{"b":1,"a":2,"b":3}}"#);
        for value in
            ["1.0", "1e3", "-0", "01", "1234567890123456", "-", "+1", "nul", "nullx", "True", "1,", "", "a", "'a'"]
        {
            check(&format!(r#"{{"a":{value}}}"#));
        }
        for string in [r"\/", r"\u0041", r"\x41", "ä", "\u{7f}", "\t", "<", ">", "&", r"\b"] {
            check(&format!(r#"{{"a":"{string}"}}"#));
            check(&format!(r#"{{"{string}":"a"}}"#));
        }
        for text in [r#"{"a":1,}"#, r#"{"a":[1,]}"#, r#"{"a" :1}"#, r#"{a:1}"#, r#"{"a":"b"#, r#"{"a":"\"#, r#"{,}"#] {
            check(text);
        }
        check(&format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65)));
        check(&format!(r#"{{"{}":1}}"#, "k".repeat(KEY_LEN_MAX + 1)));
    }
}
