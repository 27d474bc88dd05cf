//! The record of one request, from its first moment to its last. A clone is a handle to the same record; when the last one is
//! gone the record completes itself, so a client that goes away leaves its trace too.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_model::status::Status;

use crate::attributes::{Attributes, User};
use crate::auditor::Auditor;
use crate::policy::{Decided, Level};
use crate::sink::Unrecorded;

/// What is known of a request when its record is opened.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Who asks for what.
    pub attributes: Attributes<'a>,
    /// The id that the answer carries too.
    pub audit_id: &'a str,
    /// Path and query as they were sent.
    pub uri: &'a str,
    /// The addresses it came from, the client's first (upstream: `X-Forwarded-For`, `X-Real-Ip`, then the connection's).
    pub source_ips: &'a [String],
    /// What the client calls itself.
    pub user_agent: &'a str,
}

/// What is known of an object only once it was read or made. Empty parts leave what the path said.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectNames<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its resource version.
    pub resource_version: &'a str,
}

/// The record of a request.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

struct Inner {
    #[expect(dead_code)]
    auditor: Arc<Auditor>,
    decided: Decided,
}

impl Record {
    pub(crate) fn new(auditor: Arc<Auditor>, _request: &NewRecord<'_>, decided: Decided) -> Self {
        Self(Arc::new(Inner { auditor, decided }))
    }

    /// Returns how much is recorded.
    pub fn level(&self) -> Level {
        self.0.decided.level
    }

    /// Says whether recorded objects lose their managed fields.
    pub fn omits_managed_fields(&self) -> bool {
        self.0.decided.omits_managed_fields
    }

    /// Notes something that has no field of its own. The first value of a key stays.
    pub fn annotate(&self, _key: impl Into<Cow<'static, str>>, _value: impl Into<Cow<'static, str>>) {}

    /// Notes as whom the request acts, and the constraint under which it does.
    pub fn impersonated(&self, _user: &User<'_>, _constraint: Option<&'static str>) {}

    /// Notes what only the object itself says.
    pub fn object(&self, _names: &ObjectNames<'_>) {}

    /// Notes the object that was sent, as JSON. Ask [`Record::level`] first: below `Request` nobody wants it.
    pub fn request_object(&self, _json: Bytes) {}

    /// Notes the object that is answered, as JSON. Ask [`Record::level`] first: below `RequestResponse` nobody wants it.
    pub fn response_object(&self, _json: Bytes) {}

    /// The request has arrived.
    ///
    /// # Errors
    /// When a strict sink did not take the event: the request must fail.
    pub async fn received(&self) -> Result<(), Unrecorded> {
        Ok(())
    }

    /// An answer without an end of its own begins; the record completes when its last handle is gone.
    pub async fn started(&self, _code: u16) {}

    /// The answer is made. `status` says why it failed.
    pub async fn completed(&self, _code: u16, _status: Option<&Status>) {}

    /// The handler panicked.
    pub async fn panicked(&self, _code: u16) {}
}
