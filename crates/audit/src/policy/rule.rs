//! One rule of a policy, and when it is about a request (upstream: `audit/policy.ruleMatches`).

use super::{Level, Stages};
use crate::attributes::{Attributes, Target};

/// Resources of one API group (upstream: `audit.k8s.io/v1.GroupResources`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupResources {
    /// The group: empty for the core group, `*` for all (since 1.36).
    pub group: String,
    /// Resources and subresources: `pods`, `pods/log`, `pods/*`, `*/scale`, `*`. None means all.
    pub resources: Vec<String>,
    /// Names of objects. None means all.
    pub resource_names: Vec<String>,
}

/// Which requests a rule is about. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// Users who send the request; as whom it acts does not count.
    pub users: Vec<String>,
    /// Groups, of which its sender is in one.
    pub user_groups: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Resources.
    pub resources: Vec<GroupResources>,
    /// Namespaces; the empty one is that of what has none.
    pub namespaces: Vec<String>,
    /// Paths that are no resources; `*` at the end matches any rest.
    pub non_resource_urls: Vec<String>,
}

/// A rule that was found to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) criteria: Criteria,
    pub(super) level: Level,
    /// With those of the whole policy.
    pub(super) omitted: Stages,
    pub(super) omits_managed_fields: bool,
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == text)
}

impl Criteria {
    /// Says whether they are met.
    pub(super) fn matches(&self, attributes: &Attributes<'_>) -> bool {
        let user = attributes.user;
        if !self.users.is_empty() && !user.is_some_and(|user| has(&self.users, user.name)) {
            return false;
        }
        let in_group = |groups: &[String]| groups.iter().any(|group| has(&self.user_groups, group));
        if !self.user_groups.is_empty() && !user.is_some_and(|user| in_group(user.groups)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, attributes.verb) {
            return false;
        }
        let is_about_resources = !self.namespaces.is_empty() || !self.resources.is_empty();
        match attributes.target {
            Target::Resource { namespace, .. } if is_about_resources => {
                (self.namespaces.is_empty() || has(&self.namespaces, namespace))
                    && self.matches_resource(&attributes.target)
            }
            Target::Resource { .. } => self.non_resource_urls.is_empty(),
            Target::Path(_) if is_about_resources => false,
            Target::Path(path) => {
                self.non_resource_urls.is_empty() || self.non_resource_urls.iter().any(|url| matches_path(url, path))
            }
        }
    }

    /// Says whether every request for a resource meets them, whoever sends it and whatever it is for.
    pub(super) fn is_about_every(&self, target: &Target<'_>) -> bool {
        let conditions = [&self.users, &self.user_groups, &self.verbs, &self.namespaces, &self.non_resource_urls];
        // A rule for some names is not about the empty one.
        conditions.into_iter().all(Vec::is_empty) && self.matches_resource(target)
    }

    /// Says whether some request for a resource may meet them.
    pub(super) fn is_about_some(&self, target: &Target<'_>) -> bool {
        let mut unnamed = self.resources.clone();
        unnamed.iter_mut().for_each(|resources| resources.resource_names.clear());
        self.non_resource_urls.is_empty() && Self { resources: unnamed, ..Self::default() }.matches_resource(target)
    }

    /// Says whether a resource is among those of the rule, in whatever namespace.
    fn matches_resource(&self, target: &Target<'_>) -> bool {
        self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(target))
    }
}

impl GroupResources {
    fn matches(&self, target: &Target<'_>) -> bool {
        let Target::Resource { group, resource, subresource, name, .. } = *target else { return false };
        if self.group != "*" && self.group != group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        // Validation refuses names without resources.
        if !self.resource_names.is_empty() && !has(&self.resource_names, name) {
            return false;
        }
        self.resources.iter().any(|wanted| matches_path_of_resource(wanted, resource, subresource))
    }
}

/// `*` is everything, `pods` the resource without its subresources.
fn matches_path_of_resource(wanted: &str, resource: &str, subresource: &str) -> bool {
    if wanted == "*" {
        return true;
    }
    match wanted.split_once('/') {
        None => subresource.is_empty() && wanted == resource,
        Some((wanted_resource, "*")) => wanted_resource == resource,
        Some(("*", wanted_subresource)) => !subresource.is_empty() && wanted_subresource == subresource,
        Some((wanted_resource, wanted_subresource)) => {
            wanted_resource == resource && wanted_subresource == subresource && !subresource.is_empty()
        }
    }
}

fn matches_path(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => url == path,
    }
}
