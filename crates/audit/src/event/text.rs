//! The parts of an event's line, each written once, as Go's encoder writes them.
//!
//! What a client chose is bounded here: no header and no name makes a line longer than the limits below allow.

use std::net::IpAddr;

use portcullis_model::go_text::push_json_string;
use portcullis_model::status::Status;
use portcullis_model::time::push_micro_time;

use crate::attributes::{Target, User};
use crate::policy::Level;
use crate::record::{NewRecord, ObjectNames};

/// Bytes of path and query.
const URI_LEN_MAX: usize = 8 * 1024;
/// The same, of those who proved no identity.
const STRANGERS_URI_LEN_MAX: usize = 1024;
/// Bytes of what a client calls itself: upstream's limit.
const USER_AGENT_LEN_MAX: usize = 1024;
/// Bytes of a name, a group, a value of an extra.
const NAME_LEN_MAX: usize = 1024;
/// Groups of a user, keys of extras, values of one.
const GROUPS_MAX: usize = 256;
/// Bytes of a sentence that says why a request failed.
const MESSAGE_LEN_MAX: usize = 8 * 1024;
/// Causes of a failure.
const CAUSES_MAX: usize = 32;
/// What follows a text that was cut: upstream's word for user agents.
const CUT: &str = "...TRUNCATED";
/// Query parameters by which tokens and passwords are sent, in lower case. Here they never are, but somebody may try, and what is
/// proxied may have them.
const SECRET_PARAMETERS: [&str; 6] =
    ["access_token", "token", "id_token", "refresh_token", "client_secret", "password"];
const REDACTED: &str = "REDACTED";

/// Which part of a request's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// From the brace to the value of `stage`.
    Opening,
    /// From there to the end of `user`.
    Request,
    /// `sourceIPs` and `userAgent`.
    Origin,
    /// `objectRef` up to its resource; empty, as all that follow, when the request is about a path.
    Resource,
    /// Its namespace, as the path says it.
    Namespace,
    /// Its name, as the path says it.
    Name,
    /// Its group and version.
    Api,
    /// Its subresource, and its end.
    Subresource,
}

const PARTS: usize = 8;

/// What is known of a request when it arrives, as members of the event.
#[derive(Clone, Default)]
pub(crate) struct RequestText {
    text: String,
    ends: [usize; PARTS],
}

impl RequestText {
    pub(crate) fn new(request: &NewRecord<'_>, level: Level) -> Self {
        let mut out = Vec::with_capacity(640 + request.uri.len());
        let mut ends = [0; PARTS];
        let mut parts = ends.iter_mut();
        let mut end = |out: &Vec<u8>| {
            if let Some(end) = parts.next() {
                *end = out.len();
            }
        };
        push_opening(&mut out, request.audit_id, level);
        end(&out);
        push_request(&mut out, request);
        end(&out);
        push_origin(&mut out, request.source_ips, request.user_agent);
        end(&out);
        if let Target::Resource { group, version, resource, subresource, namespace, name } = request.attributes.target {
            out.extend_from_slice(br#","objectRef":{"resource":"#);
            push_json_string(&mut out, &bounded(resource, NAME_LEN_MAX));
            end(&out);
            push_member(&mut out, "namespace", namespace);
            end(&out);
            push_member(&mut out, "name", name);
            end(&out);
            push_member(&mut out, "apiGroup", group);
            push_member(&mut out, "apiVersion", version);
            end(&out);
            push_member(&mut out, "subresource", subresource);
            out.push(b'}');
            end(&out);
        } else {
            (0..PARTS).for_each(|_| end(&out));
        }
        Self { text: text(out), ends }
    }

    pub(super) fn part(&self, part: Part) -> &str {
        let at = part as usize;
        let end = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).map_or(0, end);
        self.text.get(start..end(at)).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Says whether the request is about a resource.
    pub(super) fn has_object(&self) -> bool {
        !self.part(Part::Resource).is_empty()
    }
}

fn push_opening(out: &mut Vec<u8>, audit_id: &str, level: Level) {
    out.extend_from_slice(br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":""#);
    out.extend_from_slice(level.as_str().as_bytes());
    out.extend_from_slice(br#"","auditID":"#);
    push_json_string(out, &bounded(audit_id, NAME_LEN_MAX));
    out.extend_from_slice(br#","stage":""#);
}

fn push_request(out: &mut Vec<u8>, request: &NewRecord<'_>) {
    let is_stranger = request.attributes.is_stranger();
    let uri_len_max = if is_stranger { STRANGERS_URI_LEN_MAX } else { URI_LEN_MAX };
    out.extend_from_slice(br#"","requestURI":"#);
    push_json_string(out, &without_secrets(&bounded(request.uri, uri_len_max)));
    out.extend_from_slice(br#","verb":"#);
    push_json_string(out, &bounded(request.attributes.verb, NAME_LEN_MAX));
    out.extend_from_slice(br#","user":"#);
    match &request.attributes.user {
        Some(user) => push_user(out, user),
        None => out.extend_from_slice(b"{}"),
    }
}

fn push_origin(out: &mut Vec<u8>, source_ips: &[IpAddr], user_agent: &str) {
    for (at, address) in source_ips.iter().enumerate() {
        out.extend_from_slice(if at == 0 { br#","sourceIPs":[""# } else { br#",""# });
        push_address(out, *address);
        out.push(b'"');
    }
    if !source_ips.is_empty() {
        out.push(b']');
    }
    if !user_agent.is_empty() {
        out.extend_from_slice(br#","userAgent":"#);
        push_json_string(out, &bounded(user_agent, USER_AGENT_LEN_MAX));
    }
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mut digits = itoa::Buffer::new();
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(digits.format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// Appends `,"key":"value"`, or nothing when the value is empty.
fn push_member(out: &mut Vec<u8>, key: &'static str, value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        push_json_string(out, &bounded(value, NAME_LEN_MAX));
    }
}

/// Appends a user as `authentication/v1.UserInfo` is written.
fn push_user(out: &mut Vec<u8>, user: &User<'_>) {
    let start = out.len();
    push_member(out, "username", user.name);
    push_member(out, "uid", user.uid);
    push_list(out, "groups", user.groups);
    if !user.extra.is_empty() {
        out.extend_from_slice(br#","extra":"#);
        let inner = out.len();
        for (key, values) in user.extra.iter().take(GROUPS_MAX) {
            out.push(b',');
            push_json_string(out, &bounded(key, NAME_LEN_MAX));
            out.push(b':');
            push_strings(out, values);
        }
        close_object(out, inner);
    }
    close_object(out, start);
}

/// Makes an object of the members from `start` on, each of which has a comma before it.
fn close_object(out: &mut Vec<u8>, start: usize) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

fn push_list(out: &mut Vec<u8>, key: &str, values: &[String]) {
    if !values.is_empty() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        push_strings(out, values);
    }
}

fn push_strings(out: &mut Vec<u8>, values: &[String]) {
    out.push(b'[');
    for (at, value) in values.iter().take(GROUPS_MAX).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_json_string(out, &bounded(value, NAME_LEN_MAX));
    }
    if values.len() > GROUPS_MAX {
        out.push(b',');
        push_json_string(out, CUT);
    }
    out.push(b']');
}

/// As whom a request acts: `impersonatedUser`, and `authenticationMetadata` under a constraint.
pub(crate) fn impersonated(user: &User<'_>, constraint: Option<&str>) -> String {
    let mut out = br#","impersonatedUser":"#.to_vec();
    push_user(&mut out, user);
    if let Some(constraint) = constraint {
        out.extend_from_slice(br#","authenticationMetadata":{"impersonationConstraint":"#);
        push_json_string(&mut out, constraint);
        out.push(b'}');
    }
    text(out)
}

/// What only the object said, as members of `objectRef`. Empty parts leave what the path said.
#[derive(Clone, Default)]
pub(crate) struct ObjectText {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
}

impl ObjectText {
    /// Takes what is known by now.
    pub(crate) fn note(&mut self, names: &ObjectNames<'_>) {
        let parts = [
            (&mut self.namespace, "namespace", names.namespace),
            (&mut self.name, "name", names.name),
            (&mut self.uid, "uid", names.uid),
            (&mut self.resource_version, "resourceVersion", names.resource_version),
        ];
        for (part, key, value) in parts.into_iter().filter(|(.., value)| !value.is_empty()) {
            let mut out = Vec::with_capacity(key.len() + value.len() + 6);
            push_member(&mut out, key, value);
            *part = text(out);
        }
    }
}

/// `responseStatus` of an answer with this code.
pub(crate) fn outcome(code: u16) -> String {
    format!(r#","responseStatus":{{"metadata":{{}},"code":{code}}}"#)
}

/// `responseStatus` of an answer that is a status.
pub(crate) fn outcome_of(status: &Status, code: u16) -> String {
    const PREFIX: &[u8] = br#"{"kind":"Status","apiVersion":"v1","#;
    let status = &within_limits(status, code);
    let mut json = Vec::with_capacity(256 + status.message.len());
    status.push_json(&mut json);
    let mut out = br#","responseStatus":{"#.to_vec();
    out.extend_from_slice(json.strip_prefix(PREFIX).unwrap_or(b"}"));
    text(out)
}

fn within_limits(status: &Status, code: u16) -> Status {
    let mut status = status.clone();
    status.code = code;
    status.continue_token.clear();
    if status.message.len() > MESSAGE_LEN_MAX {
        status.message = bounded(&status.message, MESSAGE_LEN_MAX).into_owned().into();
    }
    if let Some(details) = &mut status.details {
        details.causes.truncate(CAUSES_MAX);
        let texts = details.causes.iter_mut().flat_map(|cause| [&mut cause.message, &mut cause.field]);
        for text in texts.chain([&mut details.name, &mut details.group, &mut details.kind]) {
            if text.len() > NAME_LEN_MAX {
                *text = bounded(text, NAME_LEN_MAX).into_owned();
            }
        }
    }
    status
}

/// The two timestamps, in microseconds since 1970.
pub(super) fn times(out: &mut Vec<u8>, received: i64, stage: i64) {
    out.extend_from_slice(br#","requestReceivedTimestamp":""#);
    push_micro_time(out, received);
    out.extend_from_slice(br#"","stageTimestamp":""#);
    push_micro_time(out, stage);
    out.push(b'"');
}

/// Cuts what is too long, between two characters.
pub(crate) fn bounded(text: &str, len_max: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= len_max {
        return text.into();
    }
    let end = text.floor_char_boundary(len_max);
    format!("{}{CUT}", text.get(..end).unwrap_or_default()).into()
}

/// Takes secrets out of a query, and nothing else: what looks like a parameter in a path must not hide the rest of it.
fn without_secrets(uri: &str) -> std::borrow::Cow<'_, str> {
    let Some((path, query)) = uri.split_once('?') else { return uri.into() };
    let name_of = |parameter: &str| parameter.split_once('=').map_or(0, |(name, _)| name.len());
    let is_secret = |parameter: &str| parameter.get(..name_of(parameter)).is_some_and(names_secret);
    if !query.split('&').any(is_secret) {
        return uri.into();
    }
    let mut out = String::with_capacity(uri.len());
    out.push_str(path);
    for (at, parameter) in query.split('&').enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        if is_secret(parameter) {
            out.push_str(parameter.get(..=name_of(parameter)).unwrap_or_default());
            out.push_str(REDACTED);
        } else {
            out.push_str(parameter);
        }
    }
    out.into()
}

/// Says whether a parameter of this name holds a secret, however the name is written.
fn names_secret(name: &str) -> bool {
    SECRET_PARAMETERS.iter().any(|secret| decoded(name).eq(secret.bytes()))
}

/// The bytes of a name in lower case, without percent encoding.
fn decoded(name: &str) -> impl Iterator<Item = u8> {
    let mut rest = name.bytes();
    std::iter::from_fn(move || {
        let byte = rest.next()?;
        let mut ahead = rest.clone();
        let mut digit = || ahead.next().and_then(|byte| char::from(byte).to_digit(16));
        let escaped = if byte == b'%' { digit().zip(digit()) } else { None };
        let byte = match escaped {
            Some((high, low)) => {
                rest = ahead;
                u8::try_from(high << 4 | low).unwrap_or(byte)
            }
            None => byte,
        };
        Some(byte.to_ascii_lowercase())
    })
}

/// What was written is text: everything that was put in is.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
