//! What is made of a stored object for readers: its text in the version served, its protobuf message, its metadata alone, and a gzip
//! segment of each. Made on first demand and kept beside the object while there is room ([`Entry::form`]), so that a reader encodes
//! and compresses nothing that another one had before.
//!
//! A form is of one version of one object, so the version is in it. Answers to upstream's `cachingObject`, which only watches have.

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
use crate::segment;

/// Resources that share their storage with this many others at most, themselves included, have forms of their own: the stored version,
/// and the one that is served beside it.
const VARIANTS: u16 = 2;

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

/// An object as a resource serves it.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    served: &'a Served,
    entry: &'a Entry,
}

impl<'a> Item<'a> {
    /// Refuses what could not be read when it came into memory.
    pub(crate) fn of(served: &'a Served, entry: &'a Entry) -> Result<Item<'a>, Unservable> {
        if entry.index.is_unreadable() { Err(Unservable::Unreadable) } else { Ok(Item { served, entry }) }
    }

    fn number(self, form: Form) -> u16 {
        form as u16 * VARIANTS + u16::from(!self.served.stored_as_served())
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
            let index = &self.entry.index;
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
        self.entry.form(self.number(form), || {
            let mut json = Vec::new();
            Ok(match show {
                Show::Message => segment::compress(&self.message()?),
                Show::PartialMessage => segment::compress(&self.partial_message()?),
                Show::Text => {
                    let text = self.text()?;
                    self.body(&text)?.write(b"", self.entry.version, &mut json);
                    segment::compress(&json)
                }
                Show::Partial => {
                    let text = self.text()?;
                    push_partial(MetaVersion::V1, &self.body(&text)?, self.entry.version, &mut json);
                    segment::compress(json.get(1..).unwrap_or_default())
                }
            })
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
