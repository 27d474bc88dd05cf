//! An explanation as a person reads it.

use std::fmt::Write as _;

use portcullis_gate::rbac::cover::shown;
use portcullis_gate::rbac::explain::{Allowing, Close, Denied, Explanation, Part, Smallest};
use portcullis_gate::rbac::{GROUP, Id, RoleKind, Rule, Subject};
use portcullis_gate::{Attributes, Target};
use serde_json::Value;

use super::server::Decided;

/// Puts an explanation into words. What the server decides is said where roles alone do not tell it.
pub(super) fn explanation(attributes: &Attributes<'_>, explanation: &Explanation, decided: Option<&Decided>) -> String {
    let mut text = String::new();
    let by_roles = matches!(explanation, Explanation::Allowed(_));
    let is_allowed = decided.map_or(by_roles, |decided| decided.allowed);
    line(&mut text, &action(attributes, is_allowed));
    match decided {
        Some(decided) if decided.allowed && !by_roles => {
            // What a role would have to say is of no use to who has another way.
            line(&mut text, &format!("\nNo role does it, another authoriser of the server does{}", reason(decided)));
            return text;
        }
        Some(decided) if !decided.allowed && by_roles => {
            line(
                &mut text,
                &format!("\nAnother authoriser of the server refuses it, whatever roles allow{}", reason(decided)),
            );
        }
        _ => {}
    }
    match explanation {
        Explanation::Allowed(by) => allowed(&mut text, by),
        Explanation::Denied(denied) => refused(&mut text, denied),
    }
    text
}

fn reason(decided: &Decided) -> String {
    if decided.reason.is_empty() { String::new() } else { format!(": {}", decided.reason) }
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn action(attributes: &Attributes<'_>, is_allowed: bool) -> String {
    let may = if is_allowed { "may" } else { "may not" };
    let (user, verb) = (&attributes.user.name, attributes.verb);
    match attributes.target {
        Target::Path(path) => format!("{user} {may} {verb} {path}"),
        Target::Resource { group, namespace, resource, subresource, name, .. } => {
            let mut what = resource.to_owned();
            if !group.is_empty() && group != "*" {
                let _ = write!(what, ".{group}");
            }
            if !subresource.is_empty() {
                let _ = write!(what, "/{subresource}");
            }
            if !name.is_empty() {
                let _ = write!(what, " {name:?}");
            }
            if namespace.is_empty() && !name.is_empty() {
                return format!("{user} {may} {verb} {what}");
            }
            let place = if namespace.is_empty() {
                "in the whole cluster".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            format!("{user} {may} {verb} {what} {place}")
        }
    }
}

fn allowed(text: &mut String, by: &[Allowing]) {
    for (at, by) in by.iter().enumerate() {
        line(text, if at == 0 { "\nBecause" } else { "\nAnd without that, because" });
        line(text, &format!("  {}", by.reason));
        if by.rule != Rule::default() {
            line(text, &format!("  {}", shown(&by.rule)));
        }
    }
}

fn refused(text: &mut String, denied: &Denied) {
    if !denied.closest.is_empty() {
        line(text, "\nWhat comes closest");
        denied.closest.iter().for_each(|close| closest(text, close));
    }
    if !denied.missing.is_empty() {
        line(text, "\nGiven, and not there");
        denied.missing.iter().for_each(|missing| line(text, &format!("  {missing}")));
    }
    if !denied.enough.is_empty() {
        line(text, "\nRoles that would be enough, if they were bound");
        denied.enough.iter().for_each(|role| line(text, &format!("  {}", named("Role", role))));
    }
    line(text, "\nThe smallest role that would be enough\n");
    text.push_str(&manifest(&denied.smallest));
}

/// `ClusterRole "x"`, `Role "x" of the namespace "y"`.
fn named(kind: &str, id: &Id) -> String {
    if id.namespace.is_empty() {
        format!("Cluster{kind} {:?}", id.name)
    } else {
        format!("{kind} {:?} of the namespace {:?}", id.name, id.namespace)
    }
}

fn closest(text: &mut String, close: &Close) {
    let (kind, role) = &close.role;
    line(text, &format!("  {} gives {kind} {role:?}", named("RoleBinding", &close.binding)));
    line(text, &format!("    {}", shown(&close.rule)));
    let lacks: Vec<&str> = close.lacks.iter().map(|part| lacking(*part)).collect();
    line(text, &format!("    {}", lacks.join(", ")));
}

fn lacking(part: Part) -> &'static str {
    match part {
        Part::Group => "of another API group",
        Part::Resource => "on other resources",
        Part::Path => "on other paths",
        Part::Namespace => "in another namespace",
        Part::Subject => "to others",
        Part::Verb => "without this verb",
        Part::Name => "only for other objects",
    }
}

/// The role and its binding, ready for `kubectl apply -f -`. Texts are quoted as JSON has them, which YAML reads.
fn manifest(small: &Smallest) -> String {
    let prefix = if small.role_kind() == RoleKind::ClusterRole { "Cluster" } else { "" };
    let quoted = |text: &str| Value::from(text).to_string();
    let name = quoted(&small.name);
    let mut metadata = format!("metadata:\n  name: {name}\n");
    if !small.namespace.is_empty() {
        let _ = writeln!(metadata, "  namespace: {}", quoted(&small.namespace));
    }
    let lists = [
        ("verbs", &small.rule.verbs),
        ("apiGroups", &small.rule.groups),
        ("resources", &small.rule.resources),
        ("resourceNames", &small.rule.names),
        ("nonResourceURLs", &small.rule.paths),
    ];
    let mut rule = String::new();
    for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let list: Vec<String> = list.iter().map(|word| quoted(word)).collect();
        let begin = if rule.is_empty() { "- " } else { "  " };
        let _ = writeln!(rule, "{begin}{field}: [{}]", list.join(", "));
    }
    let subject = match &small.subject {
        Subject::User(name) => format!("- kind: User\n  apiGroup: {GROUP}\n  name: {}\n", quoted(name)),
        Subject::Group(name) => format!("- kind: Group\n  apiGroup: {GROUP}\n  name: {}\n", quoted(name)),
        Subject::ServiceAccount { namespace, name } => {
            format!("- kind: ServiceAccount\n  namespace: {}\n  name: {}\n", quoted(namespace), quoted(name))
        }
    };
    format!(
        "apiVersion: {GROUP}/v1\nkind: {prefix}Role\n{metadata}rules:\n{rule}---\n\
         apiVersion: {GROUP}/v1\nkind: {prefix}RoleBinding\n{metadata}\
         roleRef:\n  apiGroup: {GROUP}\n  kind: {prefix}Role\n  name: {name}\nsubjects:\n{subject}"
    )
}
