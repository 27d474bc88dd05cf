//! One event: what a line of the log says (upstream: `audit.k8s.io/v1.Event`).

use crate::policy::Stage;

/// Whether an event is written with the objects it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// With them.
    With,
    /// Without them, and marked as truncated.
    Truncated,
}

/// A record at one stage. Cheap to make; written only where it goes.
#[derive(Debug)]
pub struct Event {
    pub(crate) stage: Stage,
    pub(crate) is_stranger: bool,
    /// Everything before `annotations`, a whole object but for its end.
    pub(crate) text: String,
    /// The members of `annotations`.
    pub(crate) annotations: String,
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
    pub fn render(&self, _objects: Objects, out: &mut String) {
        out.push_str(&self.text);
        out.push_str("\"annotations\":{");
        out.push_str(&self.annotations);
        out.push_str("}}");
    }
}
