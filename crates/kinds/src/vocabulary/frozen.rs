//! Fields that stay what they were (upstream: `ValidateImmutableField`, `apiequality.Semantic.DeepEqual`).

use portcullis_model::quantity::Quantity;
use portcullis_model::schema::{Presence, TypeId, TypeRef};
use portcullis_model::status::BadValue;
use portcullis_model::tree::{Kind, NodeId, Tree};

use super::{Errors, Path};
use crate::views::{At, Field, shown};

/// What is said of a field that may not change.
pub const IMMUTABLE: &str = "field is immutable";

/// The field may not change.
pub fn frozen(new: At<'_>, old: At<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !is_same(new, old) {
        errors.invalid(at, shown(new), IMMUTABLE);
    }
}

/// The text may not change.
pub fn frozen_text(new: &str, old: &str, at: &Path<'_>, errors: &mut Errors) {
    if new != old {
        errors.invalid(at, new, IMMUTABLE);
    }
}

/// The struct may not change, where Go has no pointer: an absent one is empty.
pub fn frozen_struct(new: At<'_>, old: At<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !is_same_but_for(new, old, &[]) {
        let bad = if new.is_present() { shown(new) } else { BadValue::Json(shown_zero(old)) };
        errors.invalid(at, bad, IMMUTABLE);
    }
}

/// A struct of the same type that nobody wrote: what it works on has each of its fields even so.
fn shown_zero(like: At<'_>) -> String {
    let Some(ty) = like.id().and_then(|node| like.tree().object_type(node)) else { return "{}".to_owned() };
    let fields = crate::schema().ty(ty).fields.iter().map(|field| {
        let zero = match field.ty {
            TypeRef::String => r#""""#,
            TypeRef::Bool => "false",
            TypeRef::Int32 | TypeRef::Int64 => "0",
            _ => "null",
        };
        format!(r#""{}":{zero}"#, field.name)
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// Whether two places of one type mean the same (upstream: semantic equality): quantities by value, an empty list or map as an absent
/// one, a zero value as an absent one where Go has no pointer.
#[must_use]
pub fn is_same(new: At<'_>, old: At<'_>) -> bool {
    let open = vec![Pair { new: new.id(), old: old.id(), ty: TypeRef::Json, is_pointer: true }];
    are_same(new.tree(), old.tree(), open)
}

/// Whether two structs of one type mean the same but for some of their fields. An absent one is as one that has none.
#[must_use]
pub fn is_same_but_for(new: At<'_>, old: At<'_>, except: &[Field]) -> bool {
    let (left, right) = (new.tree(), old.tree());
    let ty_of = |at: At<'_>| at.id().and_then(|node| at.tree().object_type(node));
    let Some(ty) = ty_of(new).or_else(|| ty_of(old)) else { return is_same(new, old) };
    let mut open = Vec::new();
    open_fields((left, new.id()), (right, old.id()), ty, except, &mut open);
    are_same(left, right, open)
}

/// Leaves the fields of two structs of a type to be compared, but for some. What neither has is the same.
fn open_fields(
    (left, a): (&Tree, Option<NodeId>),
    (right, b): (&Tree, Option<NodeId>),
    ty: TypeId,
    except: &[Field],
    open: &mut Vec<Pair>,
) {
    let fields = &crate::schema().ty(ty).fields;
    let mut mine = a.into_iter().flat_map(|object| left.children(object)).peekable();
    let mut theirs = b.into_iter().flat_map(|object| right.children(object)).peekable();
    // Both stand in declared order.
    loop {
        let at =
            (mine.peek().map(|node| left.field_number(*node)), theirs.peek().map(|node| right.field_number(*node)));
        let number = match at {
            (None, None) => return,
            (Some(mine), Some(theirs)) => mine.min(theirs),
            (Some(only), None) | (None, Some(only)) => only,
        };
        let new = mine.next_if(|node| left.field_number(*node) == number);
        let old = theirs.next_if(|node| right.field_number(*node) == number);
        if let Some(field) = fields.get(usize::from(number))
            && except.iter().all(|field| field.number() != number)
        {
            open.push(Pair { new, old, ty: field.ty, is_pointer: is_pointer(field.presence) });
        }
    }
}

fn are_same(left: &Tree, right: &Tree, mut open: Vec<Pair>) -> bool {
    while let Some(pair) = open.pop() {
        let is_same = match (pair.new, pair.old) {
            (None, None) => true,
            (Some(a), Some(b)) => is_same_here((left, a), (right, b), pair.ty, &mut open),
            (Some(only), None) => is_nothing(left, only, pair.ty, pair.is_pointer),
            (None, Some(only)) => is_nothing(right, only, pair.ty, pair.is_pointer),
        };
        if !is_same {
            return false;
        }
    }
    true
}

/// Two nodes at the same place, and what is declared there.
struct Pair {
    new: Option<NodeId>,
    old: Option<NodeId>,
    ty: TypeRef,
    is_pointer: bool,
}

/// Whether what is there says no more than its absence does.
fn is_nothing(tree: &Tree, node: NodeId, ty: TypeRef, is_pointer: bool) -> bool {
    let mut open = vec![(node, ty, is_pointer)];
    while let Some((node, ty, is_pointer)) = open.pop() {
        match tree.kind(node) {
            Kind::List | Kind::Map if tree.len(node) == 0 => {}
            Kind::Null => {}
            _ if is_pointer => return false,
            Kind::Object => open.extend(tree.children(node).map(|child| {
                let (ty, is_pointer) = declared_in(tree, node, child);
                (child, ty, is_pointer)
            })),
            Kind::String if tree.string(node) == Some("") => {}
            Kind::Int if tree.int(node) == Some(0) => {}
            Kind::Bool if tree.bool(node) == Some(false) => {}
            Kind::Float if tree.float(node) == Some(0.0) => {}
            _ if ty == TypeRef::Quantity && is_same_quantity(tree.text(node), Some("0")) => {}
            _ => return false,
        }
    }
    true
}

fn is_pointer(presence: Presence) -> bool {
    matches!(presence, Presence::Optional | Presence::Nullable)
}

/// The type of a field, and whether Go has a pointer there.
fn declared_in(tree: &Tree, object: NodeId, child: NodeId) -> (TypeRef, bool) {
    let field = tree
        .object_type(object)
        .and_then(|ty| crate::schema().ty(ty).fields.get(usize::from(tree.field_number(child))));
    field.map_or((TypeRef::Json, true), |field| (field.ty, is_pointer(field.presence)))
}

/// Compares two nodes, and leaves what is below them for later.
fn is_same_here((left, a): (&Tree, NodeId), (right, b): (&Tree, NodeId), ty: TypeRef, open: &mut Vec<Pair>) -> bool {
    if left.kind(a) != right.kind(b) {
        return is_nothing(left, a, ty, true) && is_nothing(right, b, ty, true);
    }
    let element = match ty {
        TypeRef::List(element) | TypeRef::Map(element) => crate::schema().element(element),
        _ => TypeRef::Json,
    };
    match left.kind(a) {
        Kind::Object => {
            let Some(ty) = left.object_type(a) else { return right.object_type(b).is_none() };
            open_fields((left, Some(a)), (right, Some(b)), ty, &[], open);
            true
        }
        Kind::List => {
            let (mut a, mut b) = (left.children(a), right.children(b));
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return true,
                    (new @ Some(_), old @ Some(_)) => open.push(Pair { new, old, ty: element, is_pointer: true }),
                    _ => return false,
                }
            }
        }
        Kind::Map => {
            let is_within = |(key, value)| {
                let old = right.get(b, key);
                open.push(Pair { new: Some(value), old, ty: element, is_pointer: true });
                old.is_some()
            };
            left.len(a) == right.len(b) && left.entries(a).all(is_within)
        }
        Kind::Bool => left.bool(a) == right.bool(b),
        Kind::Int => left.int(a) == right.int(b),
        Kind::Float => left.float(a) == right.float(b),
        Kind::Null => true,
        Kind::String if ty != TypeRef::Quantity => left.string(a) == right.string(b),
        _ if ty == TypeRef::Quantity => is_same_quantity(left.text(a), right.text(b)),
        _ => (left.text(a), left.time(a), left.micro_time(a)) == (right.text(b), right.time(b), right.micro_time(b)),
    }
}

fn is_same_quantity(a: Option<&str>, b: Option<&str>) -> bool {
    if a == b {
        return true;
    }
    let parse = |text: Option<&str>| text.and_then(|text| Quantity::parse(text).ok());
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_model::schema::{FieldValidation, decode_json};

    use super::*;
    use crate::views::core_v1::Pod;

    fn tree(text: &str) -> Tree {
        decode_json::decode(crate::schema(), Pod::TYPE, text.as_bytes().to_vec(), FieldValidation::Ignore).unwrap().tree
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let check = |a: &str, b: &str, expected: bool| {
            let (left, right) = (tree(a), tree(b));
            assert_eq!(is_same(At::root(&left), At::root(&right)), expected, "{a} {b}");
            assert_eq!(is_same(At::root(&right), At::root(&left)), expected, "{b} {a}");
        };
        check("{}", "{}", true);
        check("{}", r#"{"spec":{"nodeName":"","volumes":[],"containers":null}}"#, true);
        check("{}", r#"{"spec":{"nodeName":"a"}}"#, false);
        // A pointer tells zero from absent.
        check("{}", r#"{"spec":{"activeDeadlineSeconds":0}}"#, false);
        check("{}", r#"{"spec":{"securityContext":{}}}"#, false);
        let of = |limit: &str| {
            format!(r#"{{"spec":{{"containers":[{{"name":"a","resources":{{"limits":{{"cpu":"{limit}"}}}}}}]}}}}"#)
        };
        check(&of("1"), &of("1000m"), true);
        check(&of("1"), &of("1001m"), false);
        let divided = |divisor: &str| {
            let of = format!(r#"{{"resource":"limits.cpu"{divisor}}}"#);
            format!(
                r#"{{"spec":{{"volumes":[{{"name":"v","downwardAPI":{{"items":[{{"path":"p","resourceFieldRef":{of}}}]}}}}]}}}}"#
            )
        };
        check(&divided(""), &divided(r#","divisor":"0""#), true);
        check(&divided(""), &divided(r#","divisor":"1""#), false);
        let shown = |more: &str| {
            format!(
                r#"{{"spec":{{"volumes":[{{"name":"v","downwardAPI":{{"items":[{{"resourceFieldRef":{{"resource":"limits.cpu"{more}}}}}]}}}}]}}}}"#
            )
        };
        check(&shown(""), &shown(r#","divisor":"0""#), true);
        check(&shown(""), &shown(r#","divisor":"1""#), false);
        check(r#"{"metadata":{"labels":{"a":"b"}}}"#, r#"{"metadata":{"labels":{"a":"c"}}}"#, false);
        check(r#"{"metadata":{"labels":{"a":"b"}}}"#, r#"{"metadata":{"labels":{"b":"b"}}}"#, false);
    }

    #[test]
    fn some_fields_may_differ() {
        let check = |a: &str, b: &str, expected: bool| {
            let (left, right) = (tree(a), tree(b));
            let found = is_same_but_for(At::root(&left), At::root(&right), &[Pod::SPEC]);
            assert_eq!(found, expected, "{a} {b}");
        };
        check("{}", r#"{"spec":{"nodeName":"a"}}"#, true);
        check(r#"{"spec":{"hostname":"b"}}"#, r#"{"spec":{"nodeName":"a"}}"#, true);
        check("{}", r#"{"status":{"phase":"Running"}}"#, false);
    }
}
