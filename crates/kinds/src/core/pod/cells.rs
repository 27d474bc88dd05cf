//! What a table shows of a pod (upstream: `printPod`). `Status` is not a field: it is the reason that says most of why the pod is not yet,
//! or no longer, what it should be.

use std::collections::BTreeSet;

use portcullis_model::time::age;
use portcullis_model::tree::Tree;

use crate::strategy::Cell;
use crate::views;
use crate::views::core_v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};

const NONE: &str = "<none>";

/// What stands in a column.
pub fn cell(tree: &Tree, column: &str, now: i64) -> Option<Cell> {
    let pod: Pod<'_> = views::read(tree);
    let or_none = |text: &str| if text.is_empty() { NONE.to_owned() } else { text.to_owned() };
    let text = match column {
        "Ready" => {
            let state = State::of(pod);
            format!("{}/{}", state.ready, state.all)
        }
        "Status" => State::of(pod).reason,
        "Restarts" => State::of(pod).restarts.shown(now),
        "IP" => or_none(pod.status().pod_ips().iter().next().map_or("", |first| first.ip())),
        "Node" => or_none(pod.spec().node_name()),
        "Nominated Node" => or_none(pod.status().nominated_node_name()),
        "Readiness Gates" => readiness_gates(pod),
        _ => return None,
    };
    Some(Cell::Text(text))
}

fn readiness_gates(pod: Pod<'_>) -> String {
    let gates = pod.spec().readiness_gates();
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let is_open = |name: &str| {
        let mut conditions = pod.status().conditions().iter();
        conditions.find(|condition| condition.type_() == name).is_some_and(|condition| condition.status() == "True")
    };
    let open = gates.iter().filter(|gate| is_open(gate.condition_type())).count();
    format!("{open}/{}", gates.len())
}

/// How often containers were started again, and when the last of them had ended.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, status: ContainerStatus<'_>) {
        self.count += i64::from(status.restart_count());
        let ended = status.last_state().terminated().and_then(ContainerStateTerminated::finished_at);
        self.last = self.last.max(ended);
    }

    fn shown(self, now: i64) -> String {
        match self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, age(now.saturating_sub(last))),
            _ => self.count.to_string(),
        }
    }
}

/// What all containers of a pod come to.
struct State {
    ready: usize,
    all: usize,
    reason: String,
    restarts: Restarts,
}

/// How the init containers are doing.
struct Init {
    /// Why the pod is not initialised.
    reason: Option<String>,
    /// Of those that stay beside the others.
    ready: usize,
    /// Of all that were looked at.
    restarts: Restarts,
    /// Of those that stay.
    restarts_of_staying: Restarts,
}

impl State {
    fn of(pod: Pod<'_>) -> State {
        let (spec, status) = (pod.spec(), pod.status());
        let staying: BTreeSet<&str> = spec.init_containers().iter().filter(stays).map(Container::name).collect();
        let init = Init::of(pod, &staying);
        let has = |name: &str| {
            status.conditions().iter().any(|condition| condition.type_() == name && condition.status() == "True")
        };
        let (is_initialized, is_waiting) = (init.reason.is_none() || has("Initialized"), init.reason);
        let mut state = State {
            ready: init.ready,
            all: spec.containers().len() + spec.init_containers().iter().filter(stays).count(),
            reason: is_waiting.unwrap_or_else(|| first_reason(pod)),
            restarts: init.restarts,
        };
        if is_initialized {
            state.restarts = init.restarts_of_staying;
            state.look_at_containers(pod, has("Ready"));
        }
        if pod.metadata().deletion_timestamp().is_some() {
            if status.reason() == "NodeLost" {
                "Unknown".clone_into(&mut state.reason);
            } else if !matches!(status.phase(), "Failed" | "Succeeded") {
                "Terminating".clone_into(&mut state.reason);
            }
        }
        state
    }

    /// The first container that has a reason not to run gives it; one that runs makes up for others that are done.
    fn look_at_containers(&mut self, pod: Pod<'_>, is_ready: bool) {
        let mut has_running = false;
        let mut first = None;
        for container in pod.status().container_statuses().iter() {
            self.restarts.add(container);
            let state = container.state();
            let waits = state.waiting().map(|waiting| waiting.reason()).filter(|reason| !reason.is_empty());
            let reason = waits.map(str::to_owned).or_else(|| state.terminated().map(why_ended));
            if let Some(reason) = reason {
                first.get_or_insert(reason);
            } else if container.ready() && state.running().is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if let Some(reason) = first {
            self.reason = reason;
        }
        if self.reason == "Completed" && has_running {
            let reason = if is_ready { "Running" } else { "NotReady" };
            reason.clone_into(&mut self.reason);
        }
    }
}

impl Init {
    /// Looks at init containers in order, to the first that is not done.
    fn of(pod: Pod<'_>, staying: &BTreeSet<&str>) -> Init {
        let none = Restarts::default();
        let mut init = Init { reason: None, ready: 0, restarts: none, restarts_of_staying: none };
        for (index, container) in pod.status().init_container_statuses().iter().enumerate() {
            let (state, stays) = (container.state(), staying.contains(container.name()));
            init.restarts.add(container);
            if stays {
                init.restarts_of_staying.add(container);
            }
            match (state.terminated(), state.waiting()) {
                (Some(ended), _) if ended.exit_code() == 0 => continue,
                _ if stays && container.started() == Some(true) => {
                    init.ready += usize::from(container.ready());
                    continue;
                }
                (Some(ended), _) => init.reason = Some(format!("Init:{}", why_ended(ended))),
                (_, Some(waiting)) if !matches!(waiting.reason(), "" | "PodInitializing") => {
                    init.reason = Some(format!("Init:{}", waiting.reason()));
                }
                _ => init.reason = Some(format!("Init:{index}/{}", pod.spec().init_containers().len())),
            }
            break;
        }
        init
    }
}

/// An init container that stays beside the others (KEP-753).
fn stays(container: &Container<'_>) -> bool {
    container.restart_policy() == Some("Always")
}

/// What the pod itself says.
fn first_reason(pod: Pod<'_>) -> String {
    let status = pod.status();
    let mut conditions = status.conditions().iter();
    let is_gated =
        conditions.any(|condition| condition.type_() == "PodScheduled" && condition.reason() == "SchedulingGated");
    let reason = match (is_gated, status.reason()) {
        (true, _) => "SchedulingGated",
        (false, "") => status.phase(),
        (false, reason) => reason,
    };
    reason.to_owned()
}

fn why_ended(ended: ContainerStateTerminated<'_>) -> String {
    match (ended.reason(), ended.signal()) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
