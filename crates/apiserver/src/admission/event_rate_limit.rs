//! EventRateLimit: how many events may be written in a second, by all, in a namespace, by a user, or about an object (upstream:
//! `plugin/pkg/admission/eventratelimit`, Configuration of `eventratelimit.admission.k8s.io/v1alpha1`).
//!
//! Every limit takes its share of each event, also when another refuses it. Who is told apart is kept as a digest, so that a bucket costs
//! the same whatever a client calls itself or its objects, and the bucket that was used least recently goes first when there is no room.

mod buckets;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use portcullis_gate::{Document, Profile};
use portcullis_kinds::views;
use portcullis_kinds::views::{core_v1, events_v1};
use portcullis_model::status::{BadValue, FieldError, Reason, Status};

use super::{Attempt, Given, Operation, Pass, Plugin, PluginFault};
use crate::answer::Failure;
use crate::registry::Served;

use buckets::{Buckets, Rate};

const GROUP: &str = "eventratelimit.admission.k8s.io";
const VERSION: &str = "v1alpha1";
const KIND: &str = "Configuration";
/// Buckets of a limit that does not say how many (upstream: 4096).
const CACHE_SIZE_DEFAULT: usize = 4096;
/// Buckets of one limit at most, whatever it says: each costs some 200 bytes.
const CACHE_SIZE_MAX: usize = 1 << 20;

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitType {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

impl LimitType {
    const ALL: [LimitType; 4] = [LimitType::Namespace, LimitType::Server, LimitType::SourceAndObject, LimitType::User];

    fn as_str(self) -> &'static str {
        match self {
            LimitType::Server => "Server",
            LimitType::Namespace => "Namespace",
            LimitType::User => "User",
            LimitType::SourceAndObject => "SourceAndObject",
        }
    }

    /// What an event is told apart by.
    fn key(self, attempt: &Attempt<'_>) -> String {
        match self {
            LimitType::Server => String::new(),
            LimitType::Namespace => attempt.namespace().to_owned(),
            LimitType::User => attempt.identity().name.clone(),
            LimitType::SourceAndObject => source_and_object(attempt).unwrap_or_default(),
        }
    }
}

fn source_and_object(attempt: &Attempt<'_>) -> Option<String> {
    let event = attempt.new()?;
    let (source, object) = match attempt.served().resource.group {
        "" => {
            let event: core_v1::Event<'_> = views::read(event);
            (event.source(), event.involved_object())
        }
        _ => {
            let event: events_v1::Event<'_> = views::read(event);
            (event.deprecated_source(), event.regarding())
        }
    };
    let parts = [
        source.component(),
        source.host(),
        object.kind(),
        object.namespace(),
        object.name(),
        object.uid(),
        object.api_version(),
    ];
    Some(parts.concat())
}

/// One limit.
struct Limit {
    of: LimitType,
    buckets: Mutex<Buckets>,
}

/// The plugin.
pub struct EventRateLimit {
    limits: Vec<Limit>,
}

impl EventRateLimit {
    /// Makes it of what its operator says.
    ///
    /// # Errors
    /// That is nothing, or no Configuration, or one that makes no sense.
    pub fn configured(given: Given<'_>) -> Result<Box<dyn Plugin>, PluginFault> {
        let document = given.configuration.ok_or(PluginFault::Missing)?;
        Ok(Box::new(EventRateLimit { limits: read(document)? }))
    }
}

impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        let is_event = served.is("", "events") || served.is("events.k8s.io", "events");
        is_event && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        // Upstream counts events of the older group alone, so that the newer one is a way around the limits.
        let is_counted = attempt.served().resource.group.is_empty() || attempt.server.config.profile == Profile::Locked;
        if attempt.dry_run || !is_counted {
            return Pass::on();
        }
        let now = attempt.server.env.now_micros();
        let mut passed = Ok(());
        for limit in &self.limits {
            let key = limit.of.key(attempt);
            let mut buckets = limit.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            if !buckets.take(&key, now) {
                passed = Err(refusal(limit.of, &key));
            }
        }
        Pass::Now(passed)
    }
}

fn refusal(of: LimitType, key: &str) -> Failure {
    let message = format!("Too many requests: limit reached on type {} for key {key}", of.as_str());
    Box::new(Status::failure(429, Reason::TooManyRequests, message, None))
}

/// A limit as it is written.
struct Written {
    of: String,
    qps: i64,
    burst: i64,
    cache_size: i64,
}

fn read(document: Document) -> Result<Vec<Limit>, PluginFault> {
    document.expect(GROUP, &[VERSION], KIND)?;
    let written = document.read(|fields| {
        fields.objects("limits", |fields| Written {
            of: fields.string("type"),
            qps: fields.integer("qps").unwrap_or_default(),
            burst: fields.integer("burst").unwrap_or_default(),
            cache_size: fields.integer("cacheSize").unwrap_or_default(),
        })
    })?;
    let mut errors = Vec::new();
    if written.is_empty() {
        errors.push(FieldError::invalid("limits", BadValue::Null, "must not be empty"));
    }
    let limits = written.iter().enumerate().filter_map(|(at, written)| limit(at, written, &mut errors)).collect();
    if errors.is_empty() { Ok(limits) } else { Err(PluginFault::Invalid(errors)) }
}

fn limit(at: usize, written: &Written, errors: &mut Vec<FieldError>) -> Option<Limit> {
    let field = |name: &str| format!("limits[{at}].{name}");
    let of = LimitType::ALL.into_iter().find(|known| known.as_str() == written.of);
    if of.is_none() {
        let known = LimitType::ALL.map(LimitType::as_str);
        errors.push(FieldError::not_supported(field("type"), written.of.as_str(), &known));
    }
    for (name, value) in [("burst", written.burst), ("qps", written.qps)] {
        if i32::try_from(value).is_err() {
            errors.push(FieldError::invalid(field(name), value, "must fit in 32 bits"));
        } else if value <= 0 {
            errors.push(FieldError::invalid(field(name), value, "must be positive"));
        }
    }
    if of != Some(LimitType::Server) && written.cache_size < 0 {
        errors.push(FieldError::invalid(field("cacheSize"), written.cache_size, "must not be negative"));
    }
    let rate = Rate { per_second: written.qps as f64, burst: written.burst as f64 };
    let room = match usize::try_from(written.cache_size) {
        Ok(0) | Err(_) => CACHE_SIZE_DEFAULT,
        Ok(size) => size.min(CACHE_SIZE_MAX),
    };
    Some(Limit { of: of?, buckets: Mutex::new(Buckets::new(rate, room)) })
}
