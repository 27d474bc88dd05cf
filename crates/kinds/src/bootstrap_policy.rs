//! The roles and bindings that every cluster begins with (upstream: `bootstrappolicy`), as a table.
//!
//! `facts/rbac.facts` was written from what a 1.36 server serves right after its start:
//!
//! ```text
//! clusterrole edit from=edit to=admin
//! clusterrole system:kube-aggregator
//!  get | core | endpoints,services
//! clusterrole system:public-info-viewer
//!  get | - | /healthz,/version
//! role kube-system/system::leader-locking-kube-scheduler
//!  get,update | coordination.k8s.io | leases | kube-scheduler
//! rolebinding kube-system/reader role=extension-apiserver-authentication-reader
//!  User system:kube-scheduler
//!  ServiceAccount kube-system/token-cleaner
//! ```
//!
//! A rule has verbs, groups, resources and the names it is limited to, or `-` for the groups and then paths. `core` stands for the group
//! without a name. `from` says from which aggregate a role gets its rules, `to` which one gets those of this role. A binding is to the
//! role of its own name unless it says otherwise, in its own namespace.

use std::sync::OnceLock;

use thiserror::Error;

const TABLE: &str = include_str!("../facts/rbac.facts");

/// Roles and bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The roles, those of the cluster first.
    pub roles: Vec<Role>,
    /// The bindings, those of the cluster first.
    pub bindings: Vec<Binding>,
}

/// A role of the cluster or of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Empty for one of the cluster.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The aggregate from which it gets its rules; empty for one that has its own.
    pub from: &'static str,
    /// The aggregate that gets its rules; empty when none does.
    pub to: &'static str,
    /// What it allows.
    pub rules: Vec<Rule>,
}

/// What is allowed: verbs on resources or on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs.
    pub verbs: Vec<&'static str>,
    /// API groups; that without a name is empty.
    pub groups: Vec<&'static str>,
    /// Resources, with their subresources as `pods/log`.
    pub resources: Vec<&'static str>,
    /// Objects; all when it is empty.
    pub names: Vec<&'static str>,
    /// Paths that are no resources; a `*` at the end stands for any rest.
    pub paths: Vec<&'static str>,
}

/// Who has a role, in the cluster or in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Empty for one of the cluster.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The role; one of the cluster, or of the binding's namespace when it has one.
    pub role: &'static str,
    /// Who has it.
    pub subjects: Vec<Subject>,
}

/// Somebody who can have a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user of this name.
    User(&'static str),
    /// Everybody in this group.
    Group(&'static str),
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: &'static str,
        /// Its name.
        name: &'static str,
    },
}

/// Why a table cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A line begins nothing that is known.
    #[error("line {0} of the bootstrap policy begins neither a role nor a binding")]
    UnknownHead(usize),
    /// A line that belongs to a role is no rule.
    #[error("line {0} of the bootstrap policy is no rule")]
    MalformedRule(usize),
    /// A line that belongs to a binding is no subject.
    #[error("line {0} of the bootstrap policy is no subject")]
    MalformedSubject(usize),
    /// A line belongs to nothing.
    #[error("line {0} of the bootstrap policy belongs to no role and no binding")]
    Orphan(usize),
}

/// The bootstrap policy of 1.36, read on first use.
pub fn bootstrap_policy() -> Result<&'static Policy, PolicyError> {
    static POLICY: OnceLock<Result<Policy, PolicyError>> = OnceLock::new();
    POLICY.get_or_init(|| Policy::load(TABLE)).as_ref().map_err(Clone::clone)
}

/// What the indented lines belong to.
#[derive(Clone, Copy)]
enum Block {
    None,
    Role,
    Binding,
}

impl Policy {
    /// Reads a table.
    pub fn load(table: &'static str) -> Result<Policy, PolicyError> {
        let mut policy = Policy::default();
        let mut block = Block::None;
        for (number, line) in (1..).zip(table.lines()) {
            let Some(line) = line.strip_prefix(' ') else {
                block = policy.begin(line).ok_or(PolicyError::UnknownHead(number))?;
                continue;
            };
            match (block, policy.roles.last_mut(), policy.bindings.last_mut()) {
                (Block::Role, Some(role), _) => {
                    role.rules.push(Rule::read(line).ok_or(PolicyError::MalformedRule(number))?);
                }
                (Block::Binding, _, Some(binding)) => {
                    binding.subjects.push(Subject::read(line).ok_or(PolicyError::MalformedSubject(number))?);
                }
                _ => return Err(PolicyError::Orphan(number)),
            }
        }
        Ok(policy)
    }

    fn begin(&mut self, line: &'static str) -> Option<Block> {
        let mut words = line.split(' ');
        let (kind, path) = (words.next()?, words.next()?);
        let (namespace, name) = match kind {
            "clusterrole" | "clusterrolebinding" => ("", path),
            "role" | "rolebinding" => path.split_once('/').filter(|(namespace, _)| !namespace.is_empty())?,
            _ => return None,
        };
        if name.is_empty() {
            return None;
        }
        if kind.ends_with("binding") {
            let mut binding = Binding { namespace, name, role: name, subjects: Vec::new() };
            for word in words {
                binding.role = word.strip_prefix("role=").filter(|role| !role.is_empty())?;
            }
            self.bindings.push(binding);
            return Some(Block::Binding);
        }
        let mut role = Role { namespace, name, ..Role::default() };
        for word in words {
            match word.split_once('=')? {
                ("from", aggregate) if namespace.is_empty() => role.from = aggregate,
                ("to", aggregate) if namespace.is_empty() => role.to = aggregate,
                _ => return None,
            }
        }
        self.roles.push(role);
        Some(Block::Role)
    }
}

impl Rule {
    fn read(line: &'static str) -> Option<Rule> {
        let mut columns = line.split(" | ");
        let (verbs, groups, targets) = (list(columns.next()?)?, list(columns.next()?)?, list(columns.next()?)?);
        let names = columns.next().map_or(Some(Vec::new()), list)?;
        if columns.next().is_some() {
            return None;
        }
        if groups == ["-"] {
            return names.is_empty().then(|| Rule { verbs, paths: targets, ..Rule::default() });
        }
        let groups = groups.into_iter().map(|group| if group == "core" { "" } else { group }).collect();
        Some(Rule { verbs, groups, resources: targets, names, paths: Vec::new() })
    }
}

/// A column: words between commas, none of them empty.
pub(crate) fn list(column: &'static str) -> Option<Vec<&'static str>> {
    let words: Vec<&str> = column.split(',').collect();
    words.iter().all(|word| !word.is_empty() && !word.contains(' ')).then_some(words)
}

impl Subject {
    pub(crate) fn read(line: &'static str) -> Option<Subject> {
        match line.split_once(' ')? {
            ("User", name) => Some(Subject::User(name)),
            ("Group", name) => Some(Subject::Group(name)),
            ("ServiceAccount", path) => {
                let (namespace, name) = path.split_once('/')?;
                Some(Subject::ServiceAccount { namespace, name })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_table_has_what_a_cluster_begins_with() {
        let policy = bootstrap_policy().unwrap();
        let cluster = |namespace: &str| namespace.is_empty();
        let roles = policy.roles.iter().filter(|role| cluster(role.namespace)).count();
        let bindings = policy.bindings.iter().filter(|binding| cluster(binding.namespace)).count();
        assert_eq!((roles, policy.roles.len() - roles), (69, 7));
        assert_eq!((bindings, policy.bindings.len() - bindings), (50, 7));
        assert_eq!(policy.roles.iter().map(|role| role.rules.len()).sum::<usize>(), 322);
        assert_eq!(policy.bindings.iter().map(|binding| binding.subjects.len()).sum::<usize>(), 61);
    }

    #[test]
    fn every_name_is_there_once_and_every_binding_has_its_role() {
        let policy = bootstrap_policy().unwrap();
        let roles: BTreeSet<_> = policy.roles.iter().map(|role| (role.namespace, role.name)).collect();
        assert_eq!(roles.len(), policy.roles.len());
        let bindings: BTreeSet<_> = policy.bindings.iter().map(|binding| (binding.namespace, binding.name)).collect();
        assert_eq!(bindings.len(), policy.bindings.len());
        for binding in &policy.bindings {
            assert!(roles.contains(&(binding.namespace, binding.role)), "{binding:?}");
        }
        for role in &policy.roles {
            assert_eq!(role.rules.is_empty(), !role.from.is_empty(), "{role:?}");
            assert!(
                ["", "admin", "edit", "view"].contains(&role.from) && ["", "admin", "edit", "view"].contains(&role.to)
            );
        }
    }

    /// A18: these and no others; all were in upstream's policy before.
    #[test]
    fn a18_only_upstreams_system_roles_have_wildcards() {
        let policy = bootstrap_policy().unwrap();
        let (mut whole, mut partial) = (BTreeMap::new(), BTreeMap::new());
        for role in &policy.roles {
            for rule in &role.rules {
                let lists = [&rule.verbs, &rule.groups, &rule.resources, &rule.names, &rule.paths];
                for word in lists.into_iter().flatten().filter(|word| word.contains('*')) {
                    let counts = if *word == "*" { &mut whole } else { &mut partial };
                    *counts.entry((role.namespace, role.name)).or_insert(0) += 1;
                }
            }
        }
        let check = |found: BTreeMap<(&str, &str), i32>, expected: &[(&str, i32)]| {
            assert_eq!(found, expected.iter().map(|(name, count)| (("", *name), *count)).collect());
        };
        check(
            whole,
            &[
                ("cluster-admin", 5),
                ("system:kube-controller-manager", 2),
                ("system:kubelet-api-admin", 2),
                ("system:controller:disruption-controller", 1),
                ("system:controller:generic-garbage-collector", 2),
                ("system:controller:horizontal-pod-autoscaler", 3),
                ("system:controller:namespace-controller", 2),
                ("system:controller:resourcequota-controller", 2),
            ],
        );
        check(
            partial,
            &[
                ("system:controller:disruption-controller", 1),
                ("system:controller:horizontal-pod-autoscaler", 1),
                ("system:discovery", 3),
                ("system:monitoring", 3),
            ],
        );
    }

    /// Whoever has no credentials gets one role, which reads nothing but health and version.
    #[test]
    fn anonymous_users_get_public_information_only() {
        let policy = bootstrap_policy().unwrap();
        let everybody = Subject::Group("system:unauthenticated");
        let bound: Vec<&str> = policy
            .bindings
            .iter()
            .filter(|binding| {
                binding.subjects.contains(&everybody) || binding.subjects.contains(&Subject::User("system:anonymous"))
            })
            .map(|binding| binding.role)
            .collect();
        assert_eq!(bound, ["system:public-info-viewer"]);
        let role = policy.roles.iter().find(|role| role.name == "system:public-info-viewer").unwrap();
        let [rule] = role.rules.as_slice() else { panic!("{role:?}") };
        assert_eq!(rule.verbs, ["get"]);
        assert_eq!(rule.paths, ["/healthz", "/livez", "/readyz", "/version", "/version/"]);
    }

    #[test]
    fn tables_are_read() {
        let check =
            |table: &'static str, expected: Result<Policy, PolicyError>| assert_eq!(Policy::load(table), expected);
        let role = Role { name: "a", ..Role::default() };
        let binding = Binding { namespace: "n", name: "b", role: "b", subjects: Vec::new() };
        let with_role = |role: Role| Ok(Policy { roles: vec![role], ..Policy::default() });
        let with_binding = |binding: Binding| Ok(Policy { bindings: vec![binding], ..Policy::default() });
        check("", Ok(Policy::default()));
        check("clusterrole a", with_role(role.clone()));
        check("clusterrole a from=x to=y", with_role(Role { from: "x", to: "y", ..role.clone() }));
        check("role n/a", with_role(Role { namespace: "n", ..role.clone() }));
        let rule =
            Rule { verbs: vec!["get", "list"], groups: vec!["", "g"], resources: vec!["pods"], ..Rule::default() };
        check(
            "clusterrole a\n get,list | core,g | pods",
            with_role(Role { rules: vec![rule.clone()], ..role.clone() }),
        );
        let named = Rule { names: vec!["x", "y"], ..rule };
        check("clusterrole a\n get,list | core,g | pods | x,y", with_role(Role { rules: vec![named], ..role.clone() }));
        let paths = Rule { verbs: vec!["get"], paths: vec!["/a", "/b/*"], ..Rule::default() };
        check("clusterrole a\n get | - | /a,/b/*", with_role(Role { rules: vec![paths], ..role }));
        check("rolebinding n/b", with_binding(binding.clone()));
        check("rolebinding n/b role=c", with_binding(Binding { role: "c", ..binding.clone() }));
        let subjects =
            vec![Subject::User("u"), Subject::Group("g"), Subject::ServiceAccount { namespace: "n", name: "s" }];
        check("rolebinding n/b\n User u\n Group g\n ServiceAccount n/s", with_binding(Binding { subjects, ..binding }));
        for head in [
            "a",
            "role a",
            "role /a",
            "clusterrole ",
            "clusterrole a x=y",
            "role n/a to=x",
            "rolebinding n/b to=x",
            "rolebinding n/b role=",
        ] {
            check(head, Err(PolicyError::UnknownHead(1)));
        }
        for table in [
            "clusterrole a\n get",
            "clusterrole a\n get | core",
            "clusterrole a\n get | core | ",
            "clusterrole a\n get, | core | pods",
            "clusterrole a\n get | - | /a | x",
            "clusterrole a\n get | core | pods | x | y",
        ] {
            check(table, Err(PolicyError::MalformedRule(2)));
        }
        for table in ["rolebinding n/b\n User", "rolebinding n/b\n Robot r", "rolebinding n/b\n ServiceAccount s"] {
            check(table, Err(PolicyError::MalformedSubject(2)));
        }
        check(" get | core | pods", Err(PolicyError::Orphan(1)));
    }
}
