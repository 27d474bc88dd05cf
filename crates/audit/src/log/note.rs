//! Lines of the log about the log itself: what was lost, what was found wrong at a start.
//!
//! They have the shape of an event, with an empty verb and path, so that whatever reads events can read them and nothing takes them
//! for a request; what they say stands in annotations of ours.

use std::fmt::Write as _;

use portcullis_model::time::push_micro_time;

/// The annotation that says which note it is; see [`NoteKind::as_str`].
pub const NOTE_ANNOTATION: &str = "audit.portcullis.io/note";

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Events could not be written. `count`, `since`, `until`.
    Lost,
    /// Events of strangers were above their rate, or could not be written. `count`, `since`, `until`.
    StrangersLost,
    /// A crash left the beginning of a line, which was moved to a file of its own. `bytes`, `hash`, `file`.
    Torn,
    /// Lines that were kept as written are gone. `expected` and `found` are heads.
    Cut,
    /// The line that was kept as the last one is another. `expected` and `found` are heads.
    Changed,
    /// Lines came after an orderly end. `expected` and `found` are heads.
    Added,
    /// There are lines, but nothing was kept of them. `found` is a head.
    NoHead,
    /// The last line is none of this log. `expected` is a head.
    Foreign,
    /// The file was taken away or shortened while the server was running.
    Replaced,
    /// The disk failed to make lines durable: a crash may have taken some of those up to `expected`, a head.
    Unsynced,
}

impl NoteKind {
    const ALL: [NoteKind; 10] = [
        NoteKind::Lost,
        NoteKind::StrangersLost,
        NoteKind::Torn,
        NoteKind::Cut,
        NoteKind::Changed,
        NoteKind::Added,
        NoteKind::NoHead,
        NoteKind::Foreign,
        NoteKind::Replaced,
        NoteKind::Unsynced,
    ];

    /// Returns its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            NoteKind::Lost => "lost",
            NoteKind::StrangersLost => "strangers-lost",
            NoteKind::Torn => "torn",
            NoteKind::Cut => "cut",
            NoteKind::Changed => "changed",
            NoteKind::Added => "added",
            NoteKind::NoHead => "no-head",
            NoteKind::Foreign => "foreign",
            NoteKind::Replaced => "replaced",
            NoteKind::Unsynced => "unsynced",
        }
    }

    /// Says whether somebody must have had their hands on the files.
    pub fn is_tampering(self) -> bool {
        match self {
            NoteKind::Cut | NoteKind::Changed | NoteKind::Added | NoteKind::Foreign | NoteKind::Replaced => true,
            NoteKind::Lost | NoteKind::StrangersLost | NoteKind::Torn | NoteKind::NoHead | NoteKind::Unsynced => false,
        }
    }

    /// Reads the note that a line is; nothing for the line of a request. Whoever sends a request has no say in how its line begins.
    pub fn of(line: &[u8]) -> Option<NoteKind> {
        let line = line.strip_prefix(NOTE_BEGIN.as_bytes())?;
        let (_, rest) = line.split_at_checked(TIME_LEN)?;
        let (_, rest) = rest.strip_prefix(NOTE_BETWEEN.as_bytes())?.split_at_checked(TIME_LEN)?;
        let rest = rest.strip_prefix(NOTE_END.as_bytes())?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let name = rest.get(..end)?;
        NoteKind::ALL.into_iter().find(|kind| kind.as_str().as_bytes() == name)
    }
}

/// How every note begins: the place of an audit id is taken by one that no request has.
const NOTE_BEGIN: &str = concat!(
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","#,
    r#""auditID":"00000000-0000-0000-0000-000000000000","stage":"ResponseComplete","requestURI":"","verb":"","user":{},"#,
    r#""requestReceivedTimestamp":""#
);
const NOTE_BETWEEN: &str = r#"","stageTimestamp":""#;
const NOTE_END: &str = r#"","annotations":{"audit.portcullis.io/note":""#;
/// Length of `2026-01-02T03:04:05.000000Z`.
const TIME_LEN: usize = 27;

/// Renders a note as an event is rendered. The facts' names follow the prefix of our annotations; values are ours and need no escape
/// but that of file names.
pub(crate) fn render(kind: NoteKind, now: i64, facts: &[(&str, &str)]) -> String {
    let now = time(now);
    let mut line = format!("{NOTE_BEGIN}{now}{NOTE_BETWEEN}{now}{NOTE_END}{}\"", kind.as_str());
    for (name, value) in facts {
        // Writing to a string cannot fail.
        let _ = write!(line, ",\"audit.portcullis.io/{name}\":{}", serde_json::Value::from(*value));
    }
    line.push_str("}}");
    line
}

/// A time as events have it.
pub(crate) fn time(micros: i64) -> String {
    let mut text = Vec::with_capacity(TIME_LEN);
    push_micro_time(&mut text, micros);
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn notes_are_events_and_are_known_again() {
        for kind in NoteKind::ALL {
            let line = render(kind, 1_790_000_000_000_000, &[("count", "3"), ("file", "a\"b")]);
            assert_eq!(NoteKind::of(line.as_bytes()), Some(kind), "{line}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&value["kind"], &value["apiVersion"]), (&"Event".into(), &"audit.k8s.io/v1".into()));
            assert_eq!(value["annotations"][NOTE_ANNOTATION], kind.as_str());
            assert_eq!(value["annotations"]["audit.portcullis.io/file"], "a\"b");
            assert_eq!(NoteKind::of(&line.as_bytes()[1..]), None);
        }
        assert_eq!(NoteKind::of(br#"{"kind":"Event","annotations":{"audit.portcullis.io/note":"cut"}}"#), None);
    }
}
