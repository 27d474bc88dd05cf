//! One event: what a line of the log says (upstream: `audit.k8s.io/v1.Event`).
//!
//! The line is put together of parts that were written when they became known; nothing is encoded twice. `text` writes them.

#[cfg(test)]
mod tests;
mod text;

use std::fmt;

use bytes::Bytes;

use crate::policy::Stage;

pub(crate) use self::text::{ObjectText, RequestText, bounded, impersonated, outcome, outcome_of};

use self::text::Part;

/// Marks an event that was written without its objects.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// Whether an event is written with the objects it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// With them.
    With,
    /// Without them, and marked as truncated.
    Truncated,
}

/// A record at one stage. Cheap to make; written only where it goes.
pub struct Event {
    pub(crate) stage: Stage,
    pub(crate) is_stranger: bool,
    pub(crate) request: RequestText,
    /// As whom it acts.
    pub(crate) acting: String,
    /// What only the object said.
    pub(crate) object: Option<Box<ObjectText>>,
    /// What came of it.
    pub(crate) outcome: String,
    pub(crate) request_object: Option<Bytes>,
    pub(crate) response_object: Option<Bytes>,
    /// Timestamps, and the members of `annotations` before and after the place of [`TRUNCATED`].
    pub(crate) rest: Rest,
}

/// The end of an event, from its timestamps on.
pub(crate) struct Rest {
    text: String,
    times_end: usize,
    truncated_at: usize,
}

impl Rest {
    /// Writes the end of an event; `annotations` are in order.
    pub(crate) fn new<'a>(
        received_micros: i64,
        stage_micros: i64,
        annotations: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut out = Vec::with_capacity(512);
        text::times(&mut out, received_micros, stage_micros);
        let times_end = out.len();
        let mut truncated_at = None;
        for (key, value) in annotations {
            if truncated_at.is_none() && key > TRUNCATED {
                truncated_at = Some(out.len());
            }
            if out.len() > times_end {
                out.push(b',');
            }
            portcullis_model::go_text::push_json_string(&mut out, key);
            out.push(b':');
            portcullis_model::go_text::push_json_string(&mut out, value);
        }
        let truncated_at = truncated_at.unwrap_or(out.len());
        Self { text: text::text(out), times_end, truncated_at }
    }

    fn times(&self) -> &str {
        self.text.get(..self.times_end).unwrap_or_default()
    }

    fn annotations(&self) -> (&str, &str) {
        let of = |range: std::ops::Range<usize>| self.text.get(range).unwrap_or_default();
        (of(self.times_end..self.truncated_at), of(self.truncated_at..self.text.len()))
    }
}

impl fmt::Debug for Event {
    /// Without what it says, which may be the objects themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Event {
    /// Returns the stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Says whether nobody proved an identity: such events have a space of their own.
    pub fn is_stranger(&self) -> bool {
        self.is_stranger
    }

    /// Writes the event as one line of JSON without a newline. Its last member is always `annotations`, an object, so that a
    /// log can put its own annotations before the two closing braces.
    pub fn render(&self, objects: Objects, out: &mut String) {
        let request = &self.request;
        let sent = [&self.request_object, &self.response_object];
        let objects_len: usize = sent.iter().filter_map(|object| object.as_ref()).map(Bytes::len).sum();
        let with_objects = objects == Objects::With;
        out.reserve(
            request.len()
                + self.acting.len()
                + self.outcome.len()
                + self.rest.text.len()
                + if with_objects { objects_len } else { 0 }
                + 256,
        );
        out.push_str(request.part(Part::Opening));
        out.push_str(self.stage.as_str());
        out.push_str(request.part(Part::Request));
        out.push_str(&self.acting);
        out.push_str(request.part(Part::Origin));
        self.render_object_reference(out);
        out.push_str(&self.outcome);
        if with_objects {
            push_object(out, r#","requestObject":"#, self.request_object.as_deref());
            push_object(out, r#","responseObject":"#, self.response_object.as_deref());
        }
        out.push_str(self.rest.times());
        out.push_str(r#","annotations":{"#);
        let (before, after) = self.rest.annotations();
        out.push_str(before);
        // Marked only when something is missing.
        if !with_objects && objects_len > 0 {
            if !before.is_empty() {
                out.push(',');
            }
            out.push('"');
            out.push_str(TRUNCATED);
            out.push_str(r#"":"true""#);
            if before.is_empty() && !after.is_empty() {
                out.push(',');
            }
        }
        out.push_str(after);
        out.push_str("}}");
    }

    fn render_object_reference(&self, out: &mut String) {
        let request = &self.request;
        if !request.has_object() {
            return;
        }
        let said = |of: fn(&ObjectText) -> &String| self.object.as_deref().map(of).filter(|text| !text.is_empty());
        let by_path = |part| request.part(part);
        out.push_str(request.part(Part::Resource));
        out.push_str(said(|object| &object.namespace).map_or_else(|| by_path(Part::Namespace), String::as_str));
        out.push_str(said(|object| &object.name).map_or_else(|| by_path(Part::Name), String::as_str));
        out.push_str(said(|object| &object.uid).map_or("", String::as_str));
        out.push_str(request.part(Part::Api));
        out.push_str(said(|object| &object.resource_version).map_or("", String::as_str));
        out.push_str(request.part(Part::Subresource));
    }
}

/// Appends a member whose value is JSON already. Its lines become one.
fn push_object(out: &mut String, key: &str, json: Option<&[u8]>) {
    let Some(json) = json.and_then(|json| std::str::from_utf8(json).ok()).map(str::trim_end) else { return };
    if json.is_empty() {
        return;
    }
    out.push_str(key);
    // A line feed in JSON is only ever space between its parts.
    json.split(['\n', '\r']).for_each(|line| out.push_str(line));
}
