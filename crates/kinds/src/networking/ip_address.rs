//! `IPAddress`: one address, by its name, and whose it is (upstream: `registry/networking/ipaddress`, `apis/networking/validation`,
//! KEP-1880).

use portcullis_model::go_text::quoted;
use portcullis_model::names::{self, NameRule};
use portcullis_model::status::BadValue;
use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Strategy};
use crate::views;
use crate::views::networking_v1::{IPAddress, IPAddressSpec};
use crate::vocabulary::frozen::{IMMUTABLE, is_same};
use crate::vocabulary::{Errors, Path, network};

/// The label that says which family an address is of: `IPv4` or `IPv6`.
pub const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// The label that says who looks after it.
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Who looks after the addresses of services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";

/// The rules of `IPAddress`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { name: NameRule::Any, ..Rest::PLAIN },
    validate_create,
    validate_update,
    cell,
    cells_without_column: &["Age"],
    ..Strategy::NONE
};

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let address: IPAddress<'_> = views::read(tree);
    let (metadata, at) = (address.metadata(), Path::new("metadata"));
    for (name, field) in [(metadata.generate_name(), "generateName"), (metadata.name(), "name")] {
        if !name.is_empty() {
            network::canonical_address(name, &at.field(field), errors);
        }
    }
    parent(address.spec(), errors);
}

/// Whose an address is, it stays.
fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    validate_create(tree, errors);
    let (new, old): (IPAddress<'_>, IPAddress<'_>) = (views::read(tree), views::read(old));
    let parent = IPAddressSpec::PARENT_REF;
    if !is_same(new.spec().place().get(parent), old.spec().place().get(parent)) {
        errors.invalid(&Path::new("spec.parentRef"), shown(new.spec()), IMMUTABLE);
    }
}

/// The reference as upstream prints it: with the names of the fields that it has in memory.
fn shown(spec: IPAddressSpec<'_>) -> BadValue {
    let Some(parent) = spec.parent_ref() else { return BadValue::Null };
    let [group, resource, namespace, name] =
        [parent.group(), parent.resource(), parent.namespace(), parent.name()].map(quoted);
    BadValue::Json(format!(r#"{{"Group":{group},"Resource":{resource},"Namespace":{namespace},"Name":{name}}}"#))
}

fn parent(spec: IPAddressSpec<'_>, errors: &mut Errors) {
    let at = Path::new("spec.parentRef");
    let Some(parent) = spec.parent_ref() else { return errors.required(&at, "") };
    // Services have the empty group.
    if !parent.group().is_empty() {
        errors.complain(&at.field("group"), parent.group(), names::dns1123_subdomain(parent.group()));
    }
    for (value, field) in [(parent.resource(), "resource"), (parent.name(), "name")] {
        if value.is_empty() {
            errors.required(&at.field(field), "");
        } else {
            errors.complain(&at.field(field), value, names::path_segment(value));
        }
    }
    if !parent.namespace().is_empty() {
        errors.complain(&at.field("namespace"), parent.namespace(), names::path_segment(parent.namespace()));
    }
}

/// `services/default/kubernetes`.
fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    if column != "ParentRef" {
        return None;
    }
    let Some(parent) = views::read::<IPAddress<'_>>(tree).spec().parent_ref() else {
        return Some(Cell::Text("<none>".to_owned()));
    };
    let mut text = parent.resource().to_owned();
    if !parent.group().is_empty() {
        text.push('.');
        text.push_str(parent.group());
    }
    let mut text = text.to_lowercase();
    for part in [parent.namespace(), parent.name()].iter().filter(|part| !part.is_empty()) {
        text.push('/');
        text.push_str(part);
    }
    Some(Cell::Text(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(name: &str, parent: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"parentRef":{parent}}}}}"#);
        created(&STRATEGY, "networking.k8s.io/v1", "IPAddress", &text)
    }

    const PARENT: &str = r#"{"resource":"services","namespace":"harbor","name":"quay"}"#;

    #[test]
    fn an_address_is_its_name_and_somebodys() {
        let check = |name: &str, parent: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(name, parent)), expected, "{name} {parent}");
        };
        check("192.0.2.44", PARENT, &[]);
        check("2001:db8::1", PARENT, &[]);
        check("192.0.2.44", r#"{"group":"example.com","resource":"a","name":"b"}"#, &[]);
        check(
            "a",
            PARENT,
            &[r#"metadata.name: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#],
        );
        check(
            "2001:DB8::1",
            PARENT,
            &[r#"metadata.name: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")"#],
        );
        check("192.0.2.44", "null", &["spec.parentRef: Required value"]);
        check("192.0.2.44", "{}", &["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"]);
        check(
            "192.0.2.44",
            r#"{"resource":"a/b","name":"..","namespace":"%"}"#,
            &[
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'",
                "spec.parentRef.name: Invalid value: \"..\": may not be '..'",
                "spec.parentRef.namespace: Invalid value: \"%\": may not contain '%'",
            ],
        );
    }

    #[test]
    fn whose_it_is_it_stays() {
        let old = of("192.0.2.44", PARENT);
        let check = |parent: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of("192.0.2.44", parent), &old, ""), expected, "{parent}");
        };
        check(PARENT, &[]);
        check(r#"{"group":"","resource":"services","namespace":"harbor","name":"quay"}"#, &[]);
        check("null", &["spec.parentRef: Required value", "spec.parentRef: Invalid value: null: field is immutable"]);
    }

    #[test]
    fn whose_it_is_is_shown() {
        let check = |parent: &str, expected: &str| {
            assert_eq!(cell(&of("192.0.2.44", parent), "ParentRef", 0), Some(Cell::Text(expected.to_owned())));
        };
        check(PARENT, "services/harbor/quay");
        check(r#"{"group":"Example.com","resource":"piers","name":"North"}"#, "piers.example.com/North");
        check("null", "<none>");
    }
}
