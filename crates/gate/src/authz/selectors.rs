//! The selectors of a list, watch or deletion of many, as authorisers see them (KEP-4601): what was asked for can be allowed where
//! all would not be.
//!
//! A selector that cannot be read selects everything here, as it does upstream: it can only widen what is asked for.

/// What a selector demands of one label or field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label or field.
    pub key: String,
    /// How its value compares.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// How a value compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is one of the values.
    In,
    /// It is none of them, or absent.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// What is asked of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Of fields.
    pub fields: Vec<Requirement>,
    /// Of labels.
    pub labels: Vec<Requirement>,
}

impl Selectors {
    /// Everything.
    pub const NONE: &'static Selectors = &Selectors { fields: Vec::new(), labels: Vec::new() };
}
