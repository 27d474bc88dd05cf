//! What did not belong in a body, with the path to it: unknown and duplicate fields, and values of another type than the field's.
//!
//! A path is built only when there is something to say, and only so often: a body made of nothing but findings costs no more than others.

use super::*;

/// Most findings that are reported for one body, as upstream.
pub const FINDINGS_MAX: usize = 100;
/// Most times that a path is built for one body. Equal findings are reported once, so that the list alone does not bound this.
const PATHS_MAX: usize = 1_000;
/// Most text that the findings of one body come to.
const FINDINGS_BYTES_MAX: usize = 1 << 20;

/// The findings of one body, each once, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<String>,
    paths: usize,
    bytes: usize,
}

impl Findings {
    pub fn into_list(self) -> Vec<String> {
        self.list
    }

    /// Whether one more path may be built.
    fn begin(&mut self) -> bool {
        self.paths += 1;
        self.list.len() < FINDINGS_MAX && self.paths <= PATHS_MAX && self.bytes < FINDINGS_BYTES_MAX
    }

    fn add(&mut self, finding: String) {
        if !self.list.contains(&finding) {
            self.bytes += finding.len();
            self.list.push(finding);
        }
    }
}

impl Decoder<'_> {
    /// The field that is being read is not declared.
    #[cold]
    pub(super) fn report_unknown(&mut self, name: Text) {
        if self.begin() {
            let mut path = self.path(self.stack.len().saturating_sub(1));
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(self.resolve(name));
            self.add("unknown", &path);
        }
    }

    /// The field that is being read came before.
    #[cold]
    pub(super) fn report_duplicate(&mut self) {
        if self.begin() {
            let path = self.path(self.stack.len());
            self.add("duplicate", &path);
        }
    }

    /// This key of the innermost map came before.
    #[cold]
    pub(super) fn report_duplicate_key(&mut self, key: u32) {
        if let Some(top) = self.stack.last_mut() {
            top.current = key;
        }
        self.report_duplicate();
    }

    /// A union was begun: it is the newest node.
    pub(super) fn unwatch(&mut self) {
        if !self.is_unwatched() {
            self.unwatched = Some((self.stack.len(), self.tree.newest()));
        }
    }

    /// Whether what is being read is in a union.
    fn is_unwatched(&self) -> bool {
        let innermost = self.unwatched.and_then(|(around, node)| Some((self.stack.get(around)?, node)));
        innermost.is_some_and(|(frame, node)| frame.open.node == node)
    }

    fn begin(&mut self) -> bool {
        !self.is_unwatched() && self.findings.as_mut().is_some_and(Findings::begin)
    }

    fn add(&mut self, what: &str, path: &str) {
        if let Some(findings) = &mut self.findings {
            findings.add(format!("{what} field {}", crate::go_text::quoted(path)));
        }
    }

    /// What the JSON value that comes next is called in Go's errors. A value that is not JSON is a syntax error.
    #[cold]
    pub(super) fn describe(&mut self) -> Result<&'static str, Failure> {
        let token = self.scanner.next_token()?;
        let depth = self.stack.len();
        let found = match token {
            b'"' => "string",
            b'{' => "object",
            b'[' => "array",
            b't' | b'f' => "bool",
            _ => "number",
        };
        self.scanner.skip_value(depth)?;
        Ok(found)
    }

    /// A value of another type than the field's.
    #[cold]
    pub(super) fn mismatch(&mut self, ty: TypeRef, found: String) -> Failure {
        self.mismatch_with(found, self.go_type(ty))
    }

    /// The same for a type that the schema has no name for.
    #[cold]
    pub(super) fn mismatch_with(&mut self, found: String, wanted: String) -> Failure {
        let mut owner = "";
        let mut names = Vec::new();
        for frame in &self.stack {
            if let Shape::Object(id) = frame.shape {
                let ty = self.schema.ty(id);
                owner = ty.short_name();
                let Some(field) = ty.fields.get(frame.current as usize) else { continue };
                names.extend(field.attributes.embedded.iter().map(|name| &**name));
                names.push(&*field.name);
            }
        }
        let place = format!("{owner}.{}", names.join("."));
        Box::new(DecodeError::Mismatch { found, place, wanted })
    }

    fn go_type(&self, ty: TypeRef) -> String {
        let mut prefix = String::new();
        let mut ty = ty;
        loop {
            ty = match ty {
                TypeRef::List(element) => {
                    prefix.push_str("[]");
                    self.schema.element(element)
                }
                TypeRef::Map(value) => {
                    prefix.push_str("map[string]");
                    self.schema.element(value)
                }
                TypeRef::Object(id) => return prefix + &self.go_name(self.schema.ty(id)),
                TypeRef::Bool => return prefix + "bool",
                TypeRef::Int32 => return prefix + "int32",
                TypeRef::Int64 => return prefix + "int64",
                TypeRef::Float64 => return prefix + "float64",
                TypeRef::Bytes => return prefix + "[]uint8",
                _ => return prefix + "string",
            };
        }
    }

    /// `v1.Pod`: the last part of the package and the name.
    pub(super) fn go_name(&self, ty: &Type) -> String {
        let mut parts = ty.name.rsplit('.');
        let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{package}.{name}")
    }

    /// The path of what is being read in the outermost `depth` containers: `spec.containers[0].name`.
    #[cold]
    fn path(&self, depth: usize) -> String {
        let mut path = String::new();
        for frame in self.stack.iter().take(depth) {
            let name = match frame.shape {
                Shape::Object(id) => {
                    self.schema.ty(id).fields.get(frame.current as usize).map_or("", |field| &*field.name)
                }
                Shape::Map(_) => self.tree.key_text(frame.current, self.scanner.text),
                Shape::List(_) => {
                    path.push_str(&format!("[{}]", frame.current.saturating_sub(1)));
                    continue;
                }
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        path
    }
}
