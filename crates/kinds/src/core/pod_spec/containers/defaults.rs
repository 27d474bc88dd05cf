//! What a container gets that its author left out (upstream: `SetDefaults_Container`, `SetDefaults_Probe`,
//! `SetDefaults_HTTPGetAction`, `SetDefaults_ObjectFieldSelector`, `SetDefaults_ResourceList`). What depends on nothing stands in the facts,
//! and what only a pod gets, not a template, in `pod/defaults.rs`.

use crate::views::core_v1::{
    ContainerEdit, EnvVarEdit, HTTPGetActionEdit, LifecycleHandlerEdit, PodSpecEdit, ProbeEdit,
    ResourceRequirementsEdit,
};
use crate::views::{Edit as _, Place};
use crate::vocabulary::{amounts, images};

/// What of a pod's fields is named by the first version of the API.
const FIELD_VERSION: &str = "v1";
const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";
const TIMEOUT_SECONDS: i64 = 1;
const PERIOD_SECONDS: i64 = 10;
const SUCCESS_THRESHOLD: i64 = 1;
const FAILURE_THRESHOLD: i64 = 3;

/// Gives every container of a pod or template what depends on its other fields.
pub fn default(spec: &mut PodSpecEdit<'_>) {
    each(spec, container);
    if spec.view().resources().is_some() {
        round_up(&mut spec.resources_mut());
    }
}

/// Changes every container. To open a list is to have one, so only those that are there are opened.
fn each(spec: &mut PodSpecEdit<'_>, mut change: impl FnMut(ContainerEdit<'_>)) {
    let mut change = |place: Place<'_>| change(ContainerEdit::at(place));
    if !spec.view().init_containers().is_empty() {
        spec.init_containers_mut().each(&mut change);
    }
    if !spec.view().containers().is_empty() {
        spec.containers_mut().each(&mut change);
    }
    if !spec.view().ephemeral_containers().is_empty() {
        // An ephemeral container has a container's fields under the same numbers.
        spec.ephemeral_containers_mut().each(&mut change);
    }
}

fn container(mut container: ContainerEdit<'_>) {
    if container.view().image_pull_policy().is_empty() {
        let policy = if images::is_latest(container.view().image()) { "Always" } else { "IfNotPresent" };
        container.set_image_pull_policy(policy);
    }
    if container.view().termination_message_path().is_empty() {
        container.set_termination_message_path(TERMINATION_MESSAGE_PATH);
    }
    if container.view().termination_message_policy().is_empty() {
        container.set_termination_message_policy("File");
    }
    if container.view().liveness_probe().is_some() {
        probe(container.liveness_probe_mut());
    }
    if container.view().readiness_probe().is_some() {
        probe(container.readiness_probe_mut());
    }
    if container.view().startup_probe().is_some() {
        probe(container.startup_probe_mut());
    }
    if container.view().lifecycle().is_some() {
        let mut lifecycle = container.lifecycle_mut();
        if lifecycle.view().post_start().is_some() {
            event(lifecycle.post_start_mut());
        }
        if lifecycle.view().pre_stop().is_some() {
            event(lifecycle.pre_stop_mut());
        }
    }
    if !container.view().env().is_empty() {
        container.env_mut().each(|place| variable(EnvVarEdit::at(place)));
    }
    let resources = container.view().resources();
    if !resources.limits().is_empty() || !resources.requests().is_empty() {
        round_up(&mut container.resources_mut());
    }
}

fn probe(mut probe: ProbeEdit<'_>) {
    if probe.view().timeout_seconds() == 0 {
        probe.set_timeout_seconds(TIMEOUT_SECONDS);
    }
    if probe.view().period_seconds() == 0 {
        probe.set_period_seconds(PERIOD_SECONDS);
    }
    if probe.view().success_threshold() == 0 {
        probe.set_success_threshold(SUCCESS_THRESHOLD);
    }
    if probe.view().failure_threshold() == 0 {
        probe.set_failure_threshold(FAILURE_THRESHOLD);
    }
    if probe.view().http_get().is_some() {
        http_get(probe.http_get_mut());
    }
    // No service's name is a name here: the server as a whole.
    if probe.view().grpc().is_some_and(|call| call.service().is_none()) {
        probe.grpc_mut().set_service("");
    }
}

fn event(mut event: LifecycleHandlerEdit<'_>) {
    if event.view().http_get().is_some() {
        http_get(event.http_get_mut());
    }
}

fn http_get(mut get: HTTPGetActionEdit<'_>) {
    if get.view().path().is_empty() {
        get.set_path("/");
    }
    if get.view().scheme().is_empty() {
        get.set_scheme("HTTP");
    }
}

fn variable(mut variable: EnvVarEdit<'_>) {
    let field = variable.view().value_from().and_then(|source| source.field_ref());
    if field.is_some_and(|field| field.api_version().is_empty()) {
        variable.value_from_mut().field_ref_mut().set_api_version(FIELD_VERSION);
    }
}

/// Amounts are kept in thousandths at the finest.
fn round_up(requirements: &mut ResourceRequirementsEdit<'_>) {
    let finer = amounts::finer(requirements.view().limits());
    if !finer.is_empty() {
        amounts::insert(requirements.limits_mut(), &finer);
    }
    let finer = amounts::finer(requirements.view().requests());
    if !finer.is_empty() {
        amounts::insert(requirements.requests_mut(), &finer);
    }
}
