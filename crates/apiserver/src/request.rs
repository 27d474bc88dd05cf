//! A request for a resource as the verbs see it: what was permitted, and what of it was understood before the verb began.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use portcullis_gate::{Permitted, Query, ResourceInfo, selected_name};
use portcullis_kinds::resources::Subresource;
use portcullis_kinds::strategy::WARNINGS_MAX;
use portcullis_model::status::Status;

use crate::answer::Failure;
use crate::negotiate::Accepted;
use crate::registry::Served;

/// A permitted request for a resource that is served. The only way to make one begins with a [`Permitted`].
pub struct Request<'a> {
    /// Who may do it.
    pub permitted: &'a Permitted,
    /// The parts of the path.
    pub info: ResourceInfo<'a>,
    /// The query.
    pub query: Query<'a>,
    /// The resource.
    pub served: &'a Served,
    /// The subresource, if the path names one.
    pub subresource: Option<&'a Subresource>,
    /// What the answer will be.
    pub accepted: Accepted,
    /// The body, whole; empty for methods without one.
    pub body: Bytes,
    /// What the client is warned of, whatever the answer.
    pub warnings: Vec<String>,
    /// What the kind's rules and admission warn of, which only look at the request.
    pub rule_warnings: Mutex<Vec<String>>,
}

impl<'a> Request<'a> {
    /// Warns the client.
    pub fn warn(&self, text: String) {
        self.warn_all(|warnings| warnings.push(text));
    }

    /// Warns the client of all that is added.
    pub fn warn_all(&self, add: impl FnOnce(&mut Vec<String>)) {
        let mut warnings = self.rule_warnings.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut warnings);
        warnings.truncate(WARNINGS_MAX);
    }

    /// Returns the namespace of the object or collection; empty at the cluster scope.
    pub fn namespace(&self) -> &'a str {
        // The path of a namespace object has its name as namespace too, because that is how it is authorised.
        if self.served.resource.namespaced { self.info.namespace } else { "" }
    }

    /// Takes everything that the client is warned of.
    pub fn all_warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.append(self.rule_warnings.get_mut().unwrap_or_else(PoisonError::into_inner));
        warnings
    }

    /// Returns the name in the path.
    pub fn path_name(&self) -> &'a str {
        self.info.path_name
    }

    /// Returns the field selector: the query's, or one for the name in the path (a watch of one object, the old way).
    ///
    /// # Errors
    /// 400 when the path and the query name different objects.
    pub fn field_selector(&self) -> Result<Cow<'a, str>, Failure> {
        let given = self.query.get("fieldSelector").unwrap_or_default();
        select_named(self.path_name(), given)
    }

    /// Whether the request is for this subresource.
    pub fn is_for(&self, subresource: &str) -> bool {
        self.info.subresource == subresource
    }
}

fn select_named<'a>(name: &str, given: Cow<'a, str>) -> Result<Cow<'a, str>, Failure> {
    if name.is_empty() {
        return Ok(given);
    }
    if given.chars().all(|letter| letter == ',') {
        let escaped = name.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        return Ok(Cow::Owned(format!("metadata.name={escaped}")));
    }
    if selected_name(&given).is_none_or(|selected| selected != name) {
        return Err(Box::new(Status::bad_request("fieldSelector metadata.name doesn't match requested name")));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_path_selects() {
        let check = |name: &str, given: &str, expected: Option<&str>| {
            let selector = select_named(name, Cow::Borrowed(given)).ok();
            assert_eq!(selector.as_deref(), expected, "{name} {given}");
        };
        check("", "metadata.name=a", Some("metadata.name=a"));
        check("", "", Some(""));
        check("a", "", Some("metadata.name=a"));
        check("a", ",", Some("metadata.name=a"));
        check("a,b=c\\", "", Some("metadata.name=a\\,b\\=c\\\\"));
        check("a", "metadata.name=a,metadata.namespace=n", Some("metadata.name=a,metadata.namespace=n"));
        check("a", "metadata.name==a", Some("metadata.name==a"));
        check("a", "metadata.name=b", None);
        check("a", "metadata.name!=b", None);
        check("a", "metadata.namespace=n", None);
    }
}
