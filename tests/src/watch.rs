//! A watch as a client reads it: events in JSON, one a line of any length, or in protobuf, each behind its length; whole objects,
//! metadata or tables.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::object::Part;

/// What begins an object in protobuf.
const PROTOBUF_MAGIC: &[u8] = b"k8s\0";
/// An object is at most 3 MiB; this says that a frame's length is one.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
    /// JSON, metadata only.
    Metadata,
    /// JSON, a table with metadata in each row.
    Table,
}

impl Form {
    /// All of them, in the order of their names on the wire of the tests' own processes.
    pub const ALL: [Self; 4] = [Self::Json, Self::Protobuf, Self::Metadata, Self::Table];

    /// What a client says to get it.
    pub fn accept(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::Table => "application/json;as=Table;g=meta.k8s.io;v=v1",
        }
    }

    /// What a client says to get a list in it. A watch says in protobuf what a list says in JSON.
    pub fn list_accept(self) -> &'static str {
        match self {
            Self::Protobuf => Self::Json.accept(),
            Self::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Self::Json | Self::Table => self.accept(),
        }
    }

    /// What of an object it shows.
    pub fn part(self) -> Part {
        match self {
            Self::Json => Part::Whole,
            Self::Protobuf => Part::Core,
            Self::Metadata | Self::Table => Part::Metadata,
        }
    }

    /// The objects of a list in this form; protobuf is asked for in watches only.
    pub fn items(self, list: &mut Value) -> Vec<Value> {
        let items = match self {
            Self::Table => list["rows"].as_array_mut().map(|rows| rows.iter_mut().map(|row| row["object"].take())),
            _ => return list["items"].as_array_mut().map(std::mem::take).unwrap_or_default(),
        };
        items.map(Iterator::collect).unwrap_or_default()
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    /// The object; of a table its only row's.
    pub object: Value,
}

/// The body of a watch. Who does not call [`WatchStream::next`] does not read.
pub struct WatchStream {
    body: Incoming,
    form: Form,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    searched: usize,
}

impl WatchStream {
    /// Reads events from an answer.
    pub fn new(body: Incoming, form: Form) -> Self {
        Self { body, form, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next event; nothing when the server ended the watch.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        match self.frame().await? {
            Some(frame) => decode(&frame, self.form).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of the next event, without what divides it from others.
    pub async fn frame(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.whole_frame()? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.context("the watch broke off")?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => {
                    ensure!(self.buffer.is_empty(), "the watch ended within an event: {:?}", self.buffer);
                    return Ok(None);
                }
            }
        }
    }

    fn whole_frame(&mut self) -> Result<Option<Bytes>> {
        if self.form == Form::Protobuf {
            let Some(&[a, b, c, d]) = self.buffer.first_chunk::<4>() else { return Ok(None) };
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            ensure!(len <= FRAME_BYTES_MAX, "a frame of {len} bytes");
            if self.buffer.len() < 4 + len {
                return Ok(None);
            }
            self.buffer.advance(4);
            return Ok(Some(self.buffer.split_to(len).freeze()));
        }
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        let line = self.buffer.split_to(self.searched + end).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Ok(Some(line))
    }
}

/// Reads one event.
pub fn decode(frame: &[u8], form: Form) -> Result<Event> {
    if form == Form::Protobuf {
        return decode_protobuf(frame);
    }
    let mut value: Value = serde_json::from_slice(frame).context("an event that is not JSON")?;
    let kind = value["type"].as_str().context("an event without its type")?.to_owned();
    let mut object = value["object"].take();
    if form == Form::Table && object["kind"] == "Table" {
        let rows = object["rows"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let [mut row] = <[Value; 1]>::try_from(rows).map_err(|rows| anyhow::anyhow!("{} rows", rows.len()))?;
        object = row["object"].take();
    }
    Ok(Event { kind, object })
}

fn decode_protobuf(frame: &[u8]) -> Result<Event> {
    let event = Fields::read(frame)?;
    let envelope = Fields::read(event.bytes(2))?;
    let Some(object) = envelope.bytes(1).strip_prefix(PROTOBUF_MAGIC) else {
        bail!("an object without its magic: {:?}", envelope.bytes(1));
    };
    let unknown = Fields::read(object)?;
    let head = Fields::read(unknown.bytes(1))?;
    let raw = Fields::read(unknown.bytes(2))?;
    let kind = head.text(2)?;
    let object = if kind == "Status" {
        json!({"kind": kind, "message": raw.text(3)?, "reason": raw.text(4)?, "code": raw.number(6)})
    } else {
        let metadata = Fields::read(raw.bytes(1))?;
        let mut shown = Map::new();
        for (name, tag) in [("name", 1), ("namespace", 3), ("uid", 5), ("resourceVersion", 6)] {
            shown.insert(name.to_owned(), metadata.text(tag)?.into());
        }
        shown.insert("labels".to_owned(), metadata.map(11)?);
        shown.insert("annotations".to_owned(), metadata.map(12)?);
        json!({"kind": kind, "metadata": shown, "data": raw.map(2)?})
    };
    Ok(Event { kind: event.text(1)?, object })
}

/// The fields of a protobuf message, as they stand on the wire.
struct Fields<'a>(Vec<(u64, Field<'a>)>);

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn read(mut rest: &'a [u8]) -> Result<Self> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut rest)?),
                2 => {
                    let len = usize::try_from(varint(&mut rest)?)?;
                    let (bytes, after) = rest.split_at_checked(len).context("a field longer than its message")?;
                    rest = after;
                    Field::Bytes(bytes)
                }
                other => bail!("wire type {other}"),
            };
            fields.push((tag >> 3, field));
        }
        Ok(Self(fields))
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |(found, field)| match field {
            Field::Bytes(bytes) if *found == number => Some(*bytes),
            _ => None,
        })
    }

    fn bytes(&self, number: u64) -> &'a [u8] {
        self.all(number).last().unwrap_or_default()
    }

    fn text(&self, number: u64) -> Result<String> {
        Ok(str::from_utf8(self.bytes(number))?.to_owned())
    }

    fn number(&self, number: u64) -> u64 {
        let mut numbers = self.0.iter().filter(|(found, _)| *found == number);
        numbers.find_map(|(_, field)| if let Field::Number(value) = field { Some(*value) } else { None }).unwrap_or(0)
    }

    fn map(&self, number: u64) -> Result<Value> {
        let mut map = Map::new();
        for entry in self.all(number) {
            let entry = Fields::read(entry)?;
            map.insert(entry.text(1)?, entry.text(2)?.into());
        }
        Ok(map.into())
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("a number that does not end")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![tag << 3 | 2, u8::try_from(content.len()).unwrap()];
        field.extend_from_slice(content);
        field
    }

    #[test]
    fn every_form_of_an_event_is_read() {
        let check = |frame: &[u8], form: Form, kind: &str, object: Value| {
            let event = decode(frame, form).unwrap();
            assert_eq!((event.kind.as_str(), event.object), (kind, object), "{form:?}");
        };
        check(br#"{"type":"ADDED","object":{"metadata":{}}}"#, Form::Json, "ADDED", json!({"metadata": {}}));
        let row = br#"{"type":"DELETED","object":{"kind":"Table","rows":[{"cells":["a"],"object":{"metadata":{}}}]}}"#;
        check(row, Form::Table, "DELETED", json!({"metadata": {}}));
        let status = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        check(status, Form::Table, "ERROR", json!({"kind": "Status", "code": 410}));
        let label = [field(1, b"tier"), field(2, b"a")].concat();
        let metadata =
            [field(1, b"a"), field(3, b"harbor"), field(5, b"u"), field(6, b"7"), field(11, &label)].concat();
        let raw = [field(1, &metadata), field(2, &label)].concat();
        let unknown = [field(1, &[field(1, b"v1"), field(2, b"ConfigMap")].concat()), field(2, &raw)].concat();
        let object = [PROTOBUF_MAGIC, &unknown].concat();
        let frame = [field(1, b"MODIFIED"), field(2, &field(1, &object))].concat();
        let metadata = json!({
            "name": "a", "namespace": "harbor", "uid": "u", "resourceVersion": "7", "labels": {"tier": "a"}, "annotations": {},
        });
        let expected = json!({"kind": "ConfigMap", "metadata": metadata, "data": {"tier": "a"}});
        check(&frame, Form::Protobuf, "MODIFIED", expected);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let check = |frame: &[u8], form: Form, part: &str| {
            let error = format!("{:?}", decode(frame, form).unwrap_err());
            assert!(error.contains(part), "{part}: {error}");
        };
        check(b"{", Form::Json, "not JSON");
        check(br#"{"object":{}}"#, Form::Json, "without its type");
        check(br#"{"type":"ADDED","object":{"kind":"Table","rows":[]}}"#, Form::Table, "0 rows");
        check(&field(2, &field(1, b"no magic")), Form::Protobuf, "without its magic");
        check(&[10, 200], Form::Protobuf, "does not end");
        check(&[10, 5, 0], Form::Protobuf, "longer than its message");
    }
}
