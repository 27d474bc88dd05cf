//! Which requests are recorded, and how much of them (upstream: `audit.k8s.io/v1.Policy`).

use crate::attributes::Attributes;

/// How much of a request is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, and the outcome.
    Metadata,
    /// And the object that was sent.
    Request,
    /// And the object that was answered.
    RequestResponse,
}

impl Level {
    /// Returns the level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// A moment in the life of a request at which an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its sender is known, nothing is decided yet.
    RequestReceived,
    /// An answer without an end of its own has begun.
    ResponseStarted,
    /// The answer is made, or a stream has ended.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

impl Stage {
    /// Returns the stage's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// Returns the set with `stage` in it.
    #[must_use]
    pub fn with(self, stage: Stage) -> Self {
        Self(self.0 | 1 << stage as u8)
    }

    /// Says whether `stage` is in the set.
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }
}

/// What a policy says of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// How much is recorded.
    pub level: Level,
    /// The stages at which nothing is recorded.
    pub omitted: Stages,
    /// Whether objects are recorded without their managed fields.
    pub omits_managed_fields: bool,
}

/// Rules, of which the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Policy {}

impl Policy {
    /// Decides about a request.
    pub fn decide(&self, _attributes: &Attributes<'_>) -> Decided {
        Decided::default()
    }
}
