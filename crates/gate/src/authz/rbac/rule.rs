//! One rule of a role, and what it matches (upstream: `rbac.RuleAllows` and the evaluation helpers of `rbac/v1`).
//!
//! Most rules of most roles are about something else, so a rule and a role carry a `Filter`: a few bits that say what they can not
//! match, which is found without a string being looked at.

use crate::authz::{Attributes, Target};

/// Stands for every verb, group or resource, and as a path for every path.
pub const ANY: &str = "*";
/// Before a subresource: of whatever resource.
const OF_ANY_RESOURCE: &str = "*/";

/// Verbs on resources or on paths, as a role lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Verbs; `*` is all.
    pub verbs: Vec<String>,
    /// API groups; `*` is all, an empty one the core group.
    pub groups: Vec<String>,
    /// Resources, with their subresources as `pods/log`; `*` is all with all subresources, `*/log` a subresource of all.
    pub resources: Vec<String>,
    /// Objects; none is all.
    pub names: Vec<String>,
    /// Paths that are no resources; a `*` at the end stands for any rest.
    pub paths: Vec<String>,
}

impl Rule {
    /// Says whether the rule allows it.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        self.has_verb(attributes.verb)
            && match attributes.target {
                Target::Resource { group, resource, subresource, name, .. } => {
                    self.has_group(group) && self.has_resource(resource, subresource) && self.has_name(name)
                }
                Target::Path(path) => self.has_path(path),
            }
    }

    /// How much there is to compare. Empty words count, too.
    pub(super) fn bytes(&self) -> usize {
        let lists = [&self.verbs, &self.groups, &self.resources, &self.names, &self.paths];
        lists.into_iter().flatten().map(|word| word.len() + 1).sum()
    }

    pub(super) fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|listed| listed == ANY || listed == verb)
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.iter().any(|listed| listed == ANY || listed == group)
    }

    pub(super) fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|listed| listed == ANY || is_resource(listed, resource, subresource))
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|listed| listed == name)
    }

    pub(super) fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|listed| covers_path(listed, path))
    }
}

fn is_resource(listed: &str, resource: &str, subresource: &str) -> bool {
    if subresource.is_empty() {
        return listed == resource;
    }
    listed.strip_prefix(OF_ANY_RESOURCE) == Some(subresource)
        || listed.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/')) == Some(subresource)
}

/// Says whether a listed path is this one, or stands for it.
pub(super) fn covers_path(listed: &str, path: &str) -> bool {
    listed == path || listed.ends_with('*') && path.starts_with(listed.trim_end_matches('*'))
}

/// What rules can match: a set of verbs and, twice, one of resources, as the bits of their members' hashes. A bit too many costs a look at
/// the rule; there is never one too few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    verbs: u64,
    resources: [u64; 2],
    has_paths: bool,
}

impl Filter {
    pub(super) fn of(rule: &Rule) -> Filter {
        let bits = |listed: &[String]| {
            let bits = |word: &String| if word == ANY { [u64::MAX; 2] } else { bits([word.as_bytes()]) };
            listed.iter().map(bits).fold([0; 2], either)
        };
        let resources = if rule.groups.is_empty() { [0; 2] } else { bits(&rule.resources) };
        let [verbs, _] = bits(&rule.verbs);
        Filter { verbs, resources, has_paths: !rule.paths.is_empty() }
    }

    /// What either can match.
    pub(super) fn or(self, other: Filter) -> Filter {
        Filter {
            verbs: self.verbs | other.verbs,
            resources: either(self.resources, other.resources),
            has_paths: self.has_paths || other.has_paths,
        }
    }

    /// Says whether it is worth looking at what this was made of.
    pub(super) fn may_allow(self, wanted: Filter) -> bool {
        let ([one, other], [wanted_one, wanted_other]) = (self.resources, wanted.resources);
        let is_resource = one & wanted_one != 0 && other & wanted_other != 0;
        self.verbs & wanted.verbs != 0 && (is_resource || self.has_paths && wanted.has_paths)
    }

    /// The bits of a single permission, on a resource or on a path: whatever covers it has one of each set.
    pub(super) fn wanted_by(verb: &str, resource: Option<&str>) -> Filter {
        let [verbs, _] = bits([verb.as_bytes()]);
        let resources = resource.map(|resource| match resource.split_once('/') {
            None => bits([resource.as_bytes()]),
            Some((_, subresource)) => {
                either(bits([resource.as_bytes()]), bits([OF_ANY_RESOURCE.as_bytes(), subresource.as_bytes()]))
            }
        });
        Filter { verbs, resources: resources.unwrap_or_default(), has_paths: resource.is_none() }
    }

    /// The bits of a question: of each set one must be there.
    pub(super) fn wanted(attributes: &Attributes<'_>) -> Filter {
        let [verbs, _] = bits([attributes.verb.as_bytes()]);
        let (resources, has_paths) = match attributes.target {
            Target::Resource { resource, subresource: "", .. } => (bits([resource.as_bytes()]), false),
            Target::Resource { resource, subresource, .. } => {
                let of_it = bits([resource.as_bytes(), b"/", subresource.as_bytes()]);
                (either(of_it, bits([OF_ANY_RESOURCE.as_bytes(), subresource.as_bytes()])), false)
            }
            Target::Path(_) => ([0; 2], true),
        };
        Filter { verbs, resources, has_paths }
    }
}

fn either(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    let ([a, b], [c, d]) = (one, other);
    [a | c, b | d]
}

/// Two of 64 bits each for a word in parts (FNV-1a, its bits mixed to the top). Whoever chooses words that share their bits gains nothing but
/// some nanoseconds.
fn bits<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u64; 2] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [1 << (mixed >> 58), 1 << (mixed >> 52 & 63)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use crate::authz::Selection;

    fn strings(list: &str) -> Vec<String> {
        list.split_terminator(',').map(|word| if word == "core" { String::new() } else { word.to_owned() }).collect()
    }

    fn allows(rule: &Rule, verb: &str, target: Target<'_>) -> bool {
        let user = Identity::default();
        let attributes = Attributes { user: &user, verb, target };
        let allowed = rule.allows(&attributes);
        // What a rule allows, its filter never hides.
        assert!(!allowed || Filter::of(rule).may_allow(Filter::wanted(&attributes)), "{rule:?} {attributes:?}");
        allowed
    }

    #[test]
    fn resources() {
        let check = |rule: [&str; 4], asked: [&str; 5], expected: bool| {
            let [verbs, groups, resources, names] = rule.map(strings);
            let rule = Rule { verbs, groups, resources, names, paths: Vec::new() };
            let [verb, group, resource, subresource, name] = asked;
            let (version, namespace, selectors) = ("v1", "default", Selection::ALL);
            let target = Target::Resource { group, version, namespace, resource, subresource, name, selectors };
            assert_eq!(allows(&rule, verb, target), expected, "{rule:?} {asked:?}");
        };
        check(["get", "core", "pods", ""], ["get", "", "pods", "", "a"], true);
        check(["get", "core", "pods", ""], ["list", "", "pods", "", ""], false);
        check(["get", "core", "pods", ""], ["get", "apps", "pods", "", "a"], false);
        check(["get", "core", "pods", ""], ["get", "", "pods", "log", "a"], false);
        check(["get", "core", "pods/log", ""], ["get", "", "pods", "log", "a"], true);
        check(["get", "core", "pods/log", ""], ["get", "", "pods", "", "a"], false);
        check(["get", "core", "pods/log", ""], ["get", "", "pods/log", "", "a"], true);
        check(["get", "core", "podslog,pods/", ""], ["get", "", "pods", "log", "a"], false);
        check(["get", "core", "*/log", ""], ["get", "", "pods", "log", "a"], true);
        check(["get", "core", "*/log", ""], ["get", "", "pods", "logs", "a"], false);
        check(["get", "core", "*/log", ""], ["get", "", "pods", "", "a"], false);
        // `pods/*` is the subresource of this name, as it is upstream.
        check(["get", "core", "pods/*", ""], ["get", "", "pods", "log", "a"], false);
        check(["*", "*", "*", ""], ["impersonate", "", "users", "x", "a"], true);
        check(["get", "core", "*", ""], ["get", "", "pods", "log", "a"], true);
        check(["get", "core", "pods", "a,b"], ["get", "", "pods", "", "b"], true);
        check(["get", "core", "pods", "a,b"], ["get", "", "pods", "", "c"], false);
        check(["list", "core", "pods", "a,b"], ["list", "", "pods", "", ""], false);
        check(["get", "core", "pods", "*"], ["get", "", "pods", "", "a"], false);
        check(["", "core", "pods", ""], ["get", "", "pods", "", "a"], false);
        check(["get", "", "pods", ""], ["get", "", "pods", "", "a"], false);
        check(["get", "core", "", ""], ["get", "", "pods", "", "a"], false);
        check(["GET", "core", "pods", ""], ["get", "", "pods", "", "a"], false);
    }

    #[test]
    fn paths() {
        let check = |paths: &str, path: &str, expected: bool| {
            let rule = Rule { verbs: strings("get"), paths: strings(paths), ..Rule::default() };
            assert_eq!(allows(&rule, "get", Target::Path(path)), expected, "{paths} {path}");
            assert!(!allows(&rule, "post", Target::Path(path)));
        };
        check("/metrics", "/metrics", true);
        check("/metrics", "/metrics/", false);
        check("/metrics", "/metrics/a", false);
        check("/logs/*", "/logs/a/b", true);
        check("/logs/*", "/logs/", true);
        check("/logs/*", "/logs", false);
        check("/logs*", "/logs", true);
        check("/logs**", "/logs-a", true);
        check("/a/*/b", "/a/c/b", false);
        check("*", "/x", true);
        check("", "/x", false);
    }
}
