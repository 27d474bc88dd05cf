//! Attributes that the recorded facts lack: types that are only ever embedded are published by no OpenAPI document of their own, so
//! what is known of their fields had to be read from the types that embed them.
//!
//! `facts/additions.facts` has the form of the tables; a field line is a name and the attributes to add.

use std::borrow::Cow;

pub(crate) const ADDITIONS: &str = include_str!("../facts/additions.facts");

/// One line of the additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Addition {
    package: &'static str,
    ty: &'static str,
    field: &'static str,
    attributes: &'static str,
}

/// A table with the additions to its types.
pub(crate) fn with_additions(table: &'static str) -> Cow<'static, str> {
    apply(table, additions())
}

fn additions() -> impl Iterator<Item = Addition> {
    let (mut package, mut ty) = ("", "");
    ADDITIONS.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("package ") {
            package = name;
        } else if let Some(name) = line.strip_prefix("type ") {
            ty = name;
        }
        let (field, attributes) = line.strip_prefix(' ')?.split_once(' ')?;
        Some(Addition { package, ty, field, attributes })
    })
}

fn apply(table: &'static str, additions: impl Iterator<Item = Addition>) -> Cow<'static, str> {
    let package = table.lines().next().and_then(|line| line.strip_prefix("package ")).unwrap_or_default();
    let additions: Vec<Addition> = additions.filter(|addition| addition.package == package).collect();
    if additions.is_empty() {
        return Cow::Borrowed(table);
    }
    let mut out = String::with_capacity(table.len() + 1024);
    let mut ty = "";
    for line in table.lines() {
        if let Some(rest) = line.strip_prefix("type ") {
            ty = rest.split(' ').next().unwrap_or_default();
        }
        out.push_str(line);
        let field = line.strip_prefix(' ').and_then(|line| line.split(' ').next());
        if let Some(addition) = additions.iter().find(|addition| addition.ty == ty && Some(addition.field) == field) {
            out.push(' ');
            out.push_str(addition.attributes);
        }
        out.push('\n');
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{TYPE_TABLES, schema};

    #[test]
    fn every_addition_names_a_field_and_says_something_new() {
        let added: usize = TYPE_TABLES.iter().map(|table| with_additions(table).len() - table.len()).sum();
        assert_eq!(added, additions().map(|addition| addition.attributes.len() + 1).sum::<usize>());
        for addition in additions() {
            let id = schema().by_name(&format!("{}.{}", addition.package, addition.ty)).unwrap();
            assert!(schema().ty(id).find(addition.field).is_some(), "{addition:?}");
            let table =
                TYPE_TABLES.iter().find(|table| table.starts_with(&format!("package {}\n", addition.package))).unwrap();
            let start = table.find(&format!("\ntype {}", addition.ty)).unwrap();
            let line = table[start..].lines().find(|line| line.starts_with(&format!(" {} ", addition.field))).unwrap();
            for attribute in addition.attributes.split(' ') {
                let key = attribute.split('=').next().unwrap();
                let known = line.split(' ').skip(5).any(|word| word.split('=').next() == Some(key));
                assert!(!known, "{line:?} has {key} already");
            }
        }
    }

    #[test]
    fn lines_are_added_to() {
        let addition = Addition { package: "p", ty: "Boat", field: "sails", attributes: "list=set" };
        let check = |table: &'static str, expected: &str| assert_eq!(apply(table, [addition].into_iter()), expected);
        check(
            "package p\ntype Boat gvk=v1/Boat\n sails 1 always []string\n",
            "package p\ntype Boat gvk=v1/Boat\n sails 1 always []string list=set\n",
        );
        check("package p\ntype Raft\n sails 1 always []string\n", "package p\ntype Raft\n sails 1 always []string\n");
        check("package q\ntype Boat\n sails 1 always []string\n", "package q\ntype Boat\n sails 1 always []string\n");
    }
}
