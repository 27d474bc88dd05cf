//! A document in pieces, so that it never stands in memory as a whole: what v2 and v3 are made of and how JSON is written from it.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// One piece. They come in the order of this list.
#[derive(Debug)]
pub(super) enum Piece {
    /// The members at the top that say what document this is.
    Head(Map<String, Value>),
    /// An entry of a section: its name and what stands there.
    Entry(Section, String, Value),
    /// The members at the top that end the document.
    Tail(Map<String, Value>),
}

/// What there are many of, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// Path items.
    Paths,
    /// Schemas of types.
    Schemas,
    /// Parameters that operations refer to (v2), or ways to authenticate (v3).
    Shared,
}

/// How the sections of a form begin, each ending the one before.
pub(super) struct Frame {
    pub(super) paths: &'static str,
    pub(super) schemas: &'static str,
    pub(super) shared: &'static str,
    pub(super) end: &'static str,
}

impl Frame {
    fn opening(&self, section: Section) -> &'static str {
        match section {
            Section::Paths => self.paths,
            Section::Schemas => self.schemas,
            Section::Shared => self.shared,
        }
    }
}

/// Writes a document as JSON.
pub(super) fn write_json(pieces: impl Iterator<Item = Piece>, frame: &Frame, out: &mut dyn Write) -> io::Result<()> {
    const ALL: [Section; 3] = [Section::Paths, Section::Schemas, Section::Shared];
    let mut closed: Option<Section> = None;
    let mut open = |until: Option<Section>, out: &mut dyn Write| -> io::Result<bool> {
        let before = closed;
        for section in
            ALL.into_iter().filter(|section| Some(*section) > closed && until.is_none_or(|until| *section <= until))
        {
            out.write_all(frame.opening(section).as_bytes())?;
        }
        closed = until.or(Some(Section::Shared));
        Ok(before != closed)
    };
    out.write_all(b"{")?;
    for piece in pieces {
        match piece {
            Piece::Head(members) => write_members(members, b"", b",", out)?,
            Piece::Tail(members) => {
                open(None, out)?;
                out.write_all(frame.end.as_bytes())?;
                write_members(members, b",", b"", out)?;
            }
            Piece::Entry(section, name, value) => {
                if !open(Some(section), out)? {
                    out.write_all(b",")?;
                }
                serde_json::to_writer(&mut *out, &name)?;
                out.write_all(b":")?;
                serde_json::to_writer(&mut *out, &value)?;
            }
        }
    }
    out.write_all(b"}")
}

fn write_members(members: Map<String, Value>, before: &[u8], after: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for (name, value) in members {
        out.write_all(before)?;
        serde_json::to_writer(&mut *out, &name)?;
        out.write_all(b":")?;
        serde_json::to_writer(&mut *out, &value)?;
        out.write_all(after)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const FRAME: Frame = Frame { paths: "\"p\":{", schemas: "},\"c\":{\"s\":{", shared: "},\"x\":{", end: "}}" };

    #[test]
    fn documents_are_whole_whatever_they_lack() {
        let check = |entries: &[(Section, &str)], expected: Value| {
            let members = |name: &str| Map::from_iter([(name.to_owned(), json!(1))]);
            let entries = entries.iter().map(|(section, name)| Piece::Entry(*section, (*name).to_owned(), json!({})));
            let pieces =
                [Piece::Head(members("head"))].into_iter().chain(entries).chain([Piece::Tail(members("tail"))]);
            let mut out = Vec::new();
            write_json(pieces, &FRAME, &mut out).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        };
        check(&[], json!({ "head": 1, "p": {}, "c": { "s": {}, "x": {} }, "tail": 1 }));
        check(
            &[(Section::Paths, "a"), (Section::Paths, "b")],
            json!({ "head": 1, "p": { "a": {}, "b": {} }, "c": { "s": {}, "x": {} }, "tail": 1 }),
        );
        check(&[(Section::Shared, "a")], json!({ "head": 1, "p": {}, "c": { "s": {}, "x": { "a": {} } }, "tail": 1 }));
        check(
            &[(Section::Paths, "a"), (Section::Schemas, "b"), (Section::Schemas, "c"), (Section::Shared, "d")],
            json!({ "head": 1, "p": { "a": {} }, "c": { "s": { "b": {}, "c": {} }, "x": { "d": {} } }, "tail": 1 }),
        );
    }
}
