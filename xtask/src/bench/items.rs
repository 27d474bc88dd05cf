//! Counts the items of a list without decoding them, so that an answer of 145 MB is checked in a fraction of a second.

/// What a protobuf answer begins with; a message `Unknown` follows.
const MAGIC: &[u8] = b"k8s\0";
/// The field of `Unknown` that holds the object.
const RAW: u64 = 2;
/// The field of a list that holds its items.
const ITEMS: u64 = 2;

/// Values in the array `items` of the outermost object; `None` when there is no such array or the JSON does not end.
pub fn json_items(json: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"items\":[";
    let (mut depth, mut items, mut counted) = (0_u32, None, false);
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => {
                if depth == 1 && json.get(at..)?.starts_with(NAME) {
                    (items, at) = (Some(0_u64), at + NAME.len() - 1);
                    continue;
                }
                at = end_of_string(json, at)?;
            }
            b'{' | b'[' => {
                depth += 1;
                // The items are the objects in the array in the outermost object.
                if depth == 3 && !counted && byte == b'{' {
                    items = items.map(|count| count + 1);
                }
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                counted |= items.is_some() && depth == 1;
            }
            _ => {}
        }
        at += 1;
    }
    if depth == 0 { items } else { None }
}

/// The closing quote of the string that begins at `from`.
fn end_of_string(json: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// Items of a protobuf list in its envelope; `None` when it is not whole.
pub fn protobuf_items(content: &[u8]) -> Option<u64> {
    let mut unknown = Fields(content.strip_prefix(MAGIC)?);
    let mut list = None;
    while let Some((number, value)) = unknown.next()? {
        if number == RAW {
            list = Some(value);
        }
    }
    let (mut list, mut items) = (Fields(list?), 0);
    while let Some((number, _)) = list.next()? {
        items += u64::from(number == ITEMS);
    }
    Some(items)
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The number and the content of the next field, which must be one with a length; `Some(None)` at the end.
    fn next(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        const WITH_LENGTH: u64 = 2;
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        if key & 7 != WITH_LENGTH {
            return None;
        }
        let len = usize::try_from(self.varint()?).ok()?;
        let (value, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_json_are_counted() {
        let check = |json: &str, expected: Option<u64>| assert_eq!(json_items(json.as_bytes()), expected, "{json}");
        check(r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}"#, Some(0));
        check(r#"{"metadata":{},"items":[{"a":[{"b":{}},{}]},{"items":[{},{}]},{}]}"#, Some(3));
        check(r#"{"items":[{"a":"}]\"{"},{"a":"\\"}],"after":{"b":{"c":[{}]}}}"#, Some(2));
        check(r#"{"before":{"items":[{}]},"items":[{}]}"#, Some(1));
        check(r#"{"items":[{"a":1},{"a""#, None);
        check(r#"{"items":[{"a":"#, None);
        check(r#"{"kind":"Status"}"#, None);
        check("", None);
    }

    #[test]
    fn items_of_protobuf_are_counted() {
        let check = |rest: &[u8], expected: Option<u64>| {
            assert_eq!(protobuf_items(&[MAGIC, rest].concat()), expected, "{rest:?}");
        };
        check(&[0x0a, 1, b'v', 0x12, 0], Some(0));
        check(&[0x0a, 1, b'v', 0x12, 6, 0x0a, 0, 0x12, 0, 0x12, 0], Some(2));
        check(&[0x12, 5, 0x12, 1, 0x12, 0x12, 0, 0x1a, 0, 0x22, 0], Some(2));
        check(&[0x12, 5, 0x12, 0], None);
        check(&[0x0a, 0], None);
        check(&[0x12, 0x80], None);
        assert_eq!(protobuf_items(b"{}"), None);
    }
}
