//! Indented JSON for people: `?pretty`, curl and browsers. Two spaces a level, as Go's `json.Indent`.

/// Levels that are indented; deeper ones stay at this depth, or free JSON of 10,000 levels would grow to gigabytes.
const INDENTED_LEVELS_MAX: usize = 100;

/// Indents compact JSON and ends it with nothing, as upstream. What is not JSON comes out as it came, only longer.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if matches!(bytes.peek(), Some(b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    break_line(depth, &mut out);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                break_line(depth, &mut out);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                break_line(depth, &mut out);
            }
            b':' => out.extend_from_slice(b": "),
            byte => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
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
        };
        check("{}", "{}");
        check(r#"{"a":[],"b":{}}"#, "{\n  \"a\": [],\n  \"b\": {}\n}");
        check(r#"{"a":[1,{"b":"x,\":{"}]}"#, "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,\\\":{\"\n    }\n  ]\n}");
        check(r#"["\\",1]"#, "[\n  \"\\\\\",\n  1\n]");
    }
}
