//! `Event`, of the core group and of `events.k8s.io`: one object in two views, stored as the former (upstream: `registry/core/event`,
//! `apis/core/validation/events.go`; KEP-383).
//!
//! The newer view is held to more: what it writes is new, has a series or happened once, and stays what it was. The older one may write
//! nearly anything, as its clients have done since before there were rules.

use portcullis_model::names::{self, NameRule};
use portcullis_model::tree::Tree;

use crate::rest::{Dependents, Rest, SelectableField};
use crate::strategy::{Cell, Strategy};
use crate::views::{self, At, Field, Micros, Seconds, core_v1, events_v1};
use crate::vocabulary::frozen::{IMMUTABLE, frozen, frozen_struct, frozen_text, is_same};
use crate::vocabulary::{Errors, Path};

/// Characters of the name of who reports it.
const REPORTING_INSTANCE_BYTES_MAX: usize = 128;
/// Characters of what was done.
const ACTION_BYTES_MAX: usize = 128;
/// Characters of why.
const REASON_BYTES_MAX: usize = 128;
/// Characters of what is told.
const MESSAGE_BYTES_MAX: usize = 1024;
/// How often something happened that is a series.
const SERIES_COUNT_MIN: i32 = 2;
const MICROS_PER_SECOND: i64 = 1_000_000;

const NOT_ITS_NAMESPACE: &str = "does not match event.namespace";
const UNSET: &str = "needs to be unset";

/// The rules of the core `Event`.
pub const CORE: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        dependents: Dependents::None,
        // Older events are not validated beyond what every name must be.
        name: NameRule::PathSegment,
        update_checks_all_metadata: false,
        fields: CORE_FIELDS,
        ..Rest::PLAIN
    },
    validate_create: |tree, errors| any(Seen::core(tree), errors),
    validate_update: |tree, _, _, errors| any(Seen::core(tree), errors),
    cell: |tree, column, now| Seen::core(tree).cell(column, now),
    ..Strategy::NONE
};

/// The rules of the `Event` of `events.k8s.io`.
pub const EVENTS: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        dependents: Dependents::None,
        update_checks_all_metadata: false,
        handled_as_group: Some(""),
        fields: EVENTS_FIELDS,
        ..Rest::PLAIN
    },
    validate_create,
    validate_update,
    cell: |tree, column, now| Seen::newer(tree).cell(column, now),
    ..Strategy::NONE
};

const CORE_FIELDS: &[SelectableField] = &[
    SelectableField::new("involvedObject.kind", &["involvedObject.kind"]),
    SelectableField::new("involvedObject.namespace", &["involvedObject.namespace"]),
    SelectableField::posted("involvedObject.name", &["involvedObject.name"]),
    SelectableField::posted("involvedObject.uid", &["involvedObject.uid"]),
    SelectableField::new("involvedObject.apiVersion", &["involvedObject.apiVersion"]),
    SelectableField::new("involvedObject.resourceVersion", &["involvedObject.resourceVersion"]),
    SelectableField::new("involvedObject.fieldPath", &["involvedObject.fieldPath"]),
    SelectableField::new("reason", &["reason"]),
    SelectableField::new("reportingComponent", &["reportingComponent"]),
    SelectableField::new("source", &["source.component", "reportingComponent"]),
    SelectableField::new("type", &["type"]),
];

const EVENTS_FIELDS: &[SelectableField] = &[
    SelectableField::new("regarding.kind", &["involvedObject.kind"]),
    SelectableField::new("regarding.namespace", &["involvedObject.namespace"]),
    SelectableField::posted("regarding.name", &["involvedObject.name"]),
    SelectableField::posted("regarding.uid", &["involvedObject.uid"]),
    SelectableField::new("regarding.apiVersion", &["involvedObject.apiVersion"]),
    SelectableField::new("regarding.resourceVersion", &["involvedObject.resourceVersion"]),
    SelectableField::new("regarding.fieldPath", &["involvedObject.fieldPath"]),
    SelectableField::new("reason", &["reason"]),
    SelectableField::new("reportingController", &["reportingComponent"]),
    SelectableField::new("type", &["type"]),
];

/// An event, whichever view it is looked at in. Places are those of the view, paths those that complaints name in both.
#[derive(Clone, Copy)]
struct Seen<'t> {
    name: &'t str,
    namespace: &'t str,
    event_time: Micros,
    involved: core_v1::ObjectReference<'t>,
    reporting_controller: &'t str,
    /// What complaints call the field before.
    reporting_controller_name: &'static str,
    reporting_instance: &'t str,
    action: &'t str,
    reason: &'t str,
    message: &'t str,
    ty: &'t str,
    source: core_v1::EventSource<'t>,
    first_timestamp: Seconds,
    last_timestamp: Seconds,
    count: i32,
    series: Option<(i32, Micros)>,
}

impl<'t> Seen<'t> {
    fn core(tree: &'t Tree) -> Seen<'t> {
        let event: core_v1::Event<'t> = views::read(tree);
        Seen {
            name: event.metadata().name(),
            namespace: event.metadata().namespace(),
            event_time: event.event_time(),
            involved: event.involved_object(),
            reporting_controller: event.reporting_component(),
            reporting_controller_name: "reportingComponent",
            reporting_instance: event.reporting_instance(),
            action: event.action(),
            reason: event.reason(),
            message: event.message(),
            ty: event.type_(),
            source: event.source(),
            first_timestamp: event.first_timestamp(),
            last_timestamp: event.last_timestamp(),
            count: event.count(),
            series: event.series().map(|series| (series.count(), series.last_observed_time())),
        }
    }

    fn newer(tree: &'t Tree) -> Seen<'t> {
        let event: events_v1::Event<'t> = views::read(tree);
        Seen {
            name: event.metadata().name(),
            namespace: event.metadata().namespace(),
            event_time: event.event_time(),
            involved: event.regarding(),
            reporting_controller: event.reporting_controller(),
            reporting_controller_name: "reportingController",
            reporting_instance: event.reporting_instance(),
            action: event.action(),
            reason: event.reason(),
            message: event.note(),
            ty: event.type_(),
            source: event.deprecated_source(),
            first_timestamp: event.deprecated_first_timestamp(),
            last_timestamp: event.deprecated_last_timestamp(),
            count: event.deprecated_count(),
            series: event.series().map(|series| (series.count(), series.last_observed_time())),
        }
    }
}

/// What holds in both views (upstream: `legacyValidateEvent`). An event with a time is one of the newer kind.
fn any(event: Seen<'_>, errors: &mut Errors) {
    let at_namespace = Path::new("involvedObject.namespace");
    let involved = event.involved.namespace();
    if event.event_time.is_none() {
        let is_same = if involved.is_empty() { event.namespace == "default" } else { involved == event.namespace };
        if !is_same {
            errors.invalid(&at_namespace, involved, NOT_ITS_NAMESPACE);
        }
        return;
    }
    if involved.is_empty() && !matches!(event.namespace, "default" | "kube-system") {
        errors.invalid(&at_namespace, involved, NOT_ITS_NAMESPACE);
    }
    let at = Path::new(event.reporting_controller_name);
    if event.reporting_controller.is_empty() {
        errors.required(&at, "");
    }
    errors.complain(&at, event.reporting_controller, names::qualified_name(event.reporting_controller));
    let texts = [
        ("reportingInstance", event.reporting_instance, REPORTING_INSTANCE_BYTES_MAX),
        ("action", event.action, ACTION_BYTES_MAX),
        ("reason", event.reason, REASON_BYTES_MAX),
    ];
    for (field, text, bytes_max) in texts {
        if text.is_empty() {
            errors.required(&Path::new(field), "");
        }
        no_longer_than(text, bytes_max, field, errors);
    }
    no_longer_than(event.message, MESSAGE_BYTES_MAX, "message", errors);
}

fn no_longer_than(text: &str, bytes_max: usize, field: &str, errors: &mut Errors) {
    if text.len() > bytes_max {
        errors.invalid(&Path::new(field), "", format!("can have at most {bytes_max} characters"));
    }
}

/// A new event in the newer view has a time, and nothing that only older clients write.
fn validate_create(tree: &Tree, errors: &mut Errors) {
    let event = Seen::newer(tree);
    any(event, errors);
    series(event, errors);
    if event.event_time.is_none() {
        errors.required(&Path::new("eventTime"), "");
    }
    if !matches!(event.ty, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {}", event.ty));
    }
    let old_fields = [
        ("firstTimestamp", event.first_timestamp.is_some()),
        ("lastTimestamp", event.last_timestamp.is_some()),
        ("count", event.count != 0),
        ("source", !event.source.component().is_empty() || !event.source.host().is_empty()),
    ];
    for (field, _) in old_fields.iter().filter(|(_, is_set)| *is_set) {
        errors.invalid(&Path::new(field), "", UNSET);
    }
}

/// What goes on is a series of at least two.
fn series(event: Seen<'_>, errors: &mut Errors) {
    let Some((count, last)) = event.series else { return };
    if count < SERIES_COUNT_MIN {
        errors.invalid(&Path::new("series.count"), "", format!("should be at least {SERIES_COUNT_MIN}"));
    }
    if last.is_none() {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

/// In the newer view only the series goes on.
fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    type Event<'t> = events_v1::Event<'t>;
    let (new, was) = (Seen::newer(tree), Seen::newer(old));
    any(new, errors);
    let (tree, old) = (At::root(tree), At::root(old));
    if !is_same(tree.get(Event::SERIES), old.get(Event::SERIES)) {
        series(new, errors);
    }
    let kept = |field: Field, name: &str, errors: &mut Errors| {
        frozen(tree.get(field), old.get(field), &Path::new(name), errors);
    };
    let text = |new: &str, old: &str, name: &str, errors: &mut Errors| {
        frozen_text(new, old, &Path::new(name), errors);
    };
    frozen_struct(new.involved.place(), was.involved.place(), &Path::new("involvedObject"), errors);
    text(new.reason, was.reason, "reason", errors);
    text(new.message, was.message, "message", errors);
    frozen_struct(new.source.place(), was.source.place(), &Path::new("source"), errors);
    kept(Event::DEPRECATED_FIRST_TIMESTAMP, "firstTimestamp", errors);
    kept(Event::DEPRECATED_LAST_TIMESTAMP, "lastTimestamp", errors);
    if new.count != was.count {
        errors.invalid(&Path::new("count"), i64::from(new.count), IMMUTABLE);
    }
    // The reason is told twice, as upstream does.
    text(new.reason, was.reason, "reason", errors);
    text(new.ty, was.ty, "type", errors);
    kept(Event::EVENT_TIME, "eventTime", errors);
    text(new.action, was.action, "action", errors);
    kept(Event::RELATED, "related", errors);
    text(new.reporting_controller, was.reporting_controller, "reportingController", errors);
    text(new.reporting_instance, was.reporting_instance, "reportingInstance", errors);
}

impl Seen<'_> {
    /// What a table shows of an event.
    fn cell(self, column: &str, now: i64) -> Option<Cell> {
        let seconds = |time: Micros| time.map(|micros| micros.div_euclid(MICROS_PER_SECOND));
        let first = self.first_timestamp.or(seconds(self.event_time));
        let since = |time: Seconds| match time {
            Some(time) => Cell::Duration(now.saturating_sub(time)),
            None => Cell::Text("<unknown>".to_owned()),
        };
        Some(match column {
            "Last Seen" => since(match self.series {
                Some((_, last)) => seconds(last),
                None => self.last_timestamp.or(first),
            }),
            "First Seen" => since(first),
            "Count" => Cell::Int(match (self.series, self.count) {
                (Some((count, _)), _) => count.into(),
                (None, 0) => 1,
                (None, count) => count.into(),
            }),
            "Type" => Cell::Text(self.ty.to_owned()),
            "Reason" => Cell::Text(self.reason.to_owned()),
            "Object" => Cell::Text(self.involved_object()),
            "Subobject" => Cell::Text(self.involved.field_path().to_owned()),
            "Source" => Cell::Text(self.reporter()),
            "Message" => Cell::Text(self.message.trim().to_owned()),
            "Name" => Cell::Text(self.name.to_owned()),
            _ => return None,
        })
    }

    fn involved_object(self) -> String {
        let kind = self.involved.kind().to_lowercase();
        match self.involved.name() {
            "" => kind,
            name => format!("{kind}/{name}"),
        }
    }

    /// Who reports it, and where that runs.
    fn reporter(self) -> String {
        let first = |older: &str, newer: &str| if older.is_empty() { newer.to_owned() } else { older.to_owned() };
        let component = first(self.source.component(), self.reporting_controller);
        let instance = first(self.source.host(), self.reporting_instance);
        if instance.is_empty() { component } else { format!("{component}, {instance}") }
    }
}

#[cfg(test)]
mod tests;
