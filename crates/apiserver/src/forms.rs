//! What is made of a stored object for readers: its text in the version served, its protobuf message, its metadata alone, and a gzip
//! segment of each. Made on first demand and kept beside the object while there is room ([`Entry::form`]), so that a reader encodes
//! and compresses nothing that another one had before.
//!
//! A form is of one version of one object, so the version is in it. A chained segment is also of the object before it in the list
//! and is made again when that is another one. Answers to upstream's `cachingObject`, which only watches have.

use std::borrow::Cow;

use bytes::Bytes;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, encode_protobuf};
use portcullis_model::tree::Scalar;
use portcullis_store::Entry;

use crate::answer::Unservable;
use crate::body::Body;
use crate::negotiate::MetaVersion;
use crate::registry::Served;
use crate::registry::metadata::metadata_of;
use crate::segment::{self, Mark};

/// The items of every list type are its field 2.
const ITEMS_TAG: u8 = 2 << 3 | 2;
/// Resources that may share their storage: the stored version, and the one that is served beside it. Each has forms of its own.
pub(crate) const VARIANTS: u16 = 2;

/// What can be made of an object. The discriminants are the numbers of [`Entry::form`], times [`VARIANTS`]; nobody else gives any out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The JSON text in a version that is not the stored one, without type head and version.
    Text,
    /// The protobuf message.
    Message,
    /// The protobuf message of the metadata alone.
    PartialMessage,
    /// Segments of what [`Show`] names.
    TextSegment,
    MessageSegment,
    PartialSegment,
    PartialMessageSegment,
    /// The same, chained to what stands before it in a list of everything.
    TextChained,
    MessageChained,
    PartialChained,
    PartialMessageChained,
}

/// What an item of a list, or an object, is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// JSON.
    Text,
    /// JSON of the metadata alone.
    Partial,
    /// A protobuf message.
    Message,
    /// A protobuf message of the metadata alone.
    PartialMessage,
}

/// The item that another one stands behind.
pub(crate) struct Before<'a> {
    pub(crate) item: Item<'a>,
    /// The mark of its segment.
    pub(crate) mark: Mark,
    /// What the segment is made of, when that is at hand.
    pub(crate) text: Option<Bytes>,
}

/// A chained segment.
pub(crate) struct Chained {
    pub(crate) bytes: Bytes,
    /// What it is made of, when it was made just now.
    pub(crate) text: Option<Bytes>,
}

/// An object as a resource serves it.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    served: &'a Served,
    entry: &'a Entry,
}

impl<'a> Item<'a> {
    /// Refuses what could not be read when it came into memory.
    pub(crate) fn of(served: &'a Served, entry: &'a Entry) -> Result<Item<'a>, Unservable> {
        if entry.index().is_unreadable() { Err(Unservable::Unreadable) } else { Ok(Item { served, entry }) }
    }

    fn number(self, form: Form) -> u16 {
        form as u16 * VARIANTS + self.served.variant
    }

    /// The JSON text in the served version, without type head and version.
    pub(crate) fn text(self) -> Result<Cow<'a, Bytes>, Unservable> {
        if self.served.stored_as_served() {
            return Ok(Cow::Borrowed(&self.entry.value));
        }
        let text = self.entry.form(self.number(Form::Text), || self.served.serve(&self.entry.value));
        Ok(Cow::Owned(text?))
    }

    /// The places in a text of [`Item::text`].
    pub(crate) fn body<'t>(self, text: &'t [u8]) -> Result<Body<'t>, Unservable> {
        if self.served.stored_as_served() {
            let index = self.entry.index();
            return Ok(Body::placed(text, index.hole(), index.metadata_end()));
        }
        Ok(Body::of(text)?)
    }

    /// The protobuf message, with the version.
    pub(crate) fn message(self) -> Result<Bytes, Unservable> {
        self.entry.form(self.number(Form::Message), || {
            let message = message(self.served, &self.text()?, self.entry.version)?;
            Ok(message.into_boxed_slice().into())
        })
    }

    /// The protobuf message of the metadata alone, with the version.
    pub(crate) fn partial_message(self) -> Result<Bytes, Unservable> {
        self.entry.form(self.number(Form::PartialMessage), || {
            let text = self.text()?;
            let mut json = Vec::with_capacity(512);
            push_partial(MetaVersion::V1, &self.body(&text)?, self.entry.version, &mut json);
            Ok(partial_message(self.served, json)?.into_boxed_slice().into())
        })
    }

    /// A gzip segment ([`crate::segment`]) of what is shown; of JSON all but the first brace, which a type head may replace.
    pub(crate) fn segment(self, show: Show) -> Result<Bytes, Unservable> {
        let form = match show {
            Show::Text => Form::TextSegment,
            Show::Partial => Form::PartialSegment,
            Show::Message => Form::MessageSegment,
            Show::PartialMessage => Form::PartialMessageSegment,
        };
        self.entry.form(self.number(form), || Ok(segment::compress(&self.plain(show)?)))
    }

    /// A segment of the same and the separator before it, chained to the item before.
    pub(crate) fn segment_after(self, before: Before<'_>, show: Show) -> Result<Chained, Unservable> {
        let form = match show {
            Show::Text => Form::TextChained,
            Show::Partial => Form::PartialChained,
            Show::Message => Form::MessageChained,
            Show::PartialMessage => Form::PartialMessageChained,
        };
        let is_valid = |kept: &Bytes| before.mark.is_of(kept);
        let mut made = None;
        let bytes = self.entry.form_if(self.number(form), is_valid, || {
            let text = made.insert(self.plain(show)?);
            let before_text = before.text.map_or_else(|| before.item.plain(show), Ok)?;
            let separator = separator(show, false, text.len());
            Ok::<_, Unservable>(segment::compress_after(before.mark, &before_text, &separator, text))
        })?;
        Ok(Chained { bytes, text: made })
    }

    /// What a segment is made of.
    fn plain(self, show: Show) -> Result<Bytes, Unservable> {
        let mut json = Vec::new();
        Ok(match show {
            Show::Message | Show::PartialMessage => self.message_of(show)?,
            Show::Text => {
                let text = self.text()?;
                self.body(&text)?.write(b"", self.entry.version, &mut json);
                json.into()
            }
            Show::Partial => {
                let text = self.text()?;
                push_partial(MetaVersion::V1, &self.body(&text)?, self.entry.version, &mut json);
                json.drain(..json.len().min(1));
                json.into()
            }
        })
    }

    /// [`Item::message`] or [`Item::partial_message`].
    pub(crate) fn message_of(self, show: Show) -> Result<Bytes, Unservable> {
        if show == Show::PartialMessage { self.partial_message() } else { self.message() }
    }

    /// The version of the object.
    pub(crate) fn version(self) -> u64 {
        self.entry.version
    }

    /// The resource it is served as.
    pub(crate) fn served(self) -> &'a Served {
        self.served
    }
}

/// What stands before an item of this length in a list, as far as it is in no plain segment.
pub(crate) fn separator(show: Show, is_first: bool, mut len: usize) -> Vec<u8> {
    match show {
        Show::Text | Show::Partial if is_first => b"{".to_vec(),
        Show::Text | Show::Partial => b",{".to_vec(),
        Show::Message | Show::PartialMessage => {
            let mut head = Vec::with_capacity(8);
            head.push(ITEMS_TAG);
            while len >= 128 {
                head.push(len as u8 | 128);
                len >>= 7;
            }
            head.push(len as u8);
            head
        }
    }
}

/// The protobuf message of an object with its version; 0 for none.
pub(crate) fn message(served: &Served, text: &[u8], version: u64) -> Result<Vec<u8>, DecodeError> {
    let mut tree =
        decode_json::decode(served.schema, served.resource.type_id, text.to_vec(), FieldValidation::Ignore)?.tree;
    if version != 0 {
        let metadata = metadata_of(served, &mut tree);
        tree.set(metadata, served.meta.resource_version, Scalar::String(itoa::Buffer::new().format(version)));
    }
    Ok(encode_protobuf::encode(served.schema, &tree))
}

/// The protobuf message of JSON that [`push_partial`] wrote.
pub(crate) fn partial_message(served: &Served, json: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    let tree = decode_json::decode(served.schema, served.meta.partial_ty, json, FieldValidation::Ignore)?.tree;
    Ok(encode_protobuf::encode(served.schema, &tree))
}

/// Appends the metadata alone as an object of its own.
pub(crate) fn push_partial(version: MetaVersion, body: &Body<'_>, object_version: u64, json: &mut Vec<u8>) {
    json.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
    json.extend_from_slice(version.api_version().as_bytes());
    json.extend_from_slice(br#"","metadata":"#);
    body.write_metadata(object_version, json);
    json.push(b'}');
}
