//! The answer to a request that has no object to show: a failure with its reason, or a plain success.
//!
//! Upstream: `metav1.Status` and the constructors of `api/errors`. Clients switch on `reason` and parse messages, so
//! every message here is upstream's to the letter. The encoded form has its fields in declared order and Go's escapes.

use std::borrow::Cow;
use std::fmt;

use crate::go_text::{push_json_string, quoted};

mod field;
mod wire;

pub use field::{BadValue, FieldError, FieldReason, aggregate};

/// Why a request failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not known; the field is left out.
    Unknown,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409, on create.
    AlreadyExists,
    /// 409, on change.
    Conflict,
    /// 410, the thing is gone for good.
    Gone,
    /// 422.
    Invalid,
    /// 500, the server asks to try again.
    ServerTimeout,
    /// 500, stored data cannot be read.
    StoreReadError,
    /// 504.
    Timeout,
    /// 429.
    TooManyRequests,
    /// 400.
    BadRequest,
    /// 405.
    MethodNotAllowed,
    /// 406.
    NotAcceptable,
    /// 413.
    RequestEntityTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 500.
    InternalError,
    /// 410, the resource version is too old.
    Expired,
    /// 503.
    ServiceUnavailable,
}

impl Reason {
    /// Returns the word on the wire; empty for [`Reason::Unknown`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::StoreReadError => "StoreReadError",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }
}

/// Whether the request did what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Success,
    /// It did not.
    Failure,
}

/// One of several causes of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCause {
    /// For programs; a [`FieldReason`] most of the time.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// Path of the field that is meant; empty for none.
    pub field: String,
}

/// What a status is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusDetails {
    /// Name of the object.
    pub name: String,
    /// Its API group.
    pub group: String,
    /// Its resource (`configmaps`), or its kind where upstream says the kind (`ConfigMap`, when invalid).
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// Causes, in order of discovery.
    pub causes: Vec<StatusCause>,
    /// After how many seconds trying again makes sense; 0 for no word about it.
    pub retry_after_seconds: i32,
}

/// An answer without an object (`metav1.Status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Success or failure.
    pub outcome: Outcome,
    /// Where a list that cannot go on as it began may go on, as its `metadata.continue`; empty otherwise.
    pub continue_token: String,
    /// For people; clients parse some.
    pub message: Cow<'static, str>,
    /// For programs.
    pub reason: Reason,
    /// What it is about. `Some` of nothing is written as `{}`.
    pub details: Option<Box<StatusDetails>>,
    /// The HTTP status; 0 is left out of the body.
    pub code: u16,
}

/// A request as the message of a refusal names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// A path that is no resource.
    Path(&'a str),
    /// A resource: its name with the subresource (`pods/exec`), its group, its namespace.
    Resource {
        /// `pods`, `pods/exec`.
        resource: &'a str,
        /// Empty for the core group.
        group: &'a str,
        /// `None` at the cluster scope.
        namespace: Option<&'a str>,
    },
}

/// Returns the sentence that says what `user` may not do: `User "ana" cannot get resource "pods" in API group "" in the
/// namespace "default"`. A `reason` of the authoriser follows after a colon.
#[must_use]
pub fn refusal(user: &str, verb: &str, what: Refused<'_>, reason: &str) -> String {
    let mut text = match what {
        Refused::Path(path) => format!("User {} cannot {verb} path {}", quoted(user), quoted(path)),
        Refused::Resource { resource, group, namespace } => {
            let place = match namespace {
                Some(namespace) => format!("in the namespace {}", quoted(namespace)),
                None => "at the cluster scope".to_owned(),
            };
            format!(
                "User {} cannot {verb} resource {} in API group {} {place}",
                quoted(user),
                quoted(resource),
                quoted(group)
            )
        }
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// `deployments.apps`, or `configmaps` in the core group.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn about(group: &str, kind: &str, name: &str) -> StatusDetails {
    StatusDetails { name: name.to_owned(), group: group.to_owned(), kind: kind.to_owned(), ..StatusDetails::default() }
}

fn retry_after(seconds: i32) -> StatusDetails {
    StatusDetails { retry_after_seconds: seconds, ..StatusDetails::default() }
}

impl Status {
    /// Makes a failure from its parts.
    #[must_use]
    pub fn failure(
        code: u16,
        reason: Reason,
        message: impl Into<Cow<'static, str>>,
        details: Option<StatusDetails>,
    ) -> Self {
        let (outcome, continue_token) = (Outcome::Failure, String::new());
        Self { outcome, continue_token, message: message.into(), reason, details: details.map(Box::new), code }
    }

    /// The answer to a successful delete of an object that is gone at once. It has no code in its body.
    #[must_use]
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let details = StatusDetails { uid: uid.to_owned(), ..about(group, resource, name) };
        Self {
            outcome: Outcome::Success,
            continue_token: String::new(),
            message: Cow::Borrowed(""),
            reason: Reason::Unknown,
            details: Some(Box::new(details)),
            code: 0,
        }
    }

    /// A success that shows nothing, such as 201 for a binding.
    #[must_use]
    pub fn success(code: u16) -> Self {
        Self {
            outcome: Outcome::Success,
            continue_token: String::new(),
            message: Cow::Borrowed(""),
            reason: Reason::Unknown,
            details: None,
            code,
        }
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::failure(400, Reason::BadRequest, message, None)
    }

    /// 401. Says no more than that.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, Reason::Unauthorized, "Unauthorized", None)
    }

    /// 403; `why` is a [`refusal`] or the word of an admission plugin. An empty resource means a path, an empty name
    /// a collection.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{} is forbidden: {why}", qualified(group, resource)),
            _ => format!("{} {} is forbidden: {why}", qualified(group, resource), quoted(name)),
        };
        Self::failure(403, Reason::Forbidden, message, Some(about(group, resource, name)))
    }

    /// 404 for an object: `deployments.apps "x" not found`.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), quoted(name));
        Self::failure(404, Reason::NotFound, message, Some(about(group, resource, name)))
    }

    /// 409: `configmaps "x" already exists`.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), quoted(name));
        Self::failure(409, Reason::AlreadyExists, message, Some(about(group, resource, name)))
    }

    /// 409 when generated names were all taken.
    #[must_use]
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            quoted(name)
        );
        let details = StatusDetails { retry_after_seconds, ..about(group, resource, name) };
        Self::failure(409, Reason::AlreadyExists, message, Some(details))
    }

    /// 409 with any explanation: `Operation cannot be fulfilled on configmaps "x": why`.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, resource), quoted(name));
        Self::failure(409, Reason::Conflict, message, Some(about(group, resource, name)))
    }

    /// 409 because somebody else wrote first.
    #[must_use]
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 409 between field managers.
    #[must_use]
    pub fn apply_conflict(message: impl Into<Cow<'static, str>>, causes: Vec<StatusCause>) -> Self {
        Self::failure(409, Reason::Conflict, message, Some(StatusDetails { causes, ..StatusDetails::default() }))
    }

    /// 410: what was asked for will not come back.
    #[must_use]
    pub fn gone(message: impl Into<Cow<'static, str>>) -> Self {
        Self::failure(410, Reason::Gone, message, None)
    }

    /// 410: the resource version or continue token is too old.
    #[must_use]
    pub fn expired(message: impl Into<Cow<'static, str>>) -> Self {
        Self::failure(410, Reason::Expired, message, None)
    }

    /// 422; `kind` is the Kind: `ConfigMap "x" is invalid: metadata.name: Required value: ...`.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut message = format!("{} {} is invalid", qualified(group, kind), quoted(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&aggregate(errors));
        }
        let causes = errors.iter().map(FieldError::cause).collect();
        let details = StatusDetails { causes, ..about(group, kind, name) };
        Self::failure(422, Reason::Invalid, message, Some(details))
    }

    /// 405 for a verb that a resource does not have.
    #[must_use]
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind {}", quoted(&qualified(group, resource)));
        Self::failure(405, Reason::MethodNotAllowed, message, Some(about(group, resource, "")))
    }

    /// 405 for a path that does not take the method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::generic(405, "", "", "", "")
    }

    /// 404 for a path that nothing answers to.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::generic(404, "", "", "", "")
    }

    /// 406; the message lists what could be had.
    #[must_use]
    pub fn not_acceptable(available: &[&str]) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", available.join(", "));
        Self::failure(406, Reason::NotAcceptable, message, Some(StatusDetails::default()))
    }

    /// 406, where the negotiation itself says which media types would do.
    #[must_use]
    pub fn only_media_types(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, Reason::NotAcceptable, message, None)
    }

    /// 415 of a path that never takes this type; where nothing was sent, what could be had instead is listed.
    #[must_use]
    pub fn unsupported_media_type(available: &[&str]) -> Self {
        let mut message = "415: Unsupported Media Type".to_owned();
        if !available.is_empty() {
            message.push_str("\n\nAvailable representations: ");
            message.push_str(&available.join(", "));
        }
        Self::failure(415, Reason::UnsupportedMediaType, message, Some(StatusDetails::default()))
    }

    /// 415 for a body; the message lists what is read here.
    #[must_use]
    pub fn unknown_body_format(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(415, Reason::UnsupportedMediaType, message, None)
    }

    /// 413: `Request entity too large: what`.
    #[must_use]
    pub fn request_entity_too_large(what: &str) -> Self {
        Self::failure(413, Reason::RequestEntityTooLarge, format!("Request entity too large: {what}"), None)
    }

    /// 429 with a delay; `message` stands as it is.
    #[must_use]
    pub fn too_many_requests(message: impl Into<Cow<'static, str>>, retry_after_seconds: i32) -> Self {
        Self::failure(429, Reason::TooManyRequests, message, Some(retry_after(retry_after_seconds)))
    }

    /// 500: `Internal error occurred: what`.
    #[must_use]
    pub fn internal_error(what: &str) -> Self {
        let cause = StatusCause { message: what.to_owned(), ..StatusCause::default() };
        let details = StatusDetails { causes: vec![cause], ..StatusDetails::default() };
        Self::failure(500, Reason::InternalError, format!("Internal error occurred: {what}"), Some(details))
    }

    /// 500 without a reason, as upstream answers when an error has no status of its own.
    #[must_use]
    pub fn unexpected(message: impl Into<Cow<'static, str>>) -> Self {
        Self::failure(500, Reason::Unknown, message, None)
    }

    /// 500: `The VERB operation against RESOURCE could not be completed at this time, please try again.`
    #[must_use]
    pub fn server_timeout(group: &str, resource: &str, verb: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "The {verb} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        let details = StatusDetails { retry_after_seconds, ..about(group, resource, verb) };
        Self::failure(500, Reason::ServerTimeout, message, Some(details))
    }

    /// 503; `why` is the message.
    #[must_use]
    pub fn service_unavailable(why: impl Into<Cow<'static, str>>) -> Self {
        Self::failure(503, Reason::ServiceUnavailable, why, None)
    }

    /// 504: `Timeout: what`.
    #[must_use]
    pub fn timeout(what: &str, retry_after_seconds: i32) -> Self {
        Self::failure(504, Reason::Timeout, format!("Timeout: {what}"), Some(retry_after(retry_after_seconds)))
    }

    /// An answer for a bare HTTP status. `verb` (the HTTP method), group, resource and name may be empty; with a
    /// resource they follow in parentheses.
    #[must_use]
    pub fn generic(code: u16, verb: &str, group: &str, resource: &str, name: &str) -> Self {
        let (reason, text) = generic_words(code, verb);
        let message = match (resource, name) {
            ("", _) => text,
            (_, "") => Cow::Owned(format!("{text} ({} {})", verb.to_lowercase(), qualified(group, resource))),
            _ => Cow::Owned(format!("{text} ({} {} {name})", verb.to_lowercase(), qualified(group, resource))),
        };
        Self::failure(code, reason, message, Some(about(group, resource, name)))
    }

    /// Adds a delay, kept in the details and meant for the header `Retry-After` too.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Says where a list may go on.
    #[must_use]
    pub fn with_continue(mut self, token: impl Into<String>) -> Self {
        self.continue_token = token.into();
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn with_cause(mut self, cause: StatusCause) -> Self {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Returns the delay in seconds, if there is one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<i32> {
        self.details.as_ref().map(|details| details.retry_after_seconds).filter(|&seconds| seconds > 0)
    }

    /// Returns the JSON text, with the line feed that ends every body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.message.len());
        self.push_json(&mut out);
        out.push(b'\n');
        out
    }

    /// Appends the JSON object without the line feed, for the events of a watch.
    pub fn push_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kind":"Status","apiVersion":"v1","metadata":{"#);
        Members { out, first: true }.text("continue", &self.continue_token);
        out.extend_from_slice(br#"},"status":"#);
        push_json_string(out, self.outcome.as_str());
        let mut object = Members { out, first: false };
        object.text("message", &self.message);
        object.text("reason", self.reason.as_str());
        if let Some(details) = &self.details {
            object.key("details");
            details.push_json(object.out);
        }
        object.number("code", i64::from(self.code));
        out.push(b'}');
    }
}

impl Outcome {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure => "Failure",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl StatusDetails {
    fn push_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut object = Members { out, first: true };
        object.text("name", &self.name);
        object.text("group", &self.group);
        object.text("kind", &self.kind);
        object.text("uid", &self.uid);
        if !self.causes.is_empty() {
            object.key("causes");
            for (at, cause) in self.causes.iter().enumerate() {
                object.out.push(if at == 0 { b'[' } else { b',' });
                cause.push_json(object.out);
            }
            object.out.push(b']');
        }
        object.number("retryAfterSeconds", i64::from(self.retry_after_seconds));
        out.push(b'}');
    }
}

impl StatusCause {
    fn push_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut object = Members { out, first: true };
        object.text("reason", &self.reason);
        object.text("message", &self.message);
        object.text("field", &self.field);
        out.push(b'}');
    }
}

/// Writes the members of an object, leaving out what is empty.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Members<'_> {
    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        push_json_string(self.out, key);
        self.out.push(b':');
    }

    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.key(key);
            push_json_string(self.out, value);
        }
    }

    fn number(&mut self, key: &str, value: i64) {
        if value != 0 {
            self.key(key);
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }
}

/// What upstream says about a bare HTTP status.
fn generic_words(code: u16, verb: &str) -> (Reason, Cow<'static, str>) {
    let (reason, text) = match code {
        400 => (Reason::BadRequest, "the server rejected our request for an unknown reason"),
        401 => (Reason::Unauthorized, "the server has asked for the client to provide credentials"),
        403 => (Reason::Forbidden, "forbidden"),
        404 => (Reason::NotFound, "the server could not find the requested resource"),
        405 => (Reason::MethodNotAllowed, "the server does not allow this method on the requested resource"),
        406 => (Reason::NotAcceptable, "unknown"),
        409 if verb == "POST" => (Reason::AlreadyExists, "the server reported a conflict"),
        409 => (Reason::Conflict, "the server reported a conflict"),
        415 => (Reason::UnsupportedMediaType, "unknown"),
        422 => (Reason::Invalid, "the server rejected our request due to an error in our request"),
        429 => {
            (Reason::TooManyRequests, "the server has received too many requests and has asked us to try again later")
        }
        503 => (Reason::ServiceUnavailable, "the server is currently unable to handle the request"),
        504 => (
            Reason::Timeout,
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        500.. => {
            (Reason::InternalError, "an error on the server (\"unknown\") has prevented the request from succeeding")
        }
        _ => {
            let text = format!("the server responded with the status code {code} but did not return more information");
            return (Reason::Unknown, Cow::Owned(text));
        }
    };
    (reason, Cow::Borrowed(text))
}

#[cfg(test)]
mod tests;
