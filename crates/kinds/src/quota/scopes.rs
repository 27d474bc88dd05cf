//! Which objects a quota is about (upstream: `getScopeSelectorsFromQuota`, `ScopedResourceSelectorRequirementsAsSelector`).

use crate::views::List;
use crate::views::core_v1::ResourceQuotaSpec;

/// One condition on the objects that a quota is about.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'t> {
    /// The scope.
    pub scope: &'t str,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: &'t str,
    /// For the first two.
    pub values: Values<'t>,
}

/// Where the values of a requirement stand.
#[derive(Clone, Copy, Debug)]
pub enum Values<'t> {
    /// In an object.
    Stored(List<'t, &'t str>),
    /// With the operator.
    Configured(&'t [String]),
    /// There are none.
    None,
}

impl<'t> Requirement<'t> {
    /// Whether a text is what the requirement asks for; None: the object has no such text. It is read as a selector of labels would be.
    #[must_use]
    pub fn takes(self, text: Option<&str>) -> bool {
        let is_listed = |text: &str| match self.values {
            Values::Stored(list) => list.iter().any(|value| value == text),
            Values::Configured(list) => list.iter().any(|value| value == text),
            Values::None => false,
        };
        match self.operator {
            "In" => text.is_some_and(is_listed),
            "NotIn" => !text.is_some_and(is_listed),
            "Exists" => text.is_some(),
            "DoesNotExist" => text.is_none(),
            _ => false,
        }
    }

    /// How Go prints one: `{PriorityClass In [high]}`.
    #[must_use]
    pub fn shown(self) -> String {
        let values: Vec<&str> = match self.values {
            Values::Stored(list) => list.iter().collect(),
            Values::Configured(list) => list.iter().map(String::as_str).collect(),
            Values::None => Vec::new(),
        };
        format!("{{{} {} [{}]}}", self.scope, self.operator, values.join(" "))
    }
}

/// All conditions of a quota: its scopes, then its selector's.
pub fn of_quota<'t>(spec: ResourceQuotaSpec<'t>) -> impl Iterator<Item = Requirement<'t>> {
    let plain = |scope| Requirement { scope, operator: "Exists", values: Values::None };
    let selected = spec.scope_selector().into_iter().flat_map(|selector| {
        selector.match_expressions().iter().map(|one| Requirement {
            scope: one.scope_name(),
            operator: one.operator(),
            values: Values::Stored(one.values()),
        })
    });
    spec.scopes().iter().map(plain).chain(selected)
}
