//! Who may be served at once: levels of priority with seats, flows that share a level fairly, queues with an end (upstream: API
//! Priority and Fairness, KEP-1040, `flowcontrol.apiserver.k8s.io`).
//!
//! A request is classified (`classify`: the first flow schema that matches gives a level and a flow), weighed ([`Width`]), and
//! admitted by its level (`dispatcher`), at once or from a queue. It holds a [`Seat`] until it is done. Nothing here knows HTTP.

mod classify;
mod configuration;
mod dispatcher;

pub use classify::{Digest, Flow, Target};
pub use configuration::{
    Configuration, Distinguisher, FlowSchema, Level, LevelKind, NonResourceRule, Overload, PolicyRule, ResourceRule,
    Subject,
};
pub use dispatcher::{Dispatcher, Rejected, RejectedBecause, Seat, Width};
