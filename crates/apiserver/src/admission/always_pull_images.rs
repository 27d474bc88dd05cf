//! AlwaysPullImages: every image is fetched anew, so that a private image that somebody else's pod left on a node is not run without the
//! right to fetch it (upstream: `plugin/pkg/admission/alwayspullimages`).

use std::collections::HashSet;

use portcullis_gate::Profile;
use portcullis_kinds::views;
use portcullis_kinds::views::Edit as _;
use portcullis_kinds::views::core_v1::{
    ContainerEdit, EphemeralContainerEdit, Pod, PodEdit, PodSpec, Volume, VolumeEdit,
};
use portcullis_model::status::FieldError;

use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::registry::Served;

/// The policy that there is.
const ALWAYS: &str = "Always";
/// The door through which containers come later. Upstream leaves it open.
const EPHEMERAL: &str = "ephemeralcontainers";

/// The plugin.
pub struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if concerns(attempt)
            && let Some(object) = attempt.object.as_deref_mut()
        {
            fetch_always(views::write(object));
        }
        Pass::on()
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let Some(pod) = attempt.new().filter(|_| concerns(attempt)).map(views::read::<Pod<'_>>) else {
            return Pass::on();
        };
        Pass::Now(match policies(pod).find(|(_, _, policy)| *policy != ALWAYS) {
            None => Ok(()),
            Some((list, at, policy)) => {
                let field = format!("spec.{list}[{at}].imagePullPolicy");
                Err(attempt.forbidden(&FieldError::not_supported(field, policy, &[ALWAYS]).to_string()))
            }
        })
    }
}

/// Whether images that were not there before may come to a pod.
fn concerns(attempt: &Attempt<'_>) -> bool {
    let is_locked = attempt.server.config.profile == Profile::Locked;
    let is_door = attempt.subresource().is_empty() || is_locked && attempt.subresource() == EPHEMERAL;
    let Some(new) = attempt.new().filter(|_| is_door).map(views::read::<Pod<'_>>) else { return false };
    let Some(old) = attempt.old.map(views::read::<Pod<'_>>) else { return true };
    let held: HashSet<&str> = images(old).collect();
    images(new).any(|image| !held.contains(image))
}

fn images(pod: Pod<'_>) -> impl Iterator<Item = &str> {
    let spec = pod.spec();
    let first = spec.init_containers().iter().map(|container| container.image());
    let then = spec.containers().iter().map(|container| container.image());
    first.chain(then).chain(spec.ephemeral_containers().iter().map(|container| container.image()))
}

/// The policy of each container, with its place.
fn policies(pod: Pod<'_>) -> impl Iterator<Item = (&'static str, usize, &str)> {
    let spec = pod.spec();
    let placed = |list: &'static str| move |(at, policy)| (list, at, policy);
    let first = spec.init_containers().iter().map(|container| container.image_pull_policy());
    let then = spec.containers().iter().map(|container| container.image_pull_policy());
    let later = spec.ephemeral_containers().iter().map(|container| container.image_pull_policy());
    first
        .enumerate()
        .map(placed("initContainers"))
        .chain(then.enumerate().map(placed("containers")))
        .chain(later.enumerate().map(placed("ephemeralContainers")))
}

fn fetch_always(mut pod: PodEdit<'_>) {
    let mut spec = pod.spec_mut();
    // An absent list stays absent.
    let has = |view: views::At<'_>, field| view.get(field).is_present();
    if has(spec.place().view(), PodSpec::INIT_CONTAINERS) {
        spec.init_containers_mut().each(|place| ContainerEdit::at(place).set_image_pull_policy(ALWAYS));
    }
    if has(spec.place().view(), PodSpec::CONTAINERS) {
        spec.containers_mut().each(|place| ContainerEdit::at(place).set_image_pull_policy(ALWAYS));
    }
    if has(spec.place().view(), PodSpec::EPHEMERAL_CONTAINERS) {
        spec.ephemeral_containers_mut().each(|place| EphemeralContainerEdit::at(place).set_image_pull_policy(ALWAYS));
    }
    if has(spec.place().view(), PodSpec::VOLUMES) {
        spec.volumes_mut().each(|place| {
            if place.view().get(Volume::IMAGE).is_present() {
                VolumeEdit::at(place).image_mut().set_pull_policy(ALWAYS);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_kinds::schema;
    use portcullis_model::schema::{FieldValidation, decode_json, encode_json};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_image_is_fetched() {
        let check = |spec: Value, expected: Value| {
            let text = json!({"spec": spec}).to_string().into_bytes();
            let mut tree = decode_json::decode(schema(), Pod::TYPE, text, FieldValidation::Ignore).unwrap().tree;
            fetch_always(views::write(&mut tree));
            let mut got: Value = serde_json::from_slice(&encode_json::to_vec(schema(), &tree)).unwrap();
            for list in ["containers", "initContainers", "ephemeralContainers"] {
                let containers = got["spec"][list].as_array_mut().into_iter().flatten();
                containers.for_each(|container| drop(container.as_object_mut().unwrap().remove("resources")));
            }
            got["spec"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
            assert_eq!(got["spec"], expected);
            assert!(policies(views::read(&tree)).all(|(_, _, policy)| policy == ALWAYS));
        };
        check(
            json!({"containers": [{"name": "a", "image": "a:1"}]}),
            json!({"containers": [{"name": "a", "image": "a:1", "imagePullPolicy": "Always"}]}),
        );
        check(
            json!({
                "containers": [{"name": "a", "imagePullPolicy": "Never"}, {"name": "b", "imagePullPolicy": "Always"}],
                "initContainers": [{"name": "i", "imagePullPolicy": "IfNotPresent"}],
                "ephemeralContainers": [{"name": "e"}],
                "volumes": [{"name": "v", "image": {"reference": "c:1", "pullPolicy": "Never"}}, {"name": "w", "emptyDir": {}}],
            }),
            json!({
                "containers": [{"name": "a", "imagePullPolicy": "Always"}, {"name": "b", "imagePullPolicy": "Always"}],
                "initContainers": [{"name": "i", "imagePullPolicy": "Always"}],
                "ephemeralContainers": [{"name": "e", "imagePullPolicy": "Always"}],
                "volumes": [{"name": "v", "image": {"reference": "c:1", "pullPolicy": "Always"}}, {"name": "w", "emptyDir": {}}],
            }),
        );
    }
}
