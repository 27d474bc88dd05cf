//! DefaultIngressClass: a new ingress that names no class is of the default one; of the newest, where there are several (upstream:
//! `plugin/pkg/admission/network/defaultingressclass`; KEP-1453).

use portcullis_kinds::views;
use portcullis_kinds::views::networking_v1::{Ingress, IngressClass, IngressEdit};

use super::stored::{self, INGRESS_CLASSES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;

/// What makes a class the default one.
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
/// How ingresses named their class before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The plugin.
pub struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is("networking.k8s.io", "ingresses")
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        Pass::Now(apply(attempt))
    }
}

fn apply(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(tree) = attempt.new().filter(|_| attempt.subresource().is_empty()) else { return Ok(()) };
    let ingress: Ingress<'_> = views::read(tree);
    let names_class = ingress.spec().ingress_class_name().is_some()
        || ingress.metadata().annotations().get(CLASS_ANNOTATION).is_some();
    if names_class {
        return Ok(());
    }
    let Some(class) = default_class(attempt)? else { return Ok(()) };
    if let Some(tree) = attempt.object.as_deref_mut() {
        views::write::<IngressEdit<'_>>(tree).spec_mut().set_ingress_class_name(&class);
    }
    Ok(())
}

/// The newest of the classes that say they are the default; of those of one moment, the first by name.
fn default_class(attempt: &Attempt<'_>) -> Result<Option<String>, Failure> {
    let classes = stored::all(attempt, INGRESS_CLASSES, "", attempt.snapshot)?;
    let mut chosen: Option<(Option<i64>, &str)> = None;
    for stored in &classes {
        let metadata = views::read::<IngressClass<'_>>(&stored.tree).metadata();
        let (created, is_default) =
            (metadata.creation_timestamp(), metadata.annotations().get(DEFAULT_ANNOTATION) == Some("true"));
        if is_default && chosen.is_none_or(|(newest, _)| created > newest) {
            chosen = Some((created, metadata.name()));
        }
    }
    Ok(chosen.map(|(_, name)| name.to_owned()))
}
