//! AppArmor profiles, which once were annotations and now are fields (upstream: `applyAppArmorVersionSkew`,
//! `validateAppArmorAnnotationsAndFieldsMatchOnCreate`; KEP-24). What an annotation says goes into the field that is missing; fields are
//! no longer copied to annotations, and where both are given they must say the same.

use std::collections::BTreeMap;

use crate::core::pod_spec::annotations::APP_ARMOR_OF;
use crate::views::core_v1::{AppArmorProfile, Container, ContainerEdit, Pod, PodEdit, PodSpec};
use crate::views::{Edit as _, Map};
use crate::vocabulary::{Errors, Path};

const UNCONFINED: &str = "unconfined";
const RUNTIME_DEFAULT: &str = "runtime/default";
const LOCALHOST: &str = "localhost/";

/// Longest name of a profile on the node.
const PROFILE_BYTES_MAX: usize = 4095;

/// A profile as the fields say it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Profile<'a> {
    type_: &'a str,
    name: Option<&'a str>,
}

impl<'a> Profile<'a> {
    fn of_annotation(text: &'a str) -> Option<Profile<'a>> {
        let plain = |type_| Some(Profile { type_, name: None });
        match text {
            UNCONFINED => plain("Unconfined"),
            RUNTIME_DEFAULT => plain("RuntimeDefault"),
            _ => {
                let name = text.strip_prefix(LOCALHOST)?;
                let is_valid = !name.is_empty() && name.trim() == name && name.len() <= PROFILE_BYTES_MAX;
                is_valid.then_some(Profile { type_: "Localhost", name: Some(name) })
            }
        }
    }

    fn of_field(field: AppArmorProfile<'a>) -> Profile<'a> {
        Profile { type_: field.type_(), name: field.localhost_profile() }
    }
}

fn of_pod(spec: PodSpec<'_>) -> Option<Profile<'_>> {
    spec.security_context()?.app_armor_profile().map(Profile::of_field)
}

fn is_windows(spec: PodSpec<'_>) -> bool {
    spec.os().is_some_and(|os| os.name() == "windows")
}

/// The annotations about profiles: container, value.
fn annotated<'a>(annotations: Map<'a, &'a str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(APP_ARMOR_OF)?, value)))
}

fn has_own_profile(container: Container<'_>) -> bool {
    container.security_context().is_some_and(|context| context.app_armor_profile().is_some())
}

/// Writes what annotations say into the fields of containers that have no profile, unless it is the pod's.
pub fn fill_fields(mut pod: PodEdit<'_>) {
    let view = pod.view();
    if annotated(view.metadata().annotations()).next().is_none() || is_windows(view.spec()) {
        return;
    }
    let whole = of_pod(view.spec());
    let new = annotated(view.metadata().annotations())
        .filter_map(|(container, text)| Some((container, Profile::of_annotation(text)?)))
        .filter(|(_, profile)| Some(*profile) != whole)
        .map(|(container, profile)| {
            (container.to_owned(), (profile.type_.to_owned(), profile.name.map(str::to_owned)))
        });
    let new: BTreeMap<_, _> = new.collect();
    let fill = |mut container: ContainerEdit<'_>| {
        let found = new.get(container.view().name());
        let Some((type_, name)) = found.filter(|_| !has_own_profile(container.view())) else { return };
        let mut context = container.security_context_mut();
        let mut profile = context.app_armor_profile_mut();
        profile.set_type(type_);
        if let Some(name) = name {
            profile.set_localhost_profile(name);
        }
    };
    // To open a list is to have one.
    if !pod.view().spec().init_containers().is_empty() {
        pod.spec_mut().init_containers_mut().each(|place| fill(ContainerEdit::at(place)));
    }
    if !pod.view().spec().containers().is_empty() {
        pod.spec_mut().containers_mut().each(|place| fill(ContainerEdit::at(place)));
    }
}

/// Tells whoever still says it by annotation, before the fields are filled.
pub fn warn(pod: Pod<'_>, warnings: &mut Vec<String>) {
    let (spec, annotations) = (pod.spec(), pod.metadata().annotations());
    if annotated(annotations).next().is_none() || is_windows(spec) {
        return;
    }
    let (whole, said) = (of_pod(spec), annotated(annotations).collect::<BTreeMap<_, _>>());
    for container in spec.init_containers().iter().chain(spec.containers().iter()) {
        let said = said.get_key_value(container.name()).filter(|_| !has_own_profile(container));
        let Some((name, text)) = said else { continue };
        if Profile::of_annotation(text).is_none_or(|profile| Some(profile) != whole) {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            warnings.push(format!("metadata.annotations[{APP_ARMOR_OF}{name}]: {why}"));
        }
    }
}

/// An annotation and the field beside it say the same.
pub fn validate_agreement(pod: Pod<'_>, errors: &mut Errors) {
    let (spec, annotations) = (pod.spec(), pod.metadata().annotations());
    if annotated(annotations).next().is_none() || is_windows(spec) {
        return;
    }
    let (at, said) = (Path::new("spec"), annotated(annotations).collect::<BTreeMap<_, _>>());
    let lists = [("initContainers", spec.init_containers()), ("containers", spec.containers())];
    for (field, list) in lists {
        for (index, container) in list.iter().enumerate() {
            let own = container.security_context().and_then(|context| context.app_armor_profile());
            let profile = own.map(Profile::of_field).or_else(|| of_pod(spec));
            if let (Some(profile), Some(text)) = (profile, said.get(container.name())) {
                agree(profile, text, &at.field(field).index(index).field("securityContext.appArmorProfile"), errors);
            }
        }
    }
}

fn agree(profile: Profile<'_>, text: &str, at: &Path<'_>, errors: &mut Errors) {
    let types_match = match profile.type_ {
        "Unconfined" => text == UNCONFINED,
        "RuntimeDefault" => text == RUNTIME_DEFAULT,
        "Localhost" => match text.strip_prefix(LOCALHOST) {
            Some(name) if profile.name != Some(name) => {
                let why = "apparmor profile in annotation and field must match";
                return errors.forbidden(&at.field("localhostProfile"), why);
            }
            found => found.is_some(),
        },
        _ => true,
    };
    if !types_match {
        errors.forbidden(&at.field("type"), "apparmor type in annotation and field must match");
    }
}
