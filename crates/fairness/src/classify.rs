//! Which flow a request belongs to: the first schema that matches, in the order of precedence and then of name (upstream:
//! `flowcontrol/rule.go`).
//!
//! Schemas are made ready once: who a request is from is looked up by name, as a set of the schemas that mean them, and only
//! those are looked at. So a request costs a look per group and not a comparison per subject of every schema.

use std::collections::HashMap;
use std::sync::Arc;

use crate::configuration::{
    CATCH_ALL, Configuration, Distinguisher, EXEMPT, FlowSchema, Level, LevelKind, NonResourceRule, Overload,
    PolicyRule, ResourceRule, Subject,
};

/// Everything, in a list of names.
const ALL: &str = "*";
/// What the user name of a service account begins with; its namespace, a colon and its name follow.
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Rules that one word of a set stands for.
const WORD_BITS: usize = u64::BITS as usize;
/// Rules that are looked at, those that must always hold apart; those that would come last are left out. A request may have to be
/// compared with each of them.
const RULES_MAX: usize = 16_384;
/// One request takes no more than this part of a level's seats, in percent.
const SEATS_PERCENT_MAX: u64 = 15;

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A resource; absent parts are empty.
    Resource {
        /// The API group.
        group: &'a str,
        /// The resource.
        resource: &'a str,
        /// The subresource.
        subresource: &'a str,
        /// The namespace.
        namespace: &'a str,
    },
    /// Any other path.
    Path(&'a str),
}

/// A request as flow schemas see it.
#[derive(Clone, Copy, Debug)]
pub struct Digest<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The verb.
    pub verb: &'a str,
    /// What it is about.
    pub target: Target<'a>,
}

/// The flow of a request.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The schema that matched.
    pub schema: Arc<FlowSchema>,
    /// Its level.
    pub level: Arc<Level>,
    /// What tells the flow from others of its schema; empty when there is one only.
    pub distinguisher: String,
}

/// A configuration, made ready to classify requests.
#[derive(Debug)]
pub struct Classifier {
    configuration: Arc<Configuration>,
    /// The rules of all schemas that have a level, in the order in which they are asked.
    rules: Vec<Compiled>,
    users: Rules,
    groups: Rules,
    /// By the user name of a service account up to its own name: the schemas of all service accounts of a namespace.
    namespaces: Rules,
    /// Rules that mean everybody, a bit each.
    everybody: Box<[u64]>,
    /// The flow of what no schema matches.
    catch_all: (Arc<FlowSchema>, Arc<Level>),
    /// The shares of all levels together.
    shares: u64,
}

type Rules = HashMap<Box<str>, Set>;

/// Rules by their number, a bit each: words that have any, and which they are, in rising order. Most names are in few rules, so
/// what a set takes is in proportion to what was written.
type Set = Vec<(usize, u64)>;

/// What a rule asks for, and where it leads. Its subjects are in the tables of names.
#[derive(Debug)]
struct Compiled {
    schema: Arc<FlowSchema>,
    level: Arc<Level>,
    resources: Vec<CompiledResource>,
    paths: Vec<CompiledPath>,
}

#[derive(Debug)]
struct CompiledResource {
    verbs: Names,
    groups: Names,
    resources: Vec<(Box<str>, Box<str>)>,
    is_of_all_resources: bool,
    is_cluster_scoped: bool,
    namespaces: Names,
}

#[derive(Debug)]
struct CompiledPath {
    verbs: Names,
    is_of_all_paths: bool,
    exact: Vec<Box<str>>,
    /// What paths begin with, the slash at its end included.
    prefixes: Vec<Box<str>>,
}

/// Names in a rule.
#[derive(Debug)]
enum Names {
    All,
    These(Vec<Box<str>>),
}

impl Names {
    fn of(names: &[String]) -> Names {
        match names.iter().any(|name| name == ALL) {
            true => Names::All,
            false => Names::These(names.iter().map(|name| name.as_str().into()).collect()),
        }
    }

    fn contain(&self, wanted: &str) -> bool {
        match self {
            Names::All => true,
            Names::These(names) => names.iter().any(|name| **name == *wanted),
        }
    }
}

impl CompiledResource {
    fn of(rule: &ResourceRule) -> CompiledResource {
        let split = |name: &String| {
            let (resource, subresource) = name.split_once('/').unwrap_or((name, ""));
            (resource.into(), subresource.into())
        };
        CompiledResource {
            verbs: Names::of(&rule.verbs),
            groups: Names::of(&rule.api_groups),
            resources: rule.resources.iter().map(split).collect(),
            is_of_all_resources: rule.resources.iter().any(|name| name == ALL),
            is_cluster_scoped: rule.cluster_scope,
            namespaces: Names::of(&rule.namespaces),
        }
    }

    fn matches(&self, verb: &str, group: &str, resource: &str, subresource: &str, namespace: &str) -> bool {
        let is_of_resource = || {
            let is_it = |held: &(Box<str>, Box<str>)| *held.0 == *resource && *held.1 == *subresource;
            self.is_of_all_resources || self.resources.iter().any(is_it)
        };
        let is_in_scope = match namespace {
            // All namespaces are not the cluster.
            "" => self.is_cluster_scoped,
            namespace => self.namespaces.contain(namespace),
        };
        is_in_scope && self.verbs.contain(verb) && self.groups.contain(group) && is_of_resource()
    }
}

impl CompiledPath {
    fn of(rule: &NonResourceRule) -> CompiledPath {
        let is_prefix = |path: &&String| path.ends_with("/*");
        CompiledPath {
            verbs: Names::of(&rule.verbs),
            is_of_all_paths: rule.paths.iter().any(|path| path == ALL),
            exact: rule.paths.iter().filter(|path| !is_prefix(path)).map(|path| path.as_str().into()).collect(),
            prefixes: rule.paths.iter().filter(is_prefix).map(|path| path.trim_end_matches('*').into()).collect(),
        }
    }

    fn matches(&self, verb: &str, path: &str) -> bool {
        let is_of_path = || {
            self.is_of_all_paths
                || self.exact.iter().any(|held| **held == *path)
                || self.prefixes.iter().any(|prefix| path.starts_with(&**prefix))
        };
        self.verbs.contain(verb) && is_of_path()
    }
}

impl Compiled {
    fn matches(&self, digest: &Digest<'_>) -> bool {
        match digest.target {
            Target::Resource { group, resource, subresource, namespace } => {
                let matches =
                    |rule: &CompiledResource| rule.matches(digest.verb, group, resource, subresource, namespace);
                self.resources.iter().any(matches)
            }
            Target::Path(path) => self.paths.iter().any(|rule| rule.matches(digest.verb, path)),
        }
    }
}

impl Classifier {
    /// Makes a configuration ready. What must always hold is put right ([`Configuration::new`]); a schema whose level is not there
    /// matches nothing.
    pub fn new(levels: Vec<Level>, schemas: Vec<FlowSchema>) -> Classifier {
        let configuration = Configuration::new(levels, schemas);
        let levels: HashMap<&str, &Arc<Level>> =
            configuration.levels.iter().map(|level| (level.name.as_str(), level)).collect();
        let of_schema =
            |schema: &Arc<FlowSchema>| Some((Arc::clone(schema), Arc::clone(levels.get(schema.level.as_str())?)));
        let led: Vec<_> = configuration.schemas.iter().filter_map(of_schema).collect();
        let catch_all = led.iter().find(|(schema, _)| schema.name == CATCH_ALL).cloned();
        let catch_all = catch_all
            .unwrap_or_else(|| (Arc::new(FlowSchema::mandatory_catch_all()), Arc::new(Level::mandatory_catch_all())));
        let mut room = RULES_MAX;
        let mut has_room = |schema: &FlowSchema| {
            let is_mandatory = matches!(schema.name.as_str(), EXEMPT | CATCH_ALL);
            let has_room = is_mandatory || room > 0;
            room -= usize::from(!is_mandatory && has_room);
            has_room
        };
        let all = led.iter().flat_map(|led| led.0.rules.iter().map(move |rule| (led, rule)));
        let all: Vec<_> = all.filter(|(led, _)| has_room(&led.0)).collect();
        let mut classifier = Classifier {
            rules: Vec::with_capacity(all.len()),
            users: Rules::new(),
            groups: Rules::new(),
            namespaces: Rules::new(),
            everybody: vec![0; all.len().div_ceil(WORD_BITS)].into(),
            catch_all,
            shares: configuration.levels.iter().map(|level| u64::from(level.shares)).sum(),
            configuration: Arc::clone(&configuration),
        };
        for (number, ((schema, level), rule)) in all.into_iter().enumerate() {
            rule.subjects.iter().for_each(|subject| classifier.note(subject, number));
            classifier.rules.push(compiled(schema, level, rule));
        }
        classifier
    }

    /// Notes that a rule means somebody.
    fn note(&mut self, subject: &Subject, number: usize) {
        let (word, bit) = (number / WORD_BITS, 1 << (number % WORD_BITS));
        let (table, name): (&mut Rules, Box<str>) = match subject {
            Subject::User(name) | Subject::Group(name) if name == ALL => {
                return self.everybody.get_mut(word).map_or((), |bits| *bits |= bit);
            }
            Subject::User(name) => (&mut self.users, name.as_str().into()),
            Subject::Group(name) => (&mut self.groups, name.as_str().into()),
            Subject::ServiceAccount { namespace, name } if name == ALL => {
                (&mut self.namespaces, format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:").into())
            }
            Subject::ServiceAccount { namespace, name } => {
                (&mut self.users, format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}").into())
            }
        };
        let set = table.entry(name).or_default();
        match set.last_mut() {
            Some((last, bits)) if *last == word => *bits |= bit,
            // Rules are noted in their order.
            _ => set.push((word, bit)),
        }
    }

    /// Returns what is classified by.
    pub fn configuration(&self) -> &Arc<Configuration> {
        &self.configuration
    }

    /// Returns the flow of a request. What no schema matches is caught by the last one.
    pub fn classify(&self, digest: &Digest<'_>) -> Flow {
        let (schema, level) = match self.first(digest) {
            Some(rule) => (&rule.schema, &rule.level),
            None => (&self.catch_all.0, &self.catch_all.1),
        };
        let distinguisher = match (schema.distinguisher, digest.target) {
            (Distinguisher::ByUser, _) => digest.user.to_owned(),
            (Distinguisher::ByNamespace, Target::Resource { namespace, .. }) => namespace.to_owned(),
            (Distinguisher::ByNamespace, Target::Path(_)) | (Distinguisher::None, _) => String::new(),
        };
        Flow { schema: Arc::clone(schema), level: Arc::clone(level), distinguisher }
    }

    fn first(&self, digest: &Digest<'_>) -> Option<&Compiled> {
        let in_namespace = digest.user.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| {
            let (namespace, _) = rest.split_once(':')?;
            self.namespaces.get(digest.user.get(..SERVICE_ACCOUNT_PREFIX.len() + namespace.len() + 1)?)
        });
        let of_user = self.users.get(digest.user);
        for (word, everybody) in self.everybody.iter().enumerate() {
            let bits = |set: Option<&Set>| set.map_or(0, |set| bits_of(set, word));
            let mut left = everybody | bits(of_user) | bits(in_namespace);
            for group in digest.groups {
                left |= bits(self.groups.get(group.as_str()));
            }
            while left != 0 {
                let rule = self.rules.get(word * WORD_BITS + left.trailing_zeros() as usize)?;
                if rule.matches(digest) {
                    return Some(rule);
                }
                left &= left - 1;
            }
        }
        None
    }

    /// Returns how many seats one request of a level may take, of `seats` that there are for all: a part of its own, and no more
    /// than leaves each queue of a flow's hand some; none where only the estimate limits it.
    pub fn seats_max(&self, level: &Level, seats: u32) -> Option<u32> {
        let LevelKind::Limited { overload: Overload::Queue { hand_size, .. }, .. } = level.kind else { return None };
        let nominal = (u64::from(seats) * u64::from(level.shares)).div_ceil(self.shares.max(1));
        let most = (nominal * SEATS_PERCENT_MAX).div_ceil(100).min(nominal / u64::from(hand_size.max(1)));
        Some(u32::try_from(most).unwrap_or(u32::MAX).max(1))
    }
}

fn compiled(schema: &Arc<FlowSchema>, level: &Arc<Level>, rule: &PolicyRule) -> Compiled {
    Compiled {
        schema: Arc::clone(schema),
        level: Arc::clone(level),
        resources: rule.resource_rules.iter().map(CompiledResource::of).collect(),
        paths: rule.non_resource_rules.iter().map(CompiledPath::of).collect(),
    }
}

/// The rules of a set that are in a word.
fn bits_of(set: &Set, word: usize) -> u64 {
    let found = set.binary_search_by_key(&word, |(word, _)| *word).ok().and_then(|at| set.get(at));
    found.map_or(0, |(_, bits)| *bits)
}

#[cfg(test)]
mod tests;
