//! The index against a plain reading of everything, on random policies that change step by step.

use super::*;

/// Numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn some(&mut self, from: &[&str], max: usize) -> Vec<String> {
        (0..self.below(max + 1)).map(|_| self.pick(from).to_owned()).collect()
    }
}

const VERBS: [&str; 4] = ["get", "list", "delete", "*"];
const GROUPS: [&str; 3] = ["", "apps", "*"];
const RESOURCES: [&str; 7] = ["pods", "pods/log", "*/log", "*/scale", "secrets", "pods/*", "*"];
const NAMES: [&str; 3] = ["a", "b", "*"];
const PATHS: [&str; 5] = ["/x", "/x/*", "/x/y", "/*", "*"];
const USERS: [&str; 4] = ["ana", "bo", "system:serviceaccount:one:bot", "system:serviceaccount:two:bot"];
const TEAMS: [&str; 3] = ["devs", "ops", "all"];
const SPACES: [&str; 3] = ["", "one", "two"];
const ROLES: [&str; 4] = ["r", "s", "t", "gone"];

/// All that was set, as plain lists.
#[derive(Default)]
struct Plain {
    roles: BTreeMap<Id, StoredRole>,
    bindings: BTreeMap<Id, Binding>,
}

impl Plain {
    /// The rules of a role, with those that it gathers, in whatever order.
    fn rules(&self, at: &Id, seen: &mut Vec<Id>) -> Option<Vec<Rule>> {
        let role = self.roles.get(at)?;
        seen.push(at.clone());
        let mut rules = role.rules.clone();
        for (other, held) in &self.roles {
            let of_cluster = at.namespace.is_empty() && other.namespace.is_empty() && !seen.contains(other);
            let gathered = role.gathers.iter().flatten().any(|by| by.matches(|key| held.labels.get(key).map(|v| &**v)));
            if of_cluster && gathered {
                rules.extend(self.rules(other, seen)?);
            }
        }
        Some(rules)
    }

    /// Reads everything from the beginning to the end, as upstream does.
    fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        let namespace = match attributes.target {
            Target::Resource { namespace, .. } => namespace,
            Target::Path(_) => "",
        };
        let mut errors: Vec<String> = Vec::new();
        let local = self.bindings.iter().filter(|(at, _)| !namespace.is_empty() && at.namespace == namespace);
        for (at, binding) in self.bindings.iter().filter(|(at, _)| at.namespace.is_empty()).chain(local) {
            let applies = |subject: &&Subject| match subject {
                Subject::User(name) => attributes.user.name == *name,
                Subject::Group(name) => attributes.user.groups.contains(name),
                Subject::ServiceAccount { namespace, name } => {
                    let namespace = if namespace.is_empty() { &at.namespace } else { namespace };
                    attributes.user.name == format!("system:serviceaccount:{namespace}:{name}")
                }
            };
            let Some(subject) = binding.subjects.iter().find(applies) else { continue };
            let is_local = binding.role.kind == RoleKind::Role;
            let role = Id::new(if is_local { at.namespace.as_str() } else { "" }, binding.role.name.as_str());
            let rules = if is_local && at.namespace.is_empty() { None } else { self.rules(&role, &mut Vec::new()) };
            let Some(rules) = rules else {
                let kind = if is_local { "role" } else { "clusterrole" };
                let error = format!("{kind}.rbac.authorization.k8s.io {:?} not found", binding.role.name);
                errors.extend((!errors.contains(&error)).then_some(error));
                continue;
            };
            if rules.iter().any(|rule| plainly_allows(rule, attributes)) {
                let (kind, slash) = if at.namespace.is_empty() { ("ClusterRole", "") } else { ("Role", "/") };
                return Verdict::allow(format!(
                    "RBAC: allowed by {kind}Binding \"{}{slash}{}\" of {} {:?} to {}",
                    at.name,
                    at.namespace,
                    binding.role.kind(),
                    binding.role.name,
                    subject.describe(&at.namespace),
                ));
            }
        }
        let reason = match errors.as_slice() {
            [] => String::new(),
            [only] => format!("RBAC: {only}"),
            several => format!("RBAC: [{}]", several.join(", ")),
        };
        Verdict::NoOpinion { reason: reason.into() }
    }
}

fn plainly_allows(rule: &Rule, attributes: &Attributes<'_>) -> bool {
    let has = |list: &[String], word: &str| list.iter().any(|held| held == "*" || held == word);
    if !has(&rule.verbs, attributes.verb) {
        return false;
    }
    match attributes.target {
        Target::Path(path) => rule.paths.iter().any(|held| {
            held == path || held.strip_suffix('*').is_some_and(|begin| path.starts_with(begin.trim_end_matches('*')))
        }),
        Target::Resource { group, resource, subresource, name, .. } => {
            let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            let of_any = format!("*/{subresource}");
            let is_named = rule.names.is_empty() || rule.names.iter().any(|held| held == name);
            let is_of_any = !subresource.is_empty() && rule.resources.contains(&of_any);
            has(&rule.groups, group) && (has(&rule.resources, &full) || is_of_any) && is_named
        }
    }
}

fn random_rules(random: &mut Random) -> Vec<Rule> {
    let rules = (0..random.below(5)).map(|_| Rule {
        verbs: random.some(&VERBS, 3),
        groups: random.some(&GROUPS, 3),
        resources: random.some(&RESOURCES, 4),
        names: if random.below(3) == 0 { random.some(&NAMES, 2) } else { Vec::new() },
        paths: if random.below(3) == 0 { random.some(&PATHS, 2) } else { Vec::new() },
    });
    rules.collect()
}

fn random_role(random: &mut Random) -> StoredRole {
    let rules = random_rules(random);
    let label = |random: &mut Random| (random.pick(&["x", "y"]).to_owned(), "1".to_owned());
    let labels = (0..random.below(3)).map(|_| label(random)).collect();
    let selector = |random: &mut Random| Selector::parse(random.pick(&["x=1", "y", "!x", "x,y"])).unwrap();
    let gathers = (random.below(4) == 0).then(|| (0..random.below(3)).map(|_| selector(random)).collect());
    StoredRole { rules, labels, gathers }
}

fn random_binding(random: &mut Random) -> Binding {
    let subjects = (0..random.below(6)).map(|_| match random.below(3) {
        0 => Subject::User(random.pick(&USERS).to_owned()),
        1 => Subject::Group(random.pick(&TEAMS).to_owned()),
        _ => Subject::ServiceAccount { namespace: random.pick(&SPACES).to_owned(), name: "bot".to_owned() },
    });
    let subjects = subjects.collect();
    let kind = if random.below(2) == 0 { RoleKind::ClusterRole } else { RoleKind::Role };
    Binding { role: RoleRef { kind, name: random.pick(&ROLES).to_owned() }, subjects }
}

/// One change to both.
fn change_both(random: &mut Random, policy: &mut Policy, plain: &mut Plain) {
    let space = random.pick(&SPACES);
    let role = Id::new(space, random.pick(&ROLES[..3]));
    let bound = Id::new(space, format!("b{}", random.below(6)));
    match random.below(6) {
        0 => {
            plain.roles.remove(&role);
            policy.change(|change| change.remove_role(&role));
        }
        1 => {
            plain.bindings.remove(&bound);
            policy.change(|change| change.remove_binding(&bound));
        }
        2 | 3 => {
            let stored = random_role(random);
            plain.roles.insert(role.clone(), stored.clone());
            policy.change(|change| change.set_role(role, stored));
        }
        _ => {
            let binding = random_binding(random);
            plain.bindings.insert(bound.clone(), binding.clone());
            policy.change(|change| change.set_binding(bound, binding));
        }
    }
}

fn random_question<'a>(random: &mut Random, user: &'a Identity) -> Attributes<'a> {
    let verb = random.pick(&VERBS);
    let target = if random.below(4) == 0 {
        Target::Path(random.pick(&["/x", "/x/", "/x/y", "/z", ""]))
    } else {
        Target::Resource {
            group: random.pick(&GROUPS),
            version: "v1",
            namespace: random.pick(&SPACES),
            resource: random.pick(&["pods", "secrets", "*"]),
            subresource: random.pick(&["", "", "log", "scale", "*"]),
            name: random.pick(&["", "a", "b"]),
            selectors: Selection::ALL,
        }
    };
    Attributes { user, verb, target }
}

/// Security review, RBAC escalation: who may give rules gains nothing by being given them.
#[test]
fn what_may_be_given_is_allowed_already() {
    const SEEDS: u64 = 4_000;
    let ana = user("ana", &[]);
    let (mut given_away, mut allowed) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (held, mut given) = (random_rules(&mut random), random_rules(&mut random));
        given.truncate(1);
        if not_held(&ana, &held, "", &given).is_some() {
            continue;
        }
        given_away += u32::from(!given.is_empty());
        for _ in 0..40 {
            let asked = random_question(&mut random, &ana);
            if given.iter().any(|rule| rule.allows(&asked)) {
                allowed += 1;
                assert!(held.iter().any(|rule| rule.allows(&asked)), "seed {seed}: {held:?} {given:?} {asked:?}");
            }
        }
    }
    assert!(given_away > 200 && allowed > 200, "{given_away} {allowed}");
}

#[test]
fn the_index_decides_as_a_plain_reading_does() {
    const SEEDS: u64 = 150;
    const CHANGES: usize = 60;
    let mut allowed = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (mut policy, mut plain) = (Policy::default(), Plain::default());
        for step in 0..CHANGES {
            change_both(&mut random, &mut policy, &mut plain);
            for _ in 0..4 {
                let groups: Vec<String> = random.some(&TEAMS, 3);
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                let user = user(random.pick(&USERS), &groups);
                let attributes = random_question(&mut random, &user);
                let (found, expected) = (policy.decide(&attributes), plain.decide(&attributes));
                assert_eq!(found, expected, "seed {seed}, step {step}: {attributes:?}");
                let is_explained = matches!(explain(&policy, &attributes), Explanation::Allowed(_));
                assert_eq!(is_explained, expected.is_allow(), "seed {seed}, step {step}: {attributes:?}");
                allowed += u32::from(expected.is_allow());
            }
        }
    }
    // The policies are such that both answers are common.
    assert!((2_000..30_000).contains(&allowed), "{allowed}");
}
