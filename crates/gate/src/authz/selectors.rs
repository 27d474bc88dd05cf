//! The selectors of a list, watch or deletion of many, as authorisers see them (KEP-4601): what was asked for can be allowed where
//! all would not be.
//!
//! A selector that cannot be read selects everything here, as it does upstream: it can only widen what is asked for.

use crate::request_info::RequestInfo;

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

/// Where the selectors of a question are.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// Here.
    These(&'a Selectors),
    /// In the request, which has not read them yet.
    OfRequest(&'a RequestInfo),
}

impl<'a> Selection<'a> {
    /// Everything.
    pub const ALL: Selection<'static> = Selection::These(Selectors::NONE);

    /// Reads them.
    pub fn read(self) -> &'a Selectors {
        match self {
            Self::These(selectors) => selectors,
            Self::OfRequest(info) => info.selectors(),
        }
    }
}

impl PartialEq for Selection<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.read() == other.read()
    }
}

impl Eq for Selection<'_> {}
