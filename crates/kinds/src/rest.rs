//! How a kind behaves towards its clients beside its own fields (upstream: the small methods of a strategy,
//! `registry/<group>/<kind>/strategy.go` and `storage.go`).

use portcullis_model::names::NameRule;

/// A selectable field: the label in the selector, and where it stands in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// `spec.nodeName`.
    pub label: &'static str,
    /// Names from the top; the first path that has a value counts.
    pub paths: &'static [&'static str],
    /// What an absent value reads as.
    pub absent: &'static str,
    /// Whether objects are found by it: a field that clients watch by, with many values.
    pub posted: bool,
}

impl SelectableField {
    /// A field that is looked at.
    pub const fn new(label: &'static str, paths: &'static [&'static str]) -> SelectableField {
        SelectableField { label, paths, absent: "", posted: false }
    }

    /// A field that objects are found by.
    pub const fn posted(label: &'static str, paths: &'static [&'static str]) -> SelectableField {
        SelectableField { label, paths, absent: "", posted: true }
    }

    /// A field that reads as this when it is absent.
    pub const fn or(label: &'static str, paths: &'static [&'static str], absent: &'static str) -> SelectableField {
        SelectableField { label, paths, absent, posted: false }
    }
}

/// What becomes of the objects that an object owns, when the client who deletes it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// The garbage collector deletes them.
    Deleted,
    /// They stay, without their owner.
    Orphaned,
    /// It owns none, whatever a client says.
    None,
}

/// What of an object's metadata an update through `/status` leaves as it was, beside what every update does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKeeps {
    /// Nothing more.
    Nothing,
    /// Who owns it, and when it goes.
    Owners,
    /// Its labels.
    Labels,
    /// Those, its labels, annotations and finalizers (`ResetObjectMetaForStatus`): whoever may only report how an object fares must not
    /// thereby decide who owns it, what holds it, or who selects it.
    Metadata,
}

/// A path of field names from the top of an object. [`ANY`] stands for any element.
pub type FieldPath = &'static [&'static str];

/// Any step of a [`FieldPath`].
pub const ANY: &str = "*";

/// What of an object one door does not write. Whoever sends it through that door does not own it (upstream: `GetResetFields` and
/// `GetResetFieldsFilter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resets {
    /// These fields, with all below them.
    Fields(&'static [FieldPath]),
    /// Everything but these fields and what is below them.
    AllBut(&'static [FieldPath]),
}

impl Resets {
    /// Nothing.
    pub const NOTHING: Resets = Resets::Fields(&[]);
    /// What most doors but `/status` leave alone.
    pub const STATUS: Resets = Resets::Fields(&[&["status"]]);
    /// What `/status` leaves alone at least.
    pub const SPEC: Resets = Resets::Fields(&[&["spec"]]);
    /// What `/status` leaves alone where it writes nothing of the metadata.
    pub const SPEC_AND_METADATA: Resets = Resets::Fields(&[&["metadata"], &["spec"]]);
}

/// All of it. What a kind does not say is as in [`Rest::PLAIN`].
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// A change of annotations counts too.
    pub annotations_count: bool,
    /// A change of labels counts too.
    pub labels_count: bool,
    /// PUT of what does not exist creates it (`AllowCreateOnUpdate`): for agents that write their own object by a name they know,
    /// without asking first whether it is there.
    pub put_creates: bool,
    /// An update must say which version it replaces (`!AllowUnconditionalUpdate`).
    pub needs_version: bool,
    /// DELETE answers with the object, not with a Status (`ReturnDeletedObject`).
    pub delete_shows_object: bool,
    /// What becomes of dependents when the client says nothing (`DefaultGarbageCollectionPolicy`).
    pub dependents: Dependents,
    /// How its objects may be named.
    pub name: NameRule,
    /// The kind's own validation of an update checks the metadata in full once more.
    pub update_checks_all_metadata: bool,
    /// The kind's own validation of an update does not compare the metadata with what is stored once more.
    pub update_checks_changes_once: bool,
    /// An update of its status checks the metadata in full once more, too.
    pub status_checks_all_metadata: bool,
    /// What an update through `/status` leaves as it was.
    pub status_keeps: StatusKeeps,
    /// What doors do not write, by subresource (empty for the object itself), where that is not as usual: see [`Rest::resets_of`].
    pub resets: &'static [(&'static str, Resets)],
    /// An update of the object itself writes its status, too.
    pub writes_status: bool,
    /// A deletion that waits is only marked with its time (namespaces and definitions, which have their own finalisation).
    pub marks_time_only: bool,
    /// An object without a name is given its own, as unique as its uid (limit ranges).
    pub names_itself: bool,
    /// Deletion gives the object time to end (pods).
    pub graceful: bool,
    /// A new object may bring its status (nodes, which their kubelets make).
    pub keeps_status_on_create: bool,
    /// Fields that can be selected besides `metadata.name` and `metadata.namespace`. Paths are those of the stored form.
    pub fields: &'static [SelectableField],
    /// Who selects by another field is told group, version and kind.
    pub unknown_field_names_kind: bool,
    /// What everyone is warned of who uses the resource (upstream: `APILifecycleDeprecated`).
    pub deprecated: Option<&'static str>,
    /// The group that complaints about an object name, if it is not its own: that of the type it is handled as.
    pub handled_as_group: Option<&'static str>,
}

impl Rest {
    /// What most kinds are like.
    pub const PLAIN: Rest = Rest {
        generation: false,
        annotations_count: false,
        labels_count: false,
        put_creates: false,
        needs_version: false,
        delete_shows_object: false,
        dependents: Dependents::Deleted,
        name: NameRule::Subdomain,
        update_checks_all_metadata: true,
        update_checks_changes_once: false,
        status_checks_all_metadata: false,
        status_keeps: StatusKeeps::Nothing,
        resets: &[],
        writes_status: false,
        marks_time_only: false,
        names_itself: false,
        graceful: false,
        keeps_status_on_create: false,
        fields: &[],
        unknown_field_names_kind: false,
        deprecated: None,
        handled_as_group: None,
    };

    /// What a door does not write: the status is written through a door of its own, which leaves the spec alone.
    pub fn resets_of(&self, subresource: &str) -> Resets {
        let own = self.resets.iter().find(|(door, _)| *door == subresource);
        own.map_or(if subresource == "status" { Resets::SPEC } else { Resets::STATUS }, |(_, resets)| *resets)
    }
}
