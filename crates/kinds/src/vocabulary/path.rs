//! Where a field is, told only when somebody complains about it (upstream: `field.Path`).
//!
//! A path is a chain of steps that live on the stack of those who walk an object: going down costs nothing, and the text is made for
//! an error alone.

use std::fmt;

/// Where in an object.
#[derive(Clone, Copy, Debug)]
pub struct Path<'p> {
    above: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    /// The object itself.
    Root,
    /// One name, or several with dots between them.
    Field(&'p str),
    Index(usize),
    Key(&'p str),
}

impl<'p> Path<'p> {
    /// The object itself; complaints about it as a whole say `<nil>`.
    pub const ROOT: Path<'static> = Path { above: None, step: Step::Root };

    /// A field of the object: `spec`, or `spec.template`.
    #[must_use]
    pub const fn new(name: &'p str) -> Path<'p> {
        Path { above: None, step: Step::Field(name) }
    }

    /// A field of what is here. Names with dots go down several fields.
    #[must_use]
    pub const fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { above: Some(self), step: Step::Field(name) }
    }

    /// An element of the list that is here.
    #[must_use]
    pub const fn index(&self, index: usize) -> Path<'_> {
        Path { above: Some(self), step: Step::Index(index) }
    }

    /// An entry of the map that is here.
    #[must_use]
    pub const fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { above: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As deep as the types of the API nest, which is far from any limit.
        let mut steps = Vec::with_capacity(16);
        let mut here = Some(self);
        while let Some(path) = here {
            steps.push(path.step);
            here = path.above;
        }
        let mut is_first = true;
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => continue,
                Step::Field(name) if is_first => out.write_str(name)?,
                Step::Field(name) => write!(out, ".{name}")?,
                Step::Index(index) => write!(out, "[{index}]")?,
                Step::Key(key) => write!(out, "[{key}]")?,
            }
            is_first = false;
        }
        if is_first { out.write_str("<nil>") } else { Ok(()) }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> String {
        path.to_string()
    }
}

impl From<&Path<'_>> for String {
    fn from(path: &Path<'_>) -> String {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_upstream_writes_them() {
        let spec = Path::new("spec");
        let containers = spec.field("template.spec.containers");
        let container = containers.index(3);
        assert_eq!(container.field("name").to_string(), "spec.template.spec.containers[3].name");
        assert_eq!(
            container.field("resources.limits").key("cpu").to_string(),
            "spec.template.spec.containers[3].resources.limits[cpu]"
        );
        assert_eq!(Path::ROOT.to_string(), "<nil>");
        assert_eq!(Path::ROOT.field("spec").to_string(), "spec");
    }
}
