//! The body of a list: rendered piece by piece as its connection takes it, out of pointers to what is stored.
//!
//! A list of any length costs its pointers and the piece that is on its way, however many clients read it at once. JSON and protobuf
//! items are copied, not encoded; large ones are sent from where they are. gzip of them joins segments ([`crate::segment`]), chained
//! where the list is of everything: other clients' lists have the same neighbours then. What is made for one request (tables, YAML,
//! indented JSON) is compressed as it goes. Upstream: `StreamingCollectionEncodingToJSON` and
//! `StreamingCollectionEncodingToProtobuf`, which hold the decoded list.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body as HttpBody, Frame};
use portcullis_gate::BoxError;
use portcullis_model::schema::encode_protobuf::{Backwards, MAGIC};
use portcullis_model::yaml;
use portcullis_store::Entry;

use crate::answer::{ListAnswer, Unservable};
use crate::body::VersionText;
use crate::forms::{Before, Chained, Item, Show, push_partial, separator};
use crate::negotiate::{Accepted, Format, MetaVersion, Shape};
use crate::pretty::Indenter;
use crate::registry::{Registry, Served};
use crate::segment::{self, Mark, Member, Segment};
use crate::table;

/// What is rendered before it is sent: the longest piece of copied text.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// What is at least as long is not copied, but a piece by itself.
const SHARED_BYTES_MIN: usize = 16 << 10;
/// Bytes that are copied in one go; then whoever else has work to do comes first. Between two steps of a lease's renewal every list
/// that is on its way has a turn, so a turn takes a tenth of a millisecond, whatever it is made of.
const COPIED_BYTES_MAX: usize = 128 << 10;
/// The same for messages and segments, most of which are there.
const KEPT_BYTES_MAX: usize = 32 << 10;
/// The same for what is made for this answer: tables, metadata, YAML, what is indented.
const MADE_BYTES_MAX: usize = 8 << 10;
/// Answers of at most this many bytes are not compressed (upstream's `defaultGzipThresholdBytes`).
pub(crate) const PLAIN_BYTES_MAX: usize = 128 << 10;
/// What every protobuf body ends with: content encoding and content type, both empty.
pub(crate) const ENVELOPE_TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// A list on its way to one client.
pub(crate) struct ListBody {
    source: Source,
    out: Output,
}

/// What is rendered, and how far that is.
struct Source {
    registry: Arc<Registry>,
    /// Where the resource stands in the registry.
    place: usize,
    accepted: Accepted,
    now: i64,
    head: Vec<u8>,
    tail: Vec<u8>,
    entries: Vec<Entry>,
    next: usize,
    /// Whether segments are chained, and what the next one follows.
    is_walk: bool,
    last: Option<Last>,
    stage: Stage,
}

/// The last segment that was joined: its mark, and its text when that was made for it.
struct Last {
    mark: Mark,
    text: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Items,
    Done,
}

/// What becomes of it.
#[derive(Default)]
struct Output {
    indenter: Option<Indenter>,
    coding: Coding,
    pieces: VecDeque<Bytes>,
    text: BytesMut,
    /// Where an item is made that cannot be copied from where it is, and where it is indented.
    made: Vec<u8>,
    indented: Vec<u8>,
    /// Bytes rendered since others came first.
    turn_bytes: usize,
}

#[derive(Default)]
enum Coding {
    #[default]
    Plain,
    /// gzip of joined segments.
    Joined(Member),
    /// gzip of what is made as it goes.
    Streamed(Box<GzEncoder<Vec<u8>>>),
    Ended,
}

impl ListBody {
    /// A body that nothing was rendered of yet.
    pub(crate) fn new(served: &Served, accepted: Accepted, list: ListAnswer, now: i64) -> Result<ListBody, Unservable> {
        let (head, tail) = frame(served, accepted, &list)?;
        let is_indented = accepted.format == Format::Json && accepted.pretty;
        let source = Source {
            place: served.place,
            registry: list.registry,
            accepted,
            now,
            head,
            tail,
            entries: list.entries,
            next: 0,
            is_walk: list.is_walk,
            last: None,
            stage: Stage::Head,
        };
        let out = Output { indenter: is_indented.then(Indenter::default), ..Output::default() };
        Ok(ListBody { source, out })
    }

    /// Renders the beginning, as far as it takes to know whether the body is short. The pieces of one that is.
    pub(crate) async fn begin(&mut self) -> Result<Option<VecDeque<Bytes>>, Unservable> {
        let mut bytes = 0;
        loop {
            self.render_turn()?;
            bytes += std::mem::take(&mut self.out.turn_bytes);
            if self.source.stage == Stage::Done || bytes > PLAIN_BYTES_MAX {
                break;
            }
            tokio::task::yield_now().await;
        }
        if self.source.stage != Stage::Done || bytes > PLAIN_BYTES_MAX && self.source.accepted.gzip {
            return Ok(None);
        }
        self.out.flush();
        Ok(Some(std::mem::take(&mut self.out.pieces)))
    }

    /// Compresses the body from its beginning on.
    pub(crate) fn compress(&mut self) -> io::Result<()> {
        if self.out.indenter.is_none() && show_of(self.source.accepted).is_some() {
            (self.source.next, self.source.last, self.source.stage) = (0, None, Stage::Head);
            let mut head = Vec::new();
            let coding = Coding::Joined(Member::begin(&mut head));
            self.out = Output { coding, ..Output::default() };
            self.out.push(&head);
            return Ok(());
        }
        self.out.flush();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(segment::LEVEL));
        for piece in self.out.pieces.drain(..) {
            encoder.write_all(&piece)?;
        }
        self.out.coding = Coding::Streamed(Box::new(encoder));
        if self.source.stage == Stage::Done {
            self.out.end()?;
        }
        Ok(())
    }

    /// Renders until the turn is over or nothing is left.
    fn render_turn(&mut self) -> Result<(), Unservable> {
        let max = self.turn_bytes_max();
        while self.source.stage != Stage::Done && self.out.turn_bytes <= max {
            self.source.render(&mut self.out)?;
        }
        Ok(())
    }

    /// Renders the next piece, however many turns it takes; nothing at the end.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Bytes>, Unservable> {
        loop {
            self.out.turn_bytes = 0;
            let piece = self.next_piece_of_turn()?;
            if piece.is_some() || self.source.stage == Stage::Done {
                return Ok(piece);
            }
        }
    }

    /// Renders the next piece, at most to the end of the turn; nothing when there is none by then.
    fn next_piece_of_turn(&mut self) -> Result<Option<Bytes>, Unservable> {
        let max = self.turn_bytes_max();
        while self.out.pieces.is_empty() && self.source.stage != Stage::Done && self.out.turn_bytes <= max {
            self.source.render(&mut self.out)?;
            if self.source.stage == Stage::Done {
                self.out.end()?;
            }
        }
        if self.out.pieces.is_empty() {
            self.out.flush();
        }
        Ok(self.out.pieces.pop_front())
    }

    /// Bytes of a turn.
    fn turn_bytes_max(&self) -> usize {
        match (&self.out.coding, show_of(self.source.accepted)) {
            (Coding::Joined(_), Some(_)) | (Coding::Plain, Some(Show::Message | Show::PartialMessage)) => {
                KEPT_BYTES_MAX
            }
            (Coding::Plain, Some(Show::Text)) if self.out.indenter.is_none() => COPIED_BYTES_MAX,
            _ => MADE_BYTES_MAX,
        }
    }

    /// Whether others should come first; then the count begins again.
    fn is_turn_over(&mut self) -> bool {
        let is_over = self.out.turn_bytes > self.turn_bytes_max();
        if is_over {
            self.out.turn_bytes = 0;
        }
        is_over
    }
}

impl HttpBody for ListBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.out.pieces.is_empty() && self.is_turn_over() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match self.next_piece_of_turn() {
            // A whole turn went into the compressor.
            Ok(None) if !self.is_end_stream() => {
                self.out.turn_bytes = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(piece) => piece.map(|piece| Ok(Frame::data(piece))),
            Err(error) => {
                tracing::error!(%error, "a list broke off: stored data cannot be served");
                self.source.stage = Stage::Done;
                Some(Err(error.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.stage == Stage::Done && self.out.pieces.is_empty() && self.out.text.is_empty()
    }
}

/// What the items of an answer are copied or joined from; nothing when they are made for it.
fn show_of(accepted: Accepted) -> Option<Show> {
    match (accepted.format, accepted.shape) {
        (Format::Json, Shape::Object) => Some(Show::Text),
        (Format::Protobuf, Shape::Object) => Some(Show::Message),
        (Format::Json, Shape::Metadata | Shape::MetadataList) if accepted.meta_version == MetaVersion::V1 => {
            Some(Show::Partial)
        }
        (Format::Protobuf, Shape::Metadata | Shape::MetadataList) => Some(Show::PartialMessage),
        _ => None,
    }
}

impl Source {
    /// Renders the next part: the head, an item, or the tail.
    fn render(&mut self, out: &mut Output) -> Result<(), Unservable> {
        if self.stage == Stage::Head {
            self.stage = Stage::Items;
            return out.write(&self.head);
        }
        let Some(entry) = self.entries.get(self.next) else {
            self.stage = Stage::Done;
            return out.write(&self.tail);
        };
        let served = self.registry.all().get(self.place).ok_or(Unservable::Unreadable)?;
        let item = Item::of(served, entry)?;
        let is_first = self.next == 0;
        self.next += 1;
        match show_of(self.accepted) {
            Some(show) if matches!(out.coding, Coding::Joined(_)) => {
                let last = self.last.take().filter(|_| self.is_walk);
                let before = match self.next.checked_sub(2).and_then(|at| self.entries.get(at)).zip(last) {
                    None => None,
                    Some((entry, Last { mark, text })) => Some(Before { item: Item::of(served, entry)?, mark, text }),
                };
                self.last = Some(push_segment(item, show, before, is_first, out)?);
                Ok(())
            }
            Some(show @ (Show::Message | Show::PartialMessage)) => push_message(item, show, out),
            Some(Show::Text) => push_text(item, is_first, out),
            _ => self.make(item, is_first, out),
        }
    }

    /// Renders an item that is made for this answer.
    fn make(&self, item: Item<'_>, is_first: bool, out: &mut Output) -> Result<(), Unservable> {
        let is_yaml = self.accepted.format == Format::Yaml;
        let mut made = std::mem::take(&mut out.made);
        made.clear();
        // YAML has its items by themselves, so each is the only one of a list.
        made.extend_from_slice(if is_yaml {
            b"["
        } else if is_first {
            b""
        } else {
            b","
        });
        let text = item.text()?;
        let body = item.body(&text)?;
        match self.accepted.shape {
            Shape::Object => body.write(b"{", item.version(), &mut made),
            Shape::Metadata | Shape::MetadataList => {
                push_partial(self.accepted.meta_version, &body, item.version(), &mut made);
            }
            Shape::Table => table::push_row(item.served(), self.accepted, &body, item.version(), self.now, &mut made)?,
        }
        if is_yaml {
            made.push(b']');
            out.write(yaml::from_json(&made)?.as_bytes())?;
        } else {
            out.write(&made)?;
        }
        out.made = made;
        Ok(())
    }
}

fn push_text(item: Item<'_>, is_first: bool, out: &mut Output) -> Result<(), Unservable> {
    let text = item.text()?;
    let hole = item.body(&text)?.hole();
    out.write(if is_first { b"{" } else { b",{" })?;
    out.write_shared(&text, 1..hole)?;
    out.write(VersionText::of(item.version()).bytes())?;
    out.write_shared(&text, hole..text.len())
}

fn push_message(item: Item<'_>, show: Show, out: &mut Output) -> Result<(), Unservable> {
    let message = item.message_of(show)?;
    out.write(&separator(show, false, message.len()))?;
    out.write_shared(&message, 0..message.len())
}

/// Joins the segment of an item: chained to the item before it, or plain.
fn push_segment(
    item: Item<'_>,
    show: Show,
    before: Option<Before<'_>>,
    is_first: bool,
    out: &mut Output,
) -> Result<Last, Unservable> {
    let Some(before) = before else {
        let bytes = item.segment(show)?;
        let segment = Segment::of(&bytes).ok_or(Unservable::Unreadable)?;
        out.store(&separator(show, is_first, segment.plain_len()));
        out.join(&segment);
        out.push_shared(&bytes, segment.deflated_range());
        return Ok(Last { mark: segment.mark(item.version()), text: None });
    };
    let Chained { bytes, text } = item.segment_after(before, show)?;
    let segment = Segment::of_chained(&bytes).ok_or(Unservable::Unreadable)?;
    out.join_chained(&separator(show, is_first, segment.plain_len()), &segment);
    out.push_shared(&bytes, segment.deflated_range());
    Ok(Last { mark: segment.mark(item.version()), text })
}

/// Bytes that a message of this length takes as an item of a protobuf list.
pub(crate) fn item_bytes(len: usize) -> usize {
    separator(Show::Message, false, len).len() + len
}

impl Output {
    /// Takes text on its way.
    fn write(&mut self, text: &[u8]) -> Result<(), Unservable> {
        self.turn_bytes += text.len();
        let mut indented = std::mem::take(&mut self.indented);
        let text = match &mut self.indenter {
            None => text,
            Some(indenter) => {
                indented.clear();
                indenter.push(text, &mut indented);
                &indented
            }
        };
        match &mut self.coding {
            Coding::Plain | Coding::Ended => self.push(text),
            Coding::Joined(_) => self.store_now(text),
            Coding::Streamed(encoder) => {
                encoder.write_all(text)?;
                if encoder.get_ref().len() >= PIECE_BYTES_MAX / 2 {
                    let made = std::mem::take(encoder.get_mut());
                    self.push(&made);
                }
            }
        }
        self.indented = indented;
        Ok(())
    }

    /// The same for a text that may be sent from where it is.
    fn write_shared(&mut self, text: &Bytes, range: Range<usize>) -> Result<(), Unservable> {
        let slice = text.get(range.clone()).unwrap_or_default();
        if self.indenter.is_some() || !matches!(self.coding, Coding::Plain) {
            return self.write(slice);
        }
        self.turn_bytes += slice.len();
        self.push_shared(text, range);
        Ok(())
    }

    /// What stands between segments.
    fn store(&mut self, text: &[u8]) {
        self.turn_bytes += text.len();
        self.store_now(text);
    }

    fn store_now(&mut self, text: &[u8]) {
        if let Coding::Joined(member) = &mut self.coding {
            let mut block = Vec::with_capacity(text.len() + 8);
            member.store(text, &mut block);
            self.push(&block);
        }
    }

    fn join(&mut self, segment: &Segment<'_>) {
        self.turn_bytes += segment.plain_len();
        if let Coding::Joined(member) = &mut self.coding {
            member.join(segment);
        }
    }

    fn join_chained(&mut self, separator: &[u8], segment: &Segment<'_>) {
        self.turn_bytes += separator.len() + segment.plain_len();
        if let Coding::Joined(member) = &mut self.coding {
            member.join_chained(separator, segment);
        }
    }

    /// Nothing follows.
    fn end(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.coding, Coding::Ended) {
            Coding::Plain | Coding::Ended => {}
            Coding::Joined(member) => {
                let mut tail = Vec::new();
                member.end(&mut tail);
                self.push(&tail);
            }
            Coding::Streamed(encoder) => self.push(&encoder.finish()?),
        }
        Ok(())
    }

    fn push(&mut self, text: &[u8]) {
        if self.text.capacity() - self.text.len() < text.len() {
            self.flush();
            self.text.reserve(PIECE_BYTES_MAX.max(text.len()));
        }
        self.text.extend_from_slice(text);
    }

    fn push_shared(&mut self, text: &Bytes, range: Range<usize>) {
        if range.len() < SHARED_BYTES_MIN {
            return self.push(text.get(range).unwrap_or_default());
        }
        self.flush();
        self.pieces.push_back(text.slice(range));
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push_back(self.text.split().freeze());
        }
    }
}

/// What stands before and behind the items.
fn frame(served: &Served, accepted: Accepted, list: &ListAnswer) -> Result<(Vec<u8>, Vec<u8>), Unservable> {
    let meta_version = accepted.meta_version.api_version();
    if accepted.format == Format::Protobuf {
        return Ok(match accepted.shape {
            Shape::Object => {
                protobuf_frame(&served.resource.api_version, &format!("{}List", served.resource.kind), list)
            }
            _ => protobuf_frame(meta_version, "PartialObjectMetadataList", list),
        });
    }
    let mut head = Vec::with_capacity(256);
    match accepted.shape {
        Shape::Object => head.extend_from_slice(&served.list_head),
        Shape::Table => head = table::head(accepted),
        Shape::Metadata | Shape::MetadataList => {
            let kind = "PartialObjectMetadataList";
            head =
                format!(r#"{{"kind":"{kind}","apiVersion":"{meta_version}","metadata":{{"resourceVersion":""#).into();
        }
    }
    push_list_meta(list, &mut head);
    let array = if accepted.shape == Shape::Table { "rows" } else { "items" };
    if accepted.shape == Shape::Table {
        table::push_columns(served, true, &mut head);
    } else {
        head.extend_from_slice(br#","items":["#);
    }
    match accepted.format {
        Format::Yaml => yaml_frame(array, head, list.entries.is_empty()),
        _ if accepted.pretty => Ok((head, b"]}".to_vec())),
        _ => Ok((head, b"]}\n".to_vec())),
    }
}

/// Writes a list's metadata from the value of `resourceVersion` to its end.
fn push_list_meta(list: &ListAnswer, json: &mut Vec<u8>) {
    json.extend_from_slice(itoa::Buffer::new().format(list.version).as_bytes());
    json.push(b'"');
    if !list.next.is_empty() {
        json.extend_from_slice(br#","continue":""#);
        json.extend_from_slice(list.next.as_bytes());
        json.push(b'"');
    }
    if let Some(remaining) = list.remaining {
        json.extend_from_slice(br#","remainingItemCount":"#);
        json.extend_from_slice(itoa::Buffer::new().format(remaining).as_bytes());
    }
    json.push(b'}');
}

/// The YAML of the list without items, cut where they go. They are not indented, so they are the same as those of a list by itself.
fn yaml_frame(array: &str, mut json: Vec<u8>, is_empty: bool) -> Result<(Vec<u8>, Vec<u8>), Unservable> {
    json.extend_from_slice(b"]}");
    let whole = yaml::from_json(&json)?;
    // Only a key of the list itself begins a line.
    let line = format!("\n{array}: []\n");
    match whole.split_once(&line) {
        Some((before, behind)) if !is_empty => Ok((format!("{before}\n{array}:\n").into(), behind.into())),
        _ => Ok((whole.into(), Vec::new())),
    }
}

/// Every list type has its metadata in field 1.
fn protobuf_frame(api_version: &str, kind: &str, list: &ListAnswer) -> (Vec<u8>, Vec<u8>) {
    let mut head = Backwards::with_capacity(128 + list.next.len());
    if let Some(remaining) = list.remaining {
        head.field_varint(4, remaining);
    }
    head.field_bytes(3, list.next.as_bytes());
    head.field_bytes(2, itoa::Buffer::new().format(list.version).as_bytes());
    head.field_bytes(1, b"");
    head.close(1, 0);
    let len = head.len() + list.message_bytes;
    push_envelope_head(api_version, kind, len, &mut head);
    (head.finish(), ENVELOPE_TAIL.to_vec())
}

/// Puts in front what stands before a message of this length in its envelope.
pub(crate) fn push_envelope_head(api_version: &str, kind: &str, len: usize, out: &mut Backwards) {
    out.varint(len as u64);
    out.varint(2 << 3 | 2);
    let before = out.len();
    out.field_bytes(2, kind.as_bytes());
    out.field_bytes(1, api_version.as_bytes());
    out.close(1, before);
    out.bytes(MAGIC);
}
