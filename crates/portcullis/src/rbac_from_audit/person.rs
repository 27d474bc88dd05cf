//! Whose requests are looked for, and what was found of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use anyhow::{Context as _, Result, bail};
use portcullis_audit::reader::{EventUser, ReadEvent};
use portcullis_gate::rbac::{self, Binding, Id, Policy, RoleKind, RoleRef, StoredRole, Subject};
use portcullis_gate::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED, Identity, SERVICE_ACCOUNT_PREFIX,
};
use portcullis_kinds::bootstrap_policy;

use super::asked::{self, Asked, Outcome, Silent};
use super::permissions::{Names, Permissions, Question, ScopeRules, What};

/// Bytes that are held of all that was asked, once each thing.
const HELD_BYTES_MAX: usize = 64 << 20;
/// What a question costs beside its words.
const QUESTION_BYTES: usize = 128;
/// What a user costs beside the name.
const PERSON_BYTES: usize = 512;
/// Different things that were refused and are named; others are counted.
const REFUSED_SHOWN_MAX: usize = 50;
/// Letters of something refused that are shown.
const REFUSED_LEN_MAX: usize = 300;
/// A stream has begun.
const STAGE_STARTED: &str = "ResponseStarted";
/// What the names of the cluster's own components begin with.
const OF_COMPONENTS: &str = "system:";
/// The groups that everybody is in one of, so that what they were given need not be given again.
const EVERYBODY: [&str; 3] = [GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, GROUP_SERVICE_ACCOUNTS];

/// Whose roles are to be made.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// Everybody's but the components'.
    All,
    /// Theirs.
    These(Vec<Subject>),
}

/// What becomes of requests that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// They are named.
    Named,
    /// They are put into the roles.
    Included,
}

/// What becomes of what every login may do anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defaults {
    /// It is left out.
    LeftOut,
    /// It is said again.
    Included,
}

/// Those whose requests were looked for.
pub(super) struct People {
    wanted: Wanted,
    refused: Refused,
    names: Names,
    /// By how upstream describes them, which tells apart users, groups and service accounts.
    found: BTreeMap<String, Person>,
    held_bytes: usize,
}

/// What was found of one.
struct Person {
    subject: Subject,
    permissions: Permissions,
    seen: Seen,
}

/// What is told beside the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Requests that count.
    pub(super) requests: u64,
    /// When the first and the last of them came.
    pub(super) first: String,
    pub(super) last: String,
    /// What was refused, and how often; not all of it.
    pub(super) refused: BTreeMap<String, u64>,
    /// Refused requests that are not among those.
    pub(super) refused_more: u64,
    /// Requests that no rule says exactly.
    pub(super) inexpressible: u64,
    /// Permissions that everybody has.
    pub(super) left_out: usize,
}

/// The roles of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) subject: Subject,
    pub(super) name: String,
    pub(super) seen: Seen,
    pub(super) scopes: Vec<ScopeRules>,
}

impl Roles {
    /// Says whether anything was found to make them of.
    pub(super) fn are_founded(&self) -> bool {
        !self.seen.first.is_empty()
    }
}

/// Whom a binding names for a user.
pub(super) fn subject_of(user: &str) -> Subject {
    match asked::service_account(user) {
        Some((namespace, name)) => Subject::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() },
        None => Subject::User(user.to_owned()),
    }
}

fn is_one(subject: &Subject, user: &EventUser) -> bool {
    match subject {
        Subject::User(name) => *name == user.name,
        Subject::Group(name) => user.groups.contains(name),
        Subject::ServiceAccount { namespace, name } => asked::service_account(&user.name) == Some((namespace, name)),
    }
}

impl People {
    pub(super) fn new(wanted: Wanted, refused: Refused, names: Names) -> Self {
        let mut people = Self { wanted: Wanted::All, refused, names, found: BTreeMap::new(), held_bytes: 0 };
        if let Wanted::These(subjects) = &wanted {
            for subject in subjects {
                people.person(subject.clone());
            }
        }
        people.wanted = wanted;
        people
    }

    /// Takes what an event tells.
    ///
    /// # Errors
    /// There is more than can be held.
    pub(super) fn take(&mut self, event: &ReadEvent) -> Result<()> {
        let user = event.impersonated.as_ref().unwrap_or(&event.user);
        let impersonator = event.impersonated.as_ref().map(|_| &event.user);
        let (subjects, impersonators) = (self.subjects(user), impersonator.map_or(Vec::new(), |by| self.subjects(by)));
        if subjects.is_empty() && impersonators.is_empty() {
            return Ok(());
        }
        let asked = match asked::asked(event) {
            Ok(asked) => asked,
            Err(Silent::Undecided) => return Ok(()),
            Err(Silent::Inexpressible) => {
                for subject in subjects.into_iter().chain(impersonators) {
                    self.person(subject).seen.inexpressible += 1;
                }
                return Ok(());
            }
        };
        let Asked { outcome, of_user, of_impersonator } = asked;
        for subject in impersonators {
            self.put(subject, event, outcome, &of_impersonator)?;
        }
        for subject in subjects {
            self.put(subject, event, outcome, &of_user)?;
        }
        Ok(())
    }

    /// Those among the wanted that a user is.
    fn subjects(&self, user: &EventUser) -> Vec<Subject> {
        match &self.wanted {
            Wanted::These(subjects) => subjects.iter().filter(|subject| is_one(subject, user)).cloned().collect(),
            Wanted::All => match subject_of(&user.name) {
                Subject::User(name) if name.is_empty() || name.starts_with(OF_COMPONENTS) => Vec::new(),
                subject => vec![subject],
            },
        }
    }

    fn person(&mut self, subject: Subject) -> &mut Person {
        match self.found.entry(subject.describe("")) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                self.held_bytes += place.key().len() + PERSON_BYTES;
                let permissions = Permissions::new(self.names);
                place.insert(Person { subject, permissions, seen: Seen::default() })
            }
        }
    }

    fn put(&mut self, subject: Subject, event: &ReadEvent, outcome: Outcome, questions: &[Question]) -> Result<()> {
        let is_included = self.refused == Refused::Included;
        let person = self.person(subject);
        if outcome == Outcome::Refused && !is_included {
            questions.iter().for_each(|question| person.seen.refuse(question));
            return Ok(());
        }
        // A stream has two events. The first may be the only one yet, and tells all that is needed.
        person.seen.requests += u64::from(event.stage != STAGE_STARTED);
        person.seen.at(&event.received);
        let mut held = 0;
        for question in questions {
            let bytes = person.permissions.insert(question.clone());
            held += if bytes == 0 { 0 } else { bytes + QUESTION_BYTES };
        }
        self.held_bytes += held;
        if self.held_bytes > HELD_BYTES_MAX {
            bail!(
                "more different things were asked than can be held: use --names any, --since, or one --user at a time"
            );
        }
        Ok(())
    }

    /// Makes the roles, in the order of whom they are for.
    ///
    /// # Errors
    /// The roles that every cluster begins with cannot be read.
    pub(super) fn finish(self, defaults: Defaults) -> Result<Vec<Roles>> {
        let policy = match defaults {
            Defaults::LeftOut => everybodys()?,
            Defaults::Included => Policy::default(),
        };
        let finish = |person: Person| {
            let Person { subject, mut permissions, mut seen } = person;
            seen.left_out = permissions.subtract(&policy, &member(&subject));
            Roles { subject, name: String::new(), seen, scopes: permissions.rules() }
        };
        Ok(self.found.into_values().map(finish).collect())
    }
}

impl Seen {
    fn at(&mut self, time: &str) {
        if self.first.is_empty() || time < self.first.as_str() {
            time.clone_into(&mut self.first);
        }
        if time > self.last.as_str() {
            time.clone_into(&mut self.last);
        }
    }

    fn refuse(&mut self, question: &Question) {
        let shown: String = question.to_string().chars().take(REFUSED_LEN_MAX).collect();
        let is_full = self.refused.len() >= REFUSED_SHOWN_MAX;
        match self.refused.entry(shown) {
            Entry::Occupied(mut times) => *times.get_mut() += 1,
            Entry::Vacant(_) if is_full => self.refused_more += 1,
            Entry::Vacant(place) => {
                place.insert(1);
            }
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb.escape_debug();
        match &self.what {
            What::Path(path) => write!(out, "{verb} {path:?}"),
            What::Resource { group, resource, subresource, namespace, name } => {
                write!(out, "{verb} {}", resource.escape_debug())?;
                if !group.is_empty() {
                    write!(out, ".{}", group.escape_debug())?;
                }
                if !subresource.is_empty() {
                    write!(out, "/{}", subresource.escape_debug())?;
                }
                if !name.is_empty() {
                    write!(out, " {name:?}")?;
                }
                if !namespace.is_empty() {
                    write!(out, " in the namespace {namespace:?}")?;
                }
                Ok(())
            }
        }
    }
}

/// Somebody of whom nothing is known but what a binding to the subject would know.
fn member(subject: &Subject) -> Identity {
    let (name, mut groups) = match subject {
        Subject::User(name) => (name.clone(), Vec::new()),
        Subject::Group(name) => (String::new(), vec![name.clone()]),
        Subject::ServiceAccount { namespace, name } => {
            (format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), vec![GROUP_SERVICE_ACCOUNTS.to_owned()])
        }
    };
    let is_anybody = name == ANONYMOUS || groups.iter().any(|group| group == GROUP_UNAUTHENTICATED);
    groups.push(if is_anybody { GROUP_UNAUTHENTICATED } else { GROUP_AUTHENTICATED }.to_owned());
    Identity { name, groups, ..Identity::default() }
}

/// What every cluster gives to everybody when it begins.
fn everybodys() -> Result<Policy> {
    let bootstrap = bootstrap_policy::bootstrap_policy().context("the roles that a cluster begins with")?;
    let strings = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut policy = Policy::default();
    policy.change(|change| {
        for binding in bootstrap.bindings.iter().filter(|binding| binding.namespace.is_empty()) {
            let group = |subject: &bootstrap_policy::Subject| match subject {
                bootstrap_policy::Subject::Group(name) if EVERYBODY.contains(name) => {
                    Some(Subject::Group((*name).to_owned()))
                }
                _ => None,
            };
            let subjects: Vec<Subject> = binding.subjects.iter().filter_map(group).collect();
            let role = bootstrap.roles.iter().find(|role| role.namespace.is_empty() && role.name == binding.role);
            let (Some(role), false) = (role, subjects.is_empty()) else { continue };
            let rule = |rule: &bootstrap_policy::Rule| rbac::Rule {
                verbs: strings(&rule.verbs),
                groups: strings(&rule.groups),
                resources: strings(&rule.resources),
                names: strings(&rule.names),
                paths: strings(&rule.paths),
            };
            let stored = StoredRole { rules: role.rules.iter().map(rule).collect(), ..StoredRole::default() };
            change.set_role(Id::new("", role.name), stored);
            let role = RoleRef { kind: RoleKind::ClusterRole, name: role.name.to_owned() };
            change.set_binding(Id::new("", binding.name), Binding { role, subjects });
        }
    });
    Ok(policy)
}
