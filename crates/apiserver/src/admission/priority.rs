//! Priority: a pod names a class, and gets the number that the class stands for (upstream: `plugin/pkg/admission/priority`).
//!
//! Nobody gives the number himself: who may use which class can be limited by quota, a bare number could not. At most one class is for
//! pods that name none.

use memchr::memmem;
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::PodSpec;
use portcullis_kinds::views::scheduling_v1::PriorityClass;
use portcullis_model::tree::Tree;

use super::stored::{self, PRIORITY_CLASSES};
use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::answer::{Failure, unreadable};
use crate::registry::Served;

/// The policy of pods that no class says anything about.
const POLICY: &str = "PreemptLowerPriority";
/// What the stored text of a class for pods that name none has in it.
const IS_DEFAULT: &[u8] = br#""globalDefault":true"#;

/// The plugin.
pub struct Priority;

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        let is_class = served.is(PRIORITY_CLASSES.0, PRIORITY_CLASSES.1);
        pods::are_written(served, operation) || is_class && matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if !attempt.is_of("", "pods") {
            return Pass::on();
        }
        Pass::Now(match attempt.operation {
            Operation::Create => resolve(attempt),
            _ => {
                keep(attempt);
                Ok(())
            }
        })
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if !attempt.is_of(PRIORITY_CLASSES.0, PRIORITY_CLASSES.1) {
            return Pass::on();
        }
        Pass::Now(judge_class(attempt))
    }
}

/// What a class says.
struct Class {
    name: String,
    value: i32,
    policy: Option<String>,
}

impl Class {
    fn of(tree: &Tree) -> Class {
        let class: PriorityClass<'_> = views::read(tree);
        let policy = class.preemption_policy().map(str::to_owned);
        Class { name: class.metadata().name().to_owned(), value: class.value(), policy }
    }
}

/// Puts in what the pod's class says.
fn resolve(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(pod) = pods::read(attempt) else { return Ok(()) };
    let spec = pod.spec();
    let class = class_of(attempt, spec.priority_class_name())?;
    if let Some(given) = spec.priority().filter(|given| *given != class.value) {
        return Err(attempt.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {} from the given PriorityClass name",
            class.value
        )));
    }
    if let (Some(given), Some(policy)) = (spec.preemption_policy(), &class.policy)
        && given != policy
    {
        return Err(attempt.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller \
             computed {policy} from the given PriorityClass name"
        )));
    }
    let is_named = !spec.priority_class_name().is_empty();
    let Some(mut pod) = pods::write(attempt) else { return Ok(()) };
    let mut spec = pod.spec_mut();
    if !is_named && !class.name.is_empty() {
        spec.set_priority_class_name(&class.name);
    }
    spec.set_priority(class.value.into());
    if let Some(policy) = &class.policy {
        spec.set_preemption_policy(policy);
    }
    Ok(())
}

/// The class of this name; for no name, that of pods that name none.
fn class_of(attempt: &Attempt<'_>, name: &str) -> Result<Class, Failure> {
    if name.is_empty() {
        let none = || Class { name: String::new(), value: 0, policy: Some(POLICY.to_owned()) };
        return Ok(default_class(attempt)?.unwrap_or_else(none));
    }
    let found = stored::load(attempt, PRIORITY_CLASSES, "", name)?;
    let found = found.ok_or_else(|| attempt.forbidden(&format!("no PriorityClass with name {name} was found")))?;
    Ok(Class::of(&found))
}

/// The class of pods that name none. There is one at most, but for two that were made at the same time: then the lower one.
fn default_class(attempt: &Attempt<'_>) -> Result<Option<Class>, Failure> {
    let mut found: Option<Class> = None;
    let Some(served) = stored::served(attempt, PRIORITY_CLASSES) else { return Ok(None) };
    let Some(prefix) = served.prefix() else { return Ok(None) };
    // Every pod comes this way: only what may be the one is read.
    let candidates = attempt.snapshot.range(prefix, None).filter(|(_, entry)| is_candidate(&entry.value));
    for (_, entry) in candidates {
        let tree = served.load(&entry.value).map_err(unreadable)?;
        let class = Class::of(&tree);
        let is_default = views::read::<PriorityClass<'_>>(&tree).global_default();
        if is_default && found.as_ref().is_none_or(|held| held.value > class.value) {
            found = Some(class);
        }
    }
    Ok(found)
}

fn is_candidate(value: &[u8]) -> bool {
    memmem::find(value, IS_DEFAULT).is_some()
}

/// Validation lets nobody change the number; who leaves it out of an update keeps it.
fn keep(attempt: &mut Attempt<'_>) {
    let Some(old) = pods::old(attempt).map(|pod| pod.spec()) else { return };
    let Some(mut pod) = pods::write(attempt) else { return };
    let mut spec = pod.spec_mut();
    for field in [PodSpec::PRIORITY, PodSpec::PREEMPTION_POLICY] {
        if !spec.view().place().get(field).is_present() {
            spec.place().keep(field, old.place());
        }
    }
}

/// Only one class is for pods that name none.
fn judge_class(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let Some(new) = attempt.new().filter(|_| attempt.subresource().is_empty()) else { return Ok(()) };
    let new: PriorityClass<'_> = views::read(new);
    if !new.global_default() {
        return Ok(());
    }
    match default_class(attempt)? {
        Some(held) if attempt.operation == Operation::Create || held.name != new.metadata().name() => {
            let name = held.name;
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            Err(attempt.forbidden(&why))
        }
        _ => Ok(()),
    }
}
