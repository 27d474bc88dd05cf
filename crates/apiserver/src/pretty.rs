//! Indented JSON for people: `?pretty`, curl and browsers. Two spaces a level, as Go's `json.Indent`.

/// Levels that are indented; deeper ones stay at this depth, or free JSON of 10,000 levels would grow to gigabytes.
const INDENTED_LEVELS_MAX: usize = 100;

/// Indents compact JSON and ends it with nothing, as upstream. What is not JSON comes out as it came, only longer.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    Indenter::default().push(json, &mut out);
    out
}

/// Indents JSON that comes in parts, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Indenter {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// The last byte opened an object or a list, which may be empty.
    has_opened: bool,
}

impl Indenter {
    /// Appends the next part.
    pub(crate) fn push(&mut self, json: &[u8], out: &mut Vec<u8>) {
        for byte in json.iter().copied() {
            if self.in_string {
                self.in_string = self.is_escaped || byte != b'"';
                self.is_escaped = !self.is_escaped && byte == b'\\';
                out.push(byte);
                continue;
            }
            if std::mem::take(&mut self.has_opened) {
                if matches!(byte, b'}' | b']') {
                    out.push(byte);
                    continue;
                }
                self.depth += 1;
                break_line(self.depth, out);
            }
            self.push_token(byte, out);
        }
    }

    fn push_token(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                self.has_opened = true;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                break_line(self.depth, out);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                break_line(self.depth, out);
            }
            b':' => out.extend_from_slice(b": "),
            byte => {
                self.in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
}

fn break_line(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b"  ", depth.min(INDENTED_LEVELS_MAX)).flatten());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn indentation() {
        let check = |json: &str, expected: &str| {
            assert_eq!(String::from_utf8(indent(json.as_bytes())).unwrap(), expected, "{json}");
            let (mut indenter, mut out) = (Indenter::default(), Vec::new());
            json.as_bytes().chunks(1).for_each(|part| indenter.push(part, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{json} in parts");
        };
        check("{}", "{}");
        check(r#"{"a":[],"b":{}}"#, "{\n  \"a\": [],\n  \"b\": {}\n}");
        check(r#"{"a":[1,{"b":"x,\":{"}]}"#, "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,\\\":{\"\n    }\n  ]\n}");
        check(r#"["\\",1]"#, "[\n  \"\\\\\",\n  1\n]");
    }
}
