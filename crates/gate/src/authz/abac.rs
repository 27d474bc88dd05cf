//! Rules from a file, one JSON object a line (upstream: the ABAC mode, `abac.authorization.kubernetes.io/v1beta1`).
//!
//! The file is read once, at start. Reading is stricter than upstream's: there a line of an unknown version, or with a misspelt
//! field, is taken for the old unversioned form, where everything that is absent allows everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_model::strict::{Document, Fields, StrictError};
use thiserror::Error;

use crate::identity::{GROUP_AUTHENTICATED, Identity};

use super::{Attributes, Authorizer, Decision, PathRule, ResourceRule, Rules, Target, Verdict};

/// Bytes of a policy file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a line: upstream's limit.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Rules in a file: each is looked at for each decision.
const RULES_MAX: usize = 10_000;

const API_VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const KIND: &str = "Policy";
/// What upstream says when no rule fits.
const NO_MATCH: &str = "No policy matched.";
/// The verbs that a `readonly` rule allows.
const READING: [&str; 3] = ["get", "list", "watch"];

/// Why a policy file cannot be used.
#[derive(Debug, Error)]
pub enum AbacError {
    /// It cannot be read.
    #[error("error reading policy file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is longer, or has more rules or longer lines, than is read.
    #[error("error reading policy file {}: {what} is more than {limit}", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A line is no rule.
    #[error("error reading policy file {}, line {line}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: StrictError,
    },
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    user: String,
    group: String,
    is_readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    path: String,
}

/// The rules of a policy file.
pub struct Abac {
    /// Each with its words for the audit log.
    rules: Vec<(Rule, Arc<str>)>,
    no_match: Arc<str>,
}

impl Abac {
    /// Reads a policy file.
    ///
    /// # Errors
    /// The error names the file, and the line when it is one that is wrong.
    pub fn open(path: &Path) -> Result<Self, AbacError> {
        let failed = |source| AbacError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(AbacError::TooLarge { path: path.to_owned(), what: "length", limit: FILE_BYTES_MAX });
        }
        Self::parse(path, &fs::read(path).map_err(failed)?)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, AbacError> {
        let too_large = |what, limit: usize| AbacError::TooLarge { path: path.to_owned(), what, limit: limit as u64 };
        let mut rules = Vec::new();
        let mut unversioned = 0;
        for (line, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            if text.len() > LINE_BYTES_MAX {
                return Err(too_large("length of a line", LINE_BYTES_MAX));
            }
            if rules.len() == RULES_MAX {
                return Err(too_large("number of rules", RULES_MAX));
            }
            let read = Rule::parse(text);
            let (rule, is_versioned) =
                read.map_err(|source| AbacError::Line { path: path.to_owned(), line, source })?;
            unversioned += usize::from(!is_versioned);
            rules.push((rule, format!("ABAC: allowed by line {line} of the policy file").into()));
        }
        if unversioned > 0 {
            tracing::warn!(file = %path.display(), rules = unversioned, "policy file has rules without a version");
        }
        Ok(Self { rules, no_match: NO_MATCH.into() })
    }
}

impl Rule {
    /// Reads a rule, and whether it says which version it is of.
    fn parse(text: &[u8]) -> Result<(Self, bool), StrictError> {
        let document = Document::parse(text)?;
        let is_versioned = match document.version_and_kind() {
            (API_VERSION, KIND) => true,
            ("", "") => false,
            _ => return Err(document.of_another_kind(format!("{KIND} of {API_VERSION}, or neither"))),
        };
        let rule = document.read(|fields| match is_versioned {
            true => fields.object("spec", Self::versioned).unwrap_or_default(),
            false => Self::unversioned(fields),
        });
        rule.map(|rule| (rule, is_versioned))
    }

    fn versioned(spec: &mut Fields<'_>) -> Self {
        let mut rule =
            Self { api_group: spec.string("apiGroup"), path: spec.string("nonResourcePath"), ..Self::of_both(spec) };
        rule.narrow_everybody();
        rule
    }

    /// Reads the form that was there before there were versions: what is absent means all.
    fn unversioned(fields: &mut Fields<'_>) -> Self {
        let all = |text: String| if text.is_empty() { "*".to_owned() } else { text };
        let mut rule = Self { api_group: "*".to_owned(), ..Self::of_both(fields) };
        if rule.user.is_empty() && rule.group.is_empty() {
            rule.group = "*".to_owned();
        }
        rule.narrow_everybody();
        if rule.resource.is_empty() && rule.namespace.is_empty() {
            rule.path = "*".to_owned();
        }
        rule.resource = all(rule.resource);
        rule.namespace = all(rule.namespace);
        rule
    }

    /// Reads what both forms have.
    fn of_both(fields: &mut Fields<'_>) -> Self {
        Self {
            user: fields.string("user"),
            group: fields.string("group"),
            is_readonly: fields.bool("readonly").unwrap_or_default(),
            resource: fields.string("resource"),
            namespace: fields.string("namespace"),
            ..Self::default()
        }
    }

    /// Everybody is everybody who proved who they are.
    fn narrow_everybody(&mut self) {
        if self.user == "*" || self.group == "*" {
            self.user.clear();
            self.group = GROUP_AUTHENTICATED.to_owned();
        }
    }

    /// Says whether the rule is about this user. One that names neither user nor group is about nobody.
    fn is_about(&self, user: &Identity) -> bool {
        let (any_user, any_group) = (self.user.is_empty(), self.group.is_empty());
        !(any_user && any_group) && (any_user || self.user == user.name) && (any_group || user.is_in(&self.group))
    }

    fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !self.is_about(attributes.user) || (self.is_readonly && !READING.contains(&attributes.verb)) {
            return false;
        }
        match attributes.target {
            Target::Resource { group, namespace, resource, .. } => {
                fits(&self.namespace, namespace) && fits(&self.resource, resource) && fits(&self.api_group, group)
            }
            Target::Path(path) => {
                fits(&self.path, path)
                    || (self.path.ends_with('*') && path.starts_with(self.path.trim_end_matches('*')))
            }
        }
    }

    fn verbs(&self) -> Vec<String> {
        let verbs: &[&str] = if self.is_readonly { &READING } else { &["*"] };
        verbs.iter().map(ToString::to_string).collect()
    }
}

fn fits(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

impl Authorizer for Abac {
    fn name(&self) -> &'static str {
        "ABAC"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let found = self.rules.iter().find(|(rule, _)| rule.allows(attributes));
        Decision::Now(match found {
            Some((_, reason)) => Verdict::Allow { reason: Arc::clone(reason) },
            None => Verdict::NoOpinion { reason: Arc::clone(&self.no_match) },
        })
    }

    fn rules(&self, user: &Identity, namespace: &str, rules: &mut Rules) {
        for (rule, _) in self.rules.iter().filter(|(rule, _)| rule.is_about(user) && fits(&rule.namespace, namespace)) {
            if !rule.resource.is_empty() {
                rules.resources.push(ResourceRule {
                    verbs: rule.verbs(),
                    groups: vec![rule.api_group.clone()],
                    resources: vec![rule.resource.clone()],
                    names: Vec::new(),
                });
            }
            if !rule.path.is_empty() {
                rules.paths.push(PathRule { verbs: rule.verbs(), paths: vec![rule.path.clone()] });
            }
        }
    }
}

#[cfg(test)]
mod tests;
