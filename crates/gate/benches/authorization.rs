//! What a decision of RBAC costs with 1,000 bindings: for a user that none of them names, one that all of them name and only the last
//! allows, and a service account with the groups that they have.
//!
//! The aim is 5 us. A request is decided at least once, so this is a part of every answer.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_gate::rbac::{Binding, Id, Policy, RoleKind, RoleRef, Rule, StoredRole, Subject};
use portcullis_gate::{Attributes, Identity, Selection, Target};

const BINDINGS: usize = 1000;
const NAMESPACE: &str = "shop";

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Four rules on twelve resources, as roles of operators have them.
fn role(number: usize) -> StoredRole {
    let rule = |verbs: &[&str], group: &str, resources: &[&str]| Rule {
        verbs: words(verbs),
        groups: words(&[group]),
        resources: resources.iter().map(|resource| format!("{resource}{number}")).collect(),
        ..Rule::default()
    };
    let reads = ["get", "list", "watch"];
    let rules = vec![
        rule(&reads, "", &["pods", "services", "endpoints", "nodes"]),
        rule(&["create", "update", "patch", "delete"], "apps", &["deployments", "replicasets", "daemonsets"]),
        rule(&["*"], "batch", &["jobs", "cronjobs", "jobs/status"]),
        rule(&reads, "storage.k8s.io", &["storageclasses", "csinodes"]),
    ];
    StoredRole { rules, ..StoredRole::default() }
}

/// As many roles as bindings, half of the bindings in one namespace. The last of all allows what is asked.
fn policy(subject: impl Fn(usize) -> Subject) -> Policy {
    let mut policy = Policy::default();
    policy.change(|change| {
        for number in 0..BINDINGS {
            let name = format!("role-{number:04}");
            let mut role = role(number);
            if number + 1 == BINDINGS {
                let wanted = Rule {
                    verbs: words(&["get"]),
                    groups: words(&[""]),
                    resources: words(&["secrets"]),
                    ..Rule::default()
                };
                role.rules.push(wanted);
            }
            let namespace = if number < BINDINGS / 2 { "" } else { NAMESPACE };
            change.set_role(Id::new("", name.as_str()), role);
            let role = RoleRef { kind: RoleKind::ClusterRole, name };
            let binding = Binding { role, subjects: vec![subject(number)] };
            change.set_binding(Id::new(namespace, format!("binding-{number:04}")), binding);
        }
    });
    policy
}

fn user(name: &str, groups: &[&str]) -> Identity {
    Identity { name: name.to_owned(), groups: words(groups), ..Identity::default() }
}

fn decide(criterion: &mut Criterion) {
    let others = policy(|number| Subject::User(format!("user-{number}")));
    let one = policy(|_| Subject::User("ana".to_owned()));
    let groups = policy(|number| Subject::Group(format!("group-{}", number % 5)));
    let ana = user("ana", &["system:authenticated"]);
    let account_groups = ["group-0", "group-1", "group-2", "group-3", "group-4"];
    let account = user("system:serviceaccount:shop:cart", &account_groups);
    let target = Target::Resource {
        group: "",
        version: "v1",
        namespace: NAMESPACE,
        resource: "secrets",
        subresource: "",
        name: "key",
        selectors: Selection::ALL,
    };
    let mut measure = |name: &str, policy: &Policy, user: &Identity, expected: bool| {
        let attributes = Attributes { user, verb: "get", target };
        assert_eq!(policy.decide(&attributes).is_allow(), expected);
        criterion.bench_function(name, |bencher| bencher.iter(|| policy.decide(black_box(&attributes))));
    };
    measure("rbac/no binding names the user", &others, &ana, false);
    measure("rbac/all name the user, the last allows", &one, &ana, true);
    measure("rbac/all name one of five groups, the last allows", &groups, &account, true);
}

fn change(criterion: &mut Criterion) {
    let mut policy = policy(|_| Subject::User("ana".to_owned()));
    let (at, role) = (Id::new("", "role-0500"), role(500));
    criterion.bench_function("rbac/a role of 1,000 is replaced", |bencher| {
        bencher.iter(|| policy.change(|change| change.set_role(at.clone(), role.clone())));
    });
}

criterion_group!(benches, decide, change);
criterion_main!(benches);
