//! The frames of a watch: an event's type and its object, as a line of JSON or as length and protobuf message (upstream:
//! `WatchEvent` through a streaming encoder).
//!
//! A change looks the same to all who see it in the same way, so its frame is made once and kept with the event
//! ([`portcullis_store::Event::form`]): each further watcher costs a reference. Tables are made for each watcher: their ages
//! depend on the moment, and their columns come once.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use portcullis_model::status::Status;
use portcullis_store::{Entry, Event};

use crate::answer::{Failure, ObjectAnswer, bookmark_bytes, entry_bytes, object_bytes, unreadable};
use crate::forms::Item;
use crate::negotiate::{Accepted, Format, MetaVersion, Shape};
use crate::registry::{Registry, Served};

/// Ends the state that a watch began with.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// What a frame has beside its object, the version of the object included.
const ENVELOPE_BYTES: usize = 96;

/// What an event says has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }

    /// What one sees who is shown some objects, by whether this one is and was among them.
    pub(super) fn seen(is_meant: bool, was_meant: bool) -> Option<EventType> {
        match (is_meant, was_meant) {
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Added),
            (false, true) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }
}

/// Writes the frames of one watcher.
pub(super) struct Framer {
    registry: Arc<Registry>,
    /// Where the resource stands in the registry.
    place: usize,
    accepted: Accepted,
    /// The number of its frames, the type of the event apart; nothing when they are not shared.
    number: Option<u16>,
    /// Whether the next table says what its columns are.
    columns: bool,
}

impl Framer {
    /// A framer for a resource of this registry.
    pub(super) fn new(registry: &Arc<Registry>, served: &Served, accepted: Accepted) -> Framer {
        let number = shared_number(served.variant, accepted);
        Framer { registry: Arc::clone(registry), place: served.place, accepted, number, columns: true }
    }

    /// Whether frames of changes are the same for all who see them.
    pub(super) fn is_shared(&self) -> bool {
        self.number.is_some()
    }

    /// The resource.
    pub(super) fn served(&self) -> Option<&Served> {
        self.registry.all().get(self.place)
    }

    /// The frame of a change: of `entry` as of `version`. Shared where it can be. `now` is in seconds since 1970.
    pub(super) fn change(
        &mut self,
        event: &Event,
        ty: EventType,
        entry: &Entry,
        version: u64,
        now: i64,
    ) -> Result<Bytes, Failure> {
        let columns = std::mem::take(&mut self.columns);
        let make = || self.made(ty, entry, version, now, columns).map(Bytes::from);
        match self.number {
            Some(number) => event.form(number | ty as u16, make),
            None => make(),
        }
    }

    fn made(&self, ty: EventType, entry: &Entry, version: u64, now: i64, columns: bool) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        let Some(served) = self.served() else { return Ok(out) };
        if self.is_plain() {
            self.push_plain(ty, served, entry, version, &mut out)?;
        } else {
            let text = served.serve(&entry.value).map_err(unreadable)?;
            let object = ObjectAnswer { text, version, code: StatusCode::OK };
            self.push(ty, &object_bytes(served, self.accepted, &object, now, columns)?, &mut out);
        }
        Ok(out)
    }

    /// Appends the frame of an object that was there when the watch began, out of what is kept beside it.
    pub(super) fn push_state(&mut self, entry: &Entry, now: i64, out: &mut Vec<u8>) -> Result<(), Failure> {
        let columns = std::mem::take(&mut self.columns);
        let Some(served) = self.served() else { return Ok(()) };
        if self.is_plain() {
            return self.push_plain(EventType::Added, served, entry, entry.version, out);
        }
        self.push(EventType::Added, &entry_bytes(served, self.accepted, entry, now, columns)?, out);
        Ok(())
    }

    /// Whether objects are sent as their JSON.
    fn is_plain(&self) -> bool {
        (self.accepted.format, self.accepted.shape) == (Format::Json, Shape::Object)
    }

    fn push_plain(
        &self,
        ty: EventType,
        served: &Served,
        entry: &Entry,
        version: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let item = Item::of(served, entry)?;
        let text = item.text()?;
        out.reserve(served.head.len() + text.len() + ENVELOPE_BYTES);
        begin_json(ty, out);
        item.body(&text)?.write(&served.head, version, out);
        end_json(out);
        Ok(())
    }

    /// The frame that says how far the watcher is; `ends_state` is whether the state ends with it.
    pub(super) fn bookmark(&self, version: u64, ends_state: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(served) = self.served() {
            let annotation = ends_state.then_some(INITIAL_EVENTS_END);
            self.push(EventType::Bookmark, &bookmark_bytes(served, self.accepted, version, annotation), &mut out);
        }
        out
    }

    /// The frame that says why a watch ends.
    pub(super) fn error(&self, status: &Status) -> Vec<u8> {
        let mut out = Vec::new();
        let object = match self.accepted.format {
            Format::Protobuf => status.to_protobuf(),
            Format::Json | Format::Yaml => {
                let mut json = Vec::new();
                status.push_json(&mut json);
                json
            }
        };
        self.push(EventType::Error, &object, &mut out);
        out
    }

    fn push(&self, ty: EventType, object: &[u8], out: &mut Vec<u8>) {
        out.reserve(object.len() + ENVELOPE_BYTES);
        if self.accepted.format == Format::Protobuf {
            return push_protobuf(ty, object, out);
        }
        begin_json(ty, out);
        out.extend_from_slice(object);
        end_json(out);
    }
}

fn begin_json(ty: EventType, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(ty.as_str().as_bytes());
    out.extend_from_slice(br#"","object":"#);
}

fn end_json(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

/// Four bytes of length, then a `WatchEvent`: its type in field 1, and in field 2 a message with the object in field 1.
fn push_protobuf(ty: EventType, object: &[u8], out: &mut Vec<u8>) {
    const TYPE: u8 = 0x0a;
    const OBJECT: u8 = 0x12;
    const RAW: u8 = 0x0a;
    let name = ty.as_str().as_bytes();
    let raw = 1 + varint_bytes(object.len()) + object.len();
    let all = 2 + name.len() + 1 + varint_bytes(raw) + raw;
    out.extend_from_slice(&u32::try_from(all).unwrap_or(u32::MAX).to_be_bytes());
    out.push(TYPE);
    push_varint(name.len(), out);
    out.extend_from_slice(name);
    out.push(OBJECT);
    push_varint(raw, out);
    out.push(RAW);
    push_varint(object.len(), out);
    out.extend_from_slice(object);
}

fn varint_bytes(value: usize) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
}

fn push_varint(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number under which an event keeps frames of this sort: from the lowest bit on two for the type of the event, one for
/// the encoding, one for metadata alone, one for the version of that, and the rest for the version of the resource.
fn shared_number(variant: u16, accepted: Accepted) -> Option<u16> {
    let shape = match accepted.shape {
        Shape::Object => 0,
        Shape::Metadata | Shape::MetadataList => 1,
        Shape::Table => return None,
    };
    let format = match accepted.format {
        Format::Json | Format::Yaml => 0,
        Format::Protobuf => 1,
    };
    let meta_version = u16::from(shape == 1 && accepted.meta_version == MetaVersion::V1beta1);
    Some(variant << 5 | meta_version << 4 | shape << 3 | format << 2)
}
