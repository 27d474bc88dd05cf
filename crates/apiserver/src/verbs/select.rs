//! Label and field selectors over stored objects. Names come from the key, everything else from the index that the store keeps beside
//! each object ([`crate::catalog`]): no selector reads an object.

use portcullis_model::selectors::{FieldOperator, FieldSelector, Operator, Selector, UnknownField as Words};
use portcullis_model::status::Status;
use portcullis_model::tree::{Kind, NodeId, Tree};
use portcullis_store::{Entry, Term};

use crate::answer::{Failure, Unservable};
use crate::registry::Served;
use crate::registry::rules::UnknownField;

const FIELD_NAME: &str = "metadata.name";
const FIELD_NAMESPACE: &str = "metadata.namespace";

/// Which objects of a collection are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// Where the content of each field term is in the index, and what it reads as when it is absent; nothing for names.
    contents: Vec<Option<(usize, &'static str)>>,
    terms: Vec<Term>,
}

impl Selection {
    /// Reads both selectors for a resource.
    pub fn parse(served: &Served, labels: &str, fields: &str) -> Result<Selection, Failure> {
        let labels = Selector::parse(labels).map_err(|error| refuse(error.to_string()))?;
        let fields = FieldSelector::parse(fields).map_err(|error| refuse(error.to_string()))?;
        check_fields(served, &fields)?;
        let known =
            |label: &str| served.rules.fields.iter().zip(&served.field_numbers).find(|(field, _)| field.label == label);
        let content = |label: &str| known(label).map(|(field, number)| (*number, field.absent));
        let contents = fields.terms().iter().map(|term| content(&term.field)).collect();
        let mut terms = Vec::new();
        for requirement in labels.requirements() {
            if let (Operator::In | Operator::Equals, [value]) = (requirement.operator(), requirement.values()) {
                terms.push(Term::label(requirement.key(), value));
            }
        }
        for term in
            fields.terms().iter().filter(|term| term.operator == FieldOperator::Equals && !term.value.is_empty())
        {
            if let Some((field, number)) = known(&term.field)
                && field.posted
            {
                terms.push(Term::field(*number, &term.value));
            }
        }
        Ok(Selection { labels, fields, contents, terms })
    }

    /// Whether all objects are meant.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The only name that can be meant, if the selector says so.
    pub fn name(&self) -> Option<&str> {
        self.fields.required_value(FIELD_NAME)
    }

    /// Words that every object that is meant is found by; none when there is no such word.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether a stored object is meant. One that cannot be read might be, so it is an error.
    pub fn matches(&self, served: &Served, key: &str, entry: &Entry) -> Result<bool, Failure> {
        if entry.index().is_unreadable() {
            return Err(Unservable::Unreadable.into());
        }
        if self.is_everything() {
            return Ok(true);
        }
        Ok(self.matches_fields(served, key, entry) && self.labels.matches(|name| entry.label(name)))
    }

    fn matches_fields(&self, served: &Served, key: &str, entry: &Entry) -> bool {
        if self.fields.is_everything() {
            return true;
        }
        let (namespace, name) = served.names(key);
        let mut contents = self.contents.iter();
        self.fields.terms().iter().all(|term| {
            let content = contents.next().copied().flatten();
            let held = match (term.field.as_str(), content) {
                (FIELD_NAME, _) => name,
                (FIELD_NAMESPACE, _) => namespace,
                (_, Some((number, absent))) => match entry.field(number) {
                    "" => absent,
                    held => held,
                },
                (_, None) => "",
            };
            term.matches(held)
        })
    }
}

fn refuse(message: String) -> Failure {
    Box::new(Status::bad_request(message))
}

fn check_fields(served: &Served, fields: &FieldSelector) -> Result<(), Failure> {
    let mut known = vec![FIELD_NAME, FIELD_NAMESPACE];
    known.extend(served.rules.fields.iter().map(|field| field.label));
    let words = match served.rules.unknown_field {
        UnknownField::OnlyMetadata => Words::ListsKnown,
        UnknownField::NotSupported => Words::NamesField,
        UnknownField::NotSupportedForKind => {
            let unknown = fields.terms().iter().find(|term| !known.contains(&term.field.as_str()));
            let Some(term) = unknown else { return Ok(()) };
            let (api_version, kind) = (&served.resource.api_version, served.resource.kind);
            return Err(refuse(format!("field label not supported for {api_version}, Kind={kind}: {}", term.field)));
        }
    };
    fields.check_fields(&known, words).map_err(|error| refuse(error.to_string()))
}

/// A scalar as it stands in a field selector.
pub fn scalar_text(tree: &Tree, node: NodeId) -> Option<String> {
    match tree.kind(node) {
        Kind::String => tree.string(node).map(str::to_owned),
        Kind::Bool => tree.bool(node).map(|value| value.to_string()),
        Kind::Int => tree.int(node).map(|value| value.to_string()),
        _ => None,
    }
}
