//! Which requests are recorded, and how much of them (upstream: `audit.k8s.io/v1.Policy`).
//!
//! `document` is a policy as it was written, `rule` what a rule asks for. A file is read by the gate, which has the strict reader.

mod document;
mod rule;
#[cfg(test)]
mod tests;

use crate::attributes::{Attributes, Target};

pub use self::document::{PolicyDocument, RuleDocument};
pub use self::rule::{Criteria, GroupResources};

use self::rule::Rule;

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
    /// All of them, in upstream's order, which is that of growing.
    pub const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// Returns the level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }

    /// Finds the one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// A moment in the life of a request at which an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its sender is known, nothing is decided yet.
    RequestReceived,
    /// An answer without an end of its own has begun; or nobody could be proved.
    ResponseStarted,
    /// The answer is made, or a stream has ended.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

impl Stage {
    /// All of them, in the order of a request's life.
    pub const ALL: [Self; 4] = [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// Returns the stage's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }

    /// Finds the one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
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
    /// Whether complaints about the object are left out too, because they may quote it (A25).
    pub withholds: bool,
}

/// Rules, of which the first that matches decides. A policy without rules records nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    guards_secrets: bool,
}

/// What holds secrets, as a policy sees it.
const GUARDED: [(&str, &str, &str); 3] =
    [("", "secrets", ""), ("", "serviceaccounts", "token"), ("authentication.k8s.io", "tokenreviews", "")];

impl Policy {
    fn of(rules: Vec<Rule>) -> Self {
        Self { rules, guards_secrets: false }
    }

    /// The policy of a server whose operator has none: who, what, when, decision and reason of everything, objects of nothing (A25).
    ///
    /// One rule, because what is left out is what an intruder uses. Without `RequestReceived`, which says nothing that the end of
    /// the request does not say too, and would double the log.
    pub fn standard() -> Self {
        let omitted = Stages::default().with(Stage::RequestReceived);
        let criteria = Criteria::default();
        let rule = Rule { criteria, level: Level::Metadata, omitted, omits_managed_fields: true };
        Self::of(vec![rule]).guarded()
    }

    /// The same, but what holds secrets and tokens is never recorded beyond [`Level::Metadata`], whatever the rules say (A25).
    #[must_use]
    pub fn guarded(self) -> Self {
        Self { guards_secrets: true, ..self }
    }

    /// Names the resources whose objects the rules ask for although they hold secrets and tokens.
    pub fn asks_for_secrets(&self) -> Vec<String> {
        let mut asked = Vec::new();
        for (group, resource, subresource) in GUARDED {
            let target = Target::Resource { group, version: "", resource, subresource, namespace: "", name: "" };
            // Those after a rule that is about all such requests decide nothing.
            let decided_by = self.rules.iter().position(|rule| rule.criteria.is_about_every(&target));
            let deciding = self.rules.iter().take(decided_by.map_or(usize::MAX, |at| at + 1));
            let asks = |rule: &Rule| rule.level > Level::Metadata && rule.criteria.is_about_some(&target);
            if deciding.into_iter().any(asks) {
                asked.push(if subresource.is_empty() {
                    resource.to_owned()
                } else {
                    format!("{resource}/{subresource}")
                });
            }
        }
        asked
    }

    /// Decides about a request.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Decided {
        let Some(rule) = self.rules.iter().find(|rule| rule.criteria.matches(attributes)) else {
            return Decided::default();
        };
        let withholds = self.guards_secrets && attributes.holds_secrets();
        let level_max = if withholds { Level::Metadata } else { Level::RequestResponse };
        Decided {
            level: rule.level.min(level_max),
            omitted: rule.omitted,
            omits_managed_fields: rule.omits_managed_fields,
            withholds,
        }
    }
}
