//! What may change of a job (upstream: `ValidateJobSpecUpdate`; elastic indexed jobs KEP-3715, scheduling of suspended jobs KEP-2926,
//! resources of suspended jobs KEP-5440).

use portcullis_model::tree::Tree;

use super::{is_indexed, is_true};
use crate::views::batch_v1::{Job, JobEdit, JobSpec};
use crate::views::core_v1::{Affinity, AffinityEdit, Container, PodSpec, PodSpecEdit};
use crate::views::meta_v1::ObjectMeta;
use crate::views::{self, Edit, List, ListEdit};
use crate::vocabulary::frozen::{frozen, is_same};
use crate::vocabulary::{Errors, Path};

/// Everything but counts, deadlines and whether it runs stays as it was made.
pub fn frozen_fields(tree: &Tree, old_tree: &Tree, at: &Path<'_>, errors: &mut Errors) {
    let (new, old) = (views::read::<Job<'_>>(tree).spec(), views::read::<Job<'_>>(old_tree).spec());
    completions(new, old, at, errors);
    new.check_frozen_selector(old, at, errors);
    template(tree, old_tree, &at.field("template"), errors);
    new.check_frozen_completion_mode(old, at, errors);
    new.check_frozen_pod_failure_policy(old, at, errors);
    new.check_frozen_backoff_limit_per_index(old, at, errors);
    new.check_frozen_managed_by(old, at, errors);
    new.check_frozen_success_policy(old, at, errors);
}

/// An indexed job may grow and shrink when all its indexes run at once.
fn completions(new: JobSpec<'_>, old: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !is_indexed(new) {
        new.check_frozen_completions(old, at, errors);
        return;
    }
    let Some(completions) = new.completions().filter(|completions| Some(*completions) != old.completions()) else {
        return;
    };
    if Some(completions) != new.parallelism() {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid(&at.field("completions"), completions, why);
    }
}

fn template(tree: &Tree, old_tree: &Tree, at: &Path<'_>, errors: &mut Errors) {
    let (new, old) = (views::read::<Job<'_>>(tree), views::read::<Job<'_>>(old_tree));
    let (new_template, old_template) = (new.spec().template(), old.spec().template());
    if is_same(new_template.place(), old_template.place()) {
        return;
    }
    if !is_at_rest(old) {
        frozen(new_template.place(), old_template.place(), at, errors);
        return;
    }
    let mut allowed = old_tree.clone();
    allow(&mut allowed, new);
    let allowed = views::read::<Job<'_>>(&allowed).spec().template();
    frozen(new_template.place(), allowed.place(), at, errors);
}

/// Whether no pod of a job runs, nor is made before somebody lets it go on.
fn is_at_rest(job: Job<'_>) -> bool {
    let status = job.status();
    job.spec().suspend() == Some(true)
        && status.active() == 0
        && (status.start_time().is_none() || is_true(status, super::SUSPENDED))
}

/// Puts into the old job what may be changed of a job at rest: where its pods go, their labels and annotations, and what their
/// containers use.
fn allow(old: &mut Tree, new: Job<'_>) {
    let (meta, pod) = (new.spec().template().metadata(), new.spec().template().spec());
    let mut job: JobEdit<'_> = views::write(old);
    let mut spec = job.spec_mut();
    let mut template = spec.template_mut();
    {
        let mut old_meta = template.metadata_mut();
        old_meta.place().keep(ObjectMeta::ANNOTATIONS, meta.place());
        old_meta.place().keep(ObjectMeta::LABELS, meta.place());
    }
    let mut old_pod = template.spec_mut();
    for field in [PodSpec::NODE_SELECTOR, PodSpec::TOLERATIONS, PodSpec::SCHEDULING_GATES] {
        old_pod.place().keep(field, pod.place());
    }
    allow_node_affinity(&mut old_pod, pod);
    if !old_pod.view().containers().is_empty() {
        allow_resources(old_pod.containers_mut(), pod.containers());
    }
    if !old_pod.view().init_containers().is_empty() {
        allow_resources(old_pod.init_containers_mut(), pod.init_containers());
    }
}

/// Affinity to nodes may come, change and go; with it goes what holds nothing else.
fn allow_node_affinity(old: &mut PodSpecEdit<'_>, new: PodSpec<'_>) {
    let had_any = old.view().affinity().is_some();
    match new.affinity() {
        Some(affinity) => {
            let mut old: AffinityEdit<'_> = old.affinity_mut();
            old.place().keep(Affinity::NODE_AFFINITY, affinity.place());
        }
        None if had_any => {
            let mut affinity = old.affinity_mut();
            affinity.clear_node_affinity();
            let view = affinity.view();
            if view.pod_affinity().is_none() && view.pod_anti_affinity().is_none() {
                old.clear_affinity();
            }
        }
        None => {}
    }
}

fn allow_resources<'e, E: Edit<'e>>(mut old: ListEdit<'_, E>, new: List<'_, Container<'_>>) {
    let mut containers = new.iter();
    old.each(|mut place| {
        if let Some(container) = containers.next() {
            place.keep(Container::RESOURCES, container.place());
        }
    });
}
