//! Roles and bindings as they are printed: documents that `kubectl apply -f -` takes, and comments on what they leave out.

use std::collections::BTreeSet;
use std::io::{self, Write};

use portcullis_gate::rbac::{GROUP, Rule, Subject};
use portcullis_model::yaml;
use serde_json::{Value, json};

use super::permissions::ScopeRules;
use super::person::Roles;

/// What names of roles begin with when none is given.
const NAME_PREFIX: &str = "from-audit-";
/// Bytes of a role that a server still takes.
const ROLE_BYTES_MAX: usize = 1 << 20;

/// In which form roles are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Documents with comments
    Yaml,
    /// A List; the comments go to the standard error
    Json,
}

/// Permissions behind which the server asks for others that no event tells of.
const FURTHER: [(&[&str], &str, &[&str], &str); 4] = [
    (
        &["create", "update", "patch"],
        GROUP,
        &["roles", "clusterroles"],
        "to write roles, a user must hold all that is in them, or have the verb escalate on them",
    ),
    (
        &["create", "update", "patch"],
        GROUP,
        &["rolebindings", "clusterrolebindings"],
        "to write bindings, a user must hold all that their roles allow, or have the verb bind on those roles",
    ),
    (
        &["update", "patch"],
        "certificates.k8s.io",
        &["certificatesigningrequests/approval"],
        "to approve certificates, a user needs the verb approve on the signer",
    ),
    (
        &["update", "patch"],
        "certificates.k8s.io",
        &["certificatesigningrequests/status"],
        "to sign certificates, a user needs the verb sign on the signer",
    ),
];

/// Names roles and bindings: as it was given, or after whom they are for. No two users share a name.
pub(super) fn name(roles: &mut [Roles], given: Option<&str>) {
    let mut taken = BTreeSet::new();
    for role in roles {
        let wished = given.map_or_else(|| default_name(&role.subject), str::to_owned);
        let numbered = (2_u64..).map(|number| format!("{wished}-{number}"));
        let free = std::iter::once(wished.clone()).chain(numbered).find(|name| !taken.contains(name));
        role.name = free.unwrap_or(wished);
        taken.insert(role.name.clone());
    }
}

fn default_name(subject: &Subject) -> String {
    let who = match subject {
        Subject::User(name) | Subject::Group(name) => name.clone(),
        Subject::ServiceAccount { namespace, name } => format!("{namespace}-{name}"),
    };
    let is_kept = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | ':' | '_' | '@');
    let who: String = who.chars().map(|letter| if is_kept(letter) { letter } else { '-' }).collect();
    format!("{NAME_PREFIX}{who}").to_lowercase()
}

/// Prints all.
pub(super) fn print(roles: &[Roles], format: Format, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
    let mut items = Vec::new();
    for role in roles {
        for line in comments(role) {
            match format {
                Format::Yaml => writeln!(out, "# {line}")?,
                Format::Json => writeln!(errors, "{line}")?,
            }
        }
        let objects: Vec<Value> = role.scopes.iter().flat_map(|scope| objects(role, scope)).collect();
        match format {
            Format::Yaml => {
                for object in objects {
                    let text = yaml::from_json(object.to_string().as_bytes()).map_err(io::Error::other)?;
                    write!(out, "---\n{text}")?;
                }
            }
            Format::Json => items.extend(objects),
        }
    }
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut *out, &json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
        writeln!(out)?;
    }
    out.flush()
}

/// What is to be said about the roles of one. Whatever came from a client is escaped.
fn comments(role: &Roles) -> Vec<String> {
    let (whose, seen) = (role.subject.describe(""), &role.seen);
    let mut lines = Vec::new();
    if seen.first.is_empty() {
        lines.push(format!("{whose}: no request that was allowed is in the log"));
    } else {
        let (first, last) = (seen.first.escape_debug(), seen.last.escape_debug());
        lines.push(format!("The least role of {whose}: {} requests, from {first} to {last}", seen.requests));
        if role.scopes.is_empty() {
            lines.push("No role is needed".to_owned());
        }
    }
    if seen.left_out > 0 {
        lines.push(format!(
            "Left out, because every login may do it: {} permissions (--minus-defaults=false puts them in)",
            seen.left_out
        ));
    }
    if seen.inexpressible > 0 {
        lines.push(format!("Left out, because no rule would allow just that: {} requests", seen.inexpressible));
    }
    for (verbs, group, resources, words) in FURTHER {
        let is_of = |rule: &Rule| {
            rule.groups.iter().any(|held| held == group)
                && rule.resources.iter().any(|held| resources.contains(&held.as_str()))
                && rule.verbs.iter().any(|held| verbs.contains(&held.as_str()))
        };
        if role.scopes.iter().flat_map(|scope| &scope.rules).any(is_of) {
            lines.push(format!("Not in the log: {words}"));
        }
    }
    for scope in &role.scopes {
        let bytes = rules(&scope.rules).to_string().len();
        if bytes > ROLE_BYTES_MAX {
            lines.push(format!("Too long for one object, {bytes} bytes of rules: use --names any"));
        }
    }
    if !seen.refused.is_empty() {
        lines.push("Refused, and not in the role (--include-refused puts it in):".to_owned());
        for (what, times) in &seen.refused {
            lines.push(format!("  {what}, {times} {}", if *times == 1 { "time" } else { "times" }));
        }
        if seen.refused_more > 0 {
            lines.push(format!("  and {} further requests", seen.refused_more));
        }
    }
    lines
}

/// The role of a scope and its binding.
fn objects(role: &Roles, scope: &ScopeRules) -> [Value; 2] {
    let (prefix, namespace) = if scope.namespace.is_empty() { ("Cluster", None) } else { ("", Some(&scope.namespace)) };
    let mut metadata = json!({"name": role.name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let subject = match &role.subject {
        Subject::User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        Subject::Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        Subject::ServiceAccount { namespace, name } => {
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    };
    let (api_version, kind) = (format!("{GROUP}/v1"), format!("{prefix}Role"));
    [
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "rules": rules(&scope.rules)}),
        json!({
            "apiVersion": api_version, "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role.name}, "subjects": [subject],
        }),
    ]
}

fn rules(rules: &[Rule]) -> Value {
    let rule = |rule: &Rule| {
        let lists = [
            ("verbs", &rule.verbs),
            ("apiGroups", &rule.groups),
            ("resources", &rule.resources),
            ("resourceNames", &rule.names),
            ("nonResourceURLs", &rule.paths),
        ];
        let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
        Value::Object(lists.map(|(field, list)| (field.to_owned(), json!(list))).collect())
    };
    rules.iter().map(rule).collect()
}
