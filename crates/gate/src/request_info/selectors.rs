//! The selectors of a list, a watch or a deletion of many, read for the authoriser who asks for them first (KEP-4601): most
//! decide without.
//!
//! An authoriser sees what the verb will select by, or else everything: a selector that cannot be read, or is longer than anybody's, only
//! widens what is asked for. The verb reads it again and refuses it for what it is.

use std::sync::OnceLock;

use portcullis_model::selectors::{self, FieldOperator, FieldSelector, FieldTerm, Selector};

use crate::authz::{Operator, Requirement, Selectors};
use crate::query::Query;

/// Longest selector that is read here.
const SELECTOR_BYTES_MAX: usize = 16 << 10;
/// Most requirements of one selector.
const REQUIREMENTS_MAX: usize = 64;

/// What stands in a query that has a selector of either sort, or of another sort, which costs a look.
const IN_NAMES: &str = "Selector";

/// The selectors of a query, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    query: Box<str>,
    /// Boxed, because most are never read and stand in every request.
    read: OnceLock<Box<Selectors>>,
}

impl Unread {
    /// Keeps the query of a collection for later; nothing when it selects nothing.
    pub(super) fn of(query: &str) -> Option<Self> {
        let has_any = query.contains(IN_NAMES) || query.contains('%');
        has_any.then(|| Self { query: query.into(), read: OnceLock::new() })
    }

    pub(super) fn read(&self) -> &Selectors {
        self.read.get_or_init(|| {
            let query = Query::new(&self.query);
            let text = |name: &str| query.get(name).unwrap_or_default();
            Box::new(Selectors::read(&text("fieldSelector"), &text("labelSelector")))
        })
    }
}

impl Selectors {
    /// Reads a field selector and a label selector as queries have them. One that is empty, cannot be read or is too long selects
    /// everything.
    pub fn read(fields: &str, labels: &str) -> Selectors {
        let is_read = |text: &&str| !text.is_empty() && text.len() <= SELECTOR_BYTES_MAX;
        let fields = Some(fields).filter(is_read).and_then(read_fields).unwrap_or_default();
        let labels = Some(labels).filter(is_read).and_then(read_labels).unwrap_or_default();
        Selectors { fields, labels }
    }
}

fn read_fields(text: &str) -> Option<Vec<Requirement>> {
    let selector = FieldSelector::parse(text).ok()?;
    let requirement = |term: &FieldTerm| {
        let operator = match term.operator {
            FieldOperator::Equals => Operator::In,
            FieldOperator::NotEquals => Operator::NotIn,
        };
        Requirement { key: term.field.clone(), operator, values: vec![term.value.clone()] }
    };
    (selector.terms().len() <= REQUIREMENTS_MAX).then(|| selector.terms().iter().map(requirement).collect())
}

fn read_labels(text: &str) -> Option<Vec<Requirement>> {
    let selector = Selector::parse(text).ok()?;
    let requirement = |requirement: &selectors::Requirement| {
        let operator = match requirement.operator() {
            selectors::Operator::In | selectors::Operator::Equals => Operator::In,
            selectors::Operator::NotIn | selectors::Operator::NotEquals => Operator::NotIn,
            selectors::Operator::Exists => Operator::Exists,
            selectors::Operator::DoesNotExist => Operator::DoesNotExist,
            // Authorisers have no word for these; without them more is asked for.
            selectors::Operator::GreaterThan | selectors::Operator::LessThan => return None,
        };
        let (key, values) = (requirement.key().to_owned(), requirement.values().to_vec());
        Some(Requirement { key, operator, values })
    };
    let requirements = selector.requirements();
    (requirements.len() <= REQUIREMENTS_MAX).then(|| requirements.iter().filter_map(requirement).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Method;

    use super::*;
    use crate::request_info::RequestInfo;

    /// What an authoriser is shown, one requirement after the other.
    fn shown(method: &Method, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::parse(method, path, query).unwrap();
        let selectors = info.selectors();
        let show = |requirements: &[Requirement]| {
            let texts = requirements.iter().map(|requirement| {
                format!("{} {:?} {}", requirement.key, requirement.operator, requirement.values.join("|"))
            });
            texts.collect::<Vec<_>>().join("; ")
        };
        format!("{} / {}", show(&selectors.fields), show(&selectors.labels))
    }

    #[test]
    fn authorisers_see_what_is_selected() {
        let check = |method: Method, target: &str, expected: &str| {
            assert_eq!(shown(&method, target), expected, "{method} {target}");
        };
        let get = |query: &str, expected: &str| check(Method::GET, &format!("/api/v1/pods?{query}"), expected);
        get("", " / ");
        get("limit=5", " / ");
        get("fieldSelector=spec.nodeName%3Dn1", "spec.nodeName In n1 / ");
        get("fieldSelector=spec.nodeName=n1,status.phase!=Failed", "spec.nodeName In n1; status.phase NotIn Failed / ");
        get("fieldSelector=spec.nodeName==n1&watch=1", "spec.nodeName In n1 / ");
        get("fieldSelector=spec.nodeName%3Da%5C%2Cb", "spec.nodeName In a,b / ");
        get("labelSelector=app%3Dweb,tier+in+(a,b),!x,y,z!=1", {
            " / app In web; tier In a|b; x DoesNotExist ; y Exists ; z NotIn 1"
        });
        get("labelSelector=a%3E1,b=2", " / b In 2");
        get("labelSelector=a&fieldSelector=b=c", "b In c / a Exists ");
        // The first of each counts.
        get("fieldSelector=a=b&fieldSelector=c=d", "a In b / ");
        // What cannot be read selects everything, each by itself.
        get("fieldSelector=bad&labelSelector=a=b", " / a In b");
        get("fieldSelector=a=b=c", " / ");
        get("fieldSelector=a=b&labelSelector=a+in+(", "a In b / ");
        get(&format!("fieldSelector={}a=b", "x=y,".repeat(REQUIREMENTS_MAX)), " / ");
        get(&format!("fieldSelector=a={}", "b".repeat(SELECTOR_BYTES_MAX)), " / ");
        check(Method::DELETE, "/api/v1/namespaces/a/pods?labelSelector=a=b", " / a In b");
        check(Method::GET, "/api/v1/nodes?fieldSelector=metadata.name=n1", "metadata.name In n1 / ");
    }

    #[test]
    fn only_collections_are_selected_from() {
        let check = |method: Method, path: &str| {
            assert_eq!(
                shown(&method, &format!("{path}?fieldSelector=a=b&labelSelector=c=d")),
                " / ",
                "{method} {path}"
            );
        };
        check(Method::GET, "/api/v1/namespaces/a/pods/p");
        check(Method::DELETE, "/api/v1/namespaces/a/pods/p");
        check(Method::POST, "/api/v1/namespaces/a/pods");
        check(Method::GET, "/healthz");
        // The old way to watch is either of one object or of many, and reads selectors only of many.
        check(Method::GET, "/api/v1/watch/pods");
        check(Method::GET, "/api/v1/watch/namespaces/a/pods/p");
    }
}
