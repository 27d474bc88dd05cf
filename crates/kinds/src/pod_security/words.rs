//! What checks have in common: the containers of a pod in upstream's order, and how those to blame are listed.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};

use super::{Judged, Subject};
use crate::views::List;
use crate::views::core_v1::{
    Container, ContainerPort, EphemeralContainer, Lifecycle, PodSecurityContext, Probe, SecurityContext,
};

/// What checks look at in a container, of whichever sort.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visited<'t> {
    pub(super) name: &'t str,
    pub(super) security: Option<SecurityContext<'t>>,
    whole: Whole<'t>,
}

/// A container of either sort. What few checks look at is only looked up for them.
#[derive(Clone, Copy, Debug)]
enum Whole<'t> {
    Lasting(Container<'t>),
    Ephemeral(EphemeralContainer<'t>),
}

macro_rules! of_whole {
    ($visited:expr, $container:ident => $value:expr) => {
        match $visited.whole {
            Whole::Lasting($container) => $value,
            Whole::Ephemeral($container) => $value,
        }
    };
}

impl<'t> Visited<'t> {
    fn lasting(container: Container<'t>) -> Self {
        Visited { name: container.name(), security: container.security_context(), whole: Whole::Lasting(container) }
    }

    fn ephemeral(container: EphemeralContainer<'t>) -> Self {
        Visited { name: container.name(), security: container.security_context(), whole: Whole::Ephemeral(container) }
    }

    pub(super) fn ports(self) -> List<'t, ContainerPort<'t>> {
        of_whole!(self, container => container.ports())
    }

    pub(super) fn probes(self) -> [Option<Probe<'t>>; 3] {
        of_whole!(self, container => [container.liveness_probe(), container.readiness_probe(), container.startup_probe()])
    }

    pub(super) fn lifecycle(self) -> Option<Lifecycle<'t>> {
        of_whole!(self, container => container.lifecycle())
    }
}

impl<'t> Subject<'t> {
    /// Returns all containers: those that run before, those that run, those that were put in later.
    pub(super) fn visited(self) -> Vec<Visited<'t>> {
        let spec = self.spec;
        let lasting = spec.init_containers().iter().chain(spec.containers().iter()).map(Visited::lasting);
        lasting.chain(spec.ephemeral_containers().iter().map(Visited::ephemeral)).collect()
    }
}

impl<'t> Judged<'t> {
    /// Returns the names of containers that do something.
    pub(super) fn names_where(self, does: impl Fn(Visited<'t>) -> bool) -> Vec<&'t str> {
        self.containers.iter().filter(|container| does(**container)).map(|container| container.name).collect()
    }

    /// Returns the names of containers whose security context says something.
    pub(super) fn saying(self, says: impl Fn(SecurityContext<'t>) -> bool) -> Vec<&'t str> {
        self.names_where(|container| container.security.is_some_and(&says))
    }

    /// Whether the pod's own security context says something.
    pub(super) fn itself_says(self, says: impl Fn(PodSecurityContext<'t>) -> bool) -> bool {
        self.spec.security_context().is_some_and(says)
    }
}

/// Who says something forbidden: `pod and containers "a", "b"`; none if nobody does.
pub(super) fn setters(does_pod: bool, containers: &[&str]) -> Option<String> {
    match (does_pod, containers.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(named("container", containers)),
        (true, false) => Some(format!("pod and {}", named("container", containers))),
    }
}

/// Things with their names: `container "a"`, `containers "a", "b"`.
pub(super) fn named(word: &str, names: &[&str]) -> String {
    format!("{} {}", plural(word, names.len()), quoted(names.iter()))
}

/// A word for one or many.
pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Texts between quotation marks, as they are.
pub(super) fn quoted(texts: impl IntoIterator<Item = impl Display>) -> String {
    joined(texts.into_iter().map(Quoted), ", ")
}

struct Quoted<T>(T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0)
    }
}

/// Texts with something between them.
pub(super) fn joined(texts: impl IntoIterator<Item = impl Display>, between: &str) -> String {
    let mut all = String::new();
    for (at, text) in texts.into_iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(all, "{}{text}", if at == 0 { "" } else { between });
    }
    all
}

/// Values that somebody should not have set: each once, sorted.
pub(super) type Values<'t> = BTreeSet<&'t str>;
