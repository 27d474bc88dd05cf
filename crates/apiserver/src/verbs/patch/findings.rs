//! What in the text of a patch does not belong there: a name that an object has twice, and a member that no operation has.
//!
//! Upstream: `UnmarshalStrict` of `sigs.k8s.io/json` (KEP-2885) into a map or into the operations. What the patch makes of an object is
//! looked at when it is decoded; these findings come first.

use std::collections::HashSet;

use portcullis_model::schema::decode_json::FINDINGS_MAX;

use crate::scan::string_end;

/// Most times that a finding is put into words for one patch: equal ones are reported once, so that the list alone does not bound this.
const WORDINGS_MAX: usize = 1_000;
/// Most text that the findings of one patch come to, but for the last of them. Each has the whole path in it, which may be long.
const FINDINGS_BYTES_MAX: usize = 1 << 20;
/// The members of an operation of a JSON patch.
const OPERATION: [&str; 4] = ["from", "op", "path", "value"];
/// How deep the members of operations are: in an object in the list.
const OPERATION_DEPTH: usize = 2;

/// The findings in the text of a merge patch or of a strategic merge patch, which is JSON.
pub fn of_object(text: &[u8]) -> Vec<String> {
    Reader { checks_operations: false, ..Reader::default() }.read(text)
}

/// The findings in the text of a JSON patch, which is JSON.
pub fn of_operations(text: &[u8]) -> Vec<String> {
    let findings = Reader { checks_operations: true, ..Reader::default() }.read(text);
    findings.into_iter().map(|finding| format!("json patch {finding}")).collect()
}

/// An object or list that has begun.
struct Frame {
    /// The length of the path to it.
    path_len: usize,
    /// The names that an object had so far; a list has none.
    names: Option<HashSet<String>>,
    /// The elements that a list had so far.
    index: usize,
    /// A name comes next.
    wants_name: bool,
}

#[derive(Default)]
struct Reader {
    checks_operations: bool,
    stack: Vec<Frame>,
    path: String,
    /// How many frames there are around a value that nobody reads.
    unread_within: Option<usize>,
    findings: Vec<String>,
    met: HashSet<String>,
    wordings: usize,
    bytes: usize,
}

impl Reader {
    fn read(mut self, text: &[u8]) -> Vec<String> {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            at += 1;
            match byte {
                b'{' | b'[' => self.begin(byte == b'{'),
                b'}' | b']' => {
                    self.stack.pop();
                }
                b',' => self.next(),
                b'"' => {
                    let begin = at - 1;
                    let Some(end) = string_end(text, begin) else { break };
                    if self.stack.last().is_some_and(|frame| frame.wants_name) {
                        let name = text.get(begin..end).and_then(|name| serde_json::from_slice(name).ok());
                        self.name(name.unwrap_or_default());
                    }
                    at = end;
                }
                _ => {}
            }
        }
        self.findings
    }

    fn begin(&mut self, is_object: bool) {
        if let Some(Frame { names: None, index, path_len, .. }) = self.stack.last() {
            self.path.truncate(*path_len);
            self.path.push_str(&format!("[{index}]"));
        }
        let names = is_object.then(HashSet::new);
        self.stack.push(Frame { path_len: self.path.len(), names, index: 0, wants_name: is_object });
    }

    fn next(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.index += 1;
            frame.wants_name = frame.names.is_some();
        }
    }

    fn name(&mut self, name: String) {
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else { return };
        frame.wants_name = false;
        if self.unread_within.is_some_and(|within| depth > within) {
            return;
        }
        self.path.truncate(frame.path_len);
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&name);
        let is_unknown = self.checks_operations && depth == OPERATION_DEPTH && !OPERATION.contains(&name.as_str());
        self.unread_within = is_unknown.then_some(depth);
        let is_double = frame.names.as_mut().is_some_and(|names| !names.insert(name));
        let what = match (is_unknown, is_double) {
            (true, _) => "unknown",
            (false, true) => "duplicate",
            (false, false) => return,
        };
        if self.findings.len() >= FINDINGS_MAX || self.wordings >= WORDINGS_MAX || self.bytes >= FINDINGS_BYTES_MAX {
            return;
        }
        self.wordings += 1;
        let finding = format!("{what} field \"{}\"", self.path);
        if self.met.insert(finding.clone()) {
            self.bytes += finding.len();
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_of_objects() {
        let check = |text: &str, expected: &[&str]| assert_eq!(of_object(text.as_bytes()), expected, "{text}");
        check(r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}"#, &[]);
        check(
            r#"{"a":1,"a":2,"b":{"c":1,"c":2},"l":[{"x":1,"x":1},[{"y":1,"y":2}]],"a":3,"d.e":1,"d.e":2}"#,
            &[
                r#"duplicate field "a""#,
                r#"duplicate field "b.c""#,
                r#"duplicate field "l[0].x""#,
                r#"duplicate field "l[1][0].y""#,
                r#"duplicate field "d.e""#,
            ],
        );
        check(r#" { "\u0061" : "}\"," , "a" : 2 } "#, &[r#"duplicate field "a""#]);
        check(r#"{"a":["x","y",{"b":1,"b":1}]}"#, &[r#"duplicate field "a[2].b""#]);
        check("null", &[]);
        let many: Vec<String> = (0..300).map(|at| format!(r#""k{at}":1,"k{at}":1"#)).collect();
        assert_eq!(of_object(format!("{{{}}}", many.join(",")).as_bytes()).len(), FINDINGS_MAX);
    }

    #[test]
    fn long_paths_do_not_multiply() {
        let doubles: Vec<String> = (0..50).map(|at| format!(r#""k{at}":1,"k{at}":1"#)).collect();
        let check = |name_len: usize, expected: usize| {
            let text = format!(r#"{{"{}":{{{}}}}}"#, "n".repeat(name_len), doubles.join(","));
            assert_eq!(of_object(text.as_bytes()).len(), expected, "{name_len}");
        };
        check(1_000, 50);
        check(FINDINGS_BYTES_MAX / 4, 4);
        check(FINDINGS_BYTES_MAX, 1);
        let same = vec![r#""a":1"#; WORDINGS_MAX + 1].join(",");
        let text = format!(r#"{{{same},"b":1,"b":2}}"#);
        assert_eq!(of_object(text.as_bytes()), [r#"duplicate field "a""#]);
    }

    #[test]
    fn members_of_operations() {
        let check = |text: &str, expected: &[&str]| assert_eq!(of_operations(text.as_bytes()), expected, "{text}");
        check(r#"[{"op":"add","path":"/a","value":1},{"op":"copy","from":"/a","path":"/b"},null]"#, &[]);
        check(
            r#"[{"op":"add","foo":1,"foo":{"a":1,"a":2},"op":"x","value":{"b":1,"b":2}}]"#,
            &[
                r#"json patch unknown field "[0].foo""#,
                r#"json patch duplicate field "[0].op""#,
                r#"json patch duplicate field "[0].value.b""#,
            ],
        );
        check(r#"[{},{"OP":"x"}]"#, &[r#"json patch unknown field "[1].OP""#]);
    }
}
