//! How resources behave towards their clients: what a kind's file in `kinds` says.

use std::ops::Deref;

use portcullis_kinds::Resource;
use portcullis_kinds::rest::Rest;
pub use portcullis_kinds::rest::{Dependents, SelectableField};
use portcullis_kinds::strategy;

/// How a field selector that does not exist is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownField {
    /// The words for kinds that have only name and namespace.
    OnlyMetadata,
    /// The words for kinds with selectable fields of their own.
    NotSupported,
    /// As [`UnknownField::NotSupported`], naming group, version and kind.
    NotSupportedForKind,
}

/// All that differs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What the kind says of itself.
    pub rest: Rest,
    /// The group that complaints about an object name: that of the type it is handled as.
    pub kind_group: &'static str,
    /// How an unknown field selector is refused.
    pub unknown_field: UnknownField,
}

impl Rules {
    /// What the kind's file says about a resource; reviews and what is only read have none.
    pub fn of(resource: &Resource) -> Rules {
        let rest = strategy::of(resource.group, resource.name).map_or(Rest::PLAIN, |strategy| strategy.rest);
        let unknown_field = match rest.fields {
            [] => UnknownField::OnlyMetadata,
            _ if rest.unknown_field_names_kind => UnknownField::NotSupportedForKind,
            _ => UnknownField::NotSupported,
        };
        Rules { rest, kind_group: rest.handled_as_group.unwrap_or(resource.group), unknown_field }
    }
}

impl Deref for Rules {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}
