//! `CertificateSigningRequest`: who asks is what the server saw, not what the body says; what is asked for stays as it was asked; and
//! each of the three doors changes its own part, `approval` the conditions that approve and deny, `status` the certificate and the rest.
//!
//! Upstream: `registry/certificates/certificates/strategy.go` and `apis/certificates/validation`. Whether the request is signed with the
//! key that it names is the signer's to check, there as here: an approver may want to see a request that is not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::go_text::{push_json_string, quoted};
use portcullis_model::names::{self, NameRule};
use portcullis_model::schema::{FieldValidation, TypeId, decode_json};
use portcullis_model::status::{BadValue, FieldError};
use portcullis_model::tree::Tree;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;

use super::pem;
use crate::rest::{Resets, Rest, SelectableField};
use crate::strategy::{Cell, Column, Requester, Strategy};
use crate::views::certificates_v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestConditionEdit,
    CertificateSigningRequestEdit, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use crate::views::{self, Edit};

/// The rules.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        name: NameRule::PathSegment,
        status_checks_all_metadata: true,
        resets: &[
            ("", Resets::Fields(&[&["spec"], &["status"]])),
            ("approval", Resets::Fields(&[&["spec"], &["status", "certificate"]])),
            ("status", Resets::Fields(&[&["spec"], &["status", "conditions"]])),
        ],
        fields: &[SelectableField::new("spec.signerName", &["spec.signerName"])],
        ..Rest::PLAIN
    },
    prepare_create,
    validate_create: |tree, errors| errors.extend(validate_create(tree)),
    prepare_update,
    validate_update: |tree, old, subresource, errors| errors.extend(validate_update(tree, old, subresource)),
    columns: &[
        ("Requestor", Column::Field("spec.username", r#""""#)),
        ("SignerName", Column::Field("spec.signerName", r#""""#)),
    ],
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// The subresource through which conditions are set that approve or deny.
pub const APPROVAL: &str = "approval";
/// The subresource through which a certificate is set.
pub const STATUS: &str = "status";

/// The shortest life of a certificate that can be asked for.
const EXPIRATION_SECONDS_MIN: i32 = 600;
/// The longest name of a signer: `<domain>/<namespace>.<name>`.
const SIGNER_NAME_LEN_MAX: usize = 571;
/// The signer of requests that named none, before v1.
const SIGNER_LEGACY: &str = "kubernetes.io/legacy-unknown";
/// Conditions that, once there, stay.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];
/// What those can be.
const STATUSES_LASTING: &[&str] = &["True"];
/// What other conditions can be.
const STATUSES: &[&str] = &["False", "True", "Unknown"];
/// What a key may be for.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const BLOCK_REQUEST: &str = "CERTIFICATE REQUEST";
const BLOCK_CERTIFICATE: &str = "CERTIFICATE";

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no PEM block of the right sort.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NoBlock,
    /// There is more than one block, or one that is interrupted by another.
    #[error(
        "there must be one PEM block and no other begin or end of one: readers differ in which of several they take"
    )]
    SeveralBlocks,
    /// The block does not hold a request.
    #[error("asn1: structure error: {what}")]
    Malformed {
        /// What the parser says.
        what: String,
    },
    /// Something follows the request.
    #[error("asn1: syntax error: trailing data")]
    TrailingData,
    /// An organization is written in a way that other readers might read otherwise.
    #[error("an organization of the subject is not a text")]
    OrganizationNotText,
}

/// Returns the organizations (`O`) that a request asks for, which are groups to the server that takes the certificate.
///
/// # Errors
/// When the request cannot be read, or not in one way only.
pub fn organizations(request: CertificateSigningRequestSpec<'_>) -> Result<Vec<String>, RequestError> {
    let der = request_block(request.request())?;
    let parsed = parse(&der)?;
    parsed.certification_request_info.subject.iter_organization().map(text).collect()
}

/// Returns the common names (`CN`) that a request asks for. The server takes the certificate's for a user's name.
///
/// # Errors
/// When the request cannot be read, or not in one way only.
pub fn common_names(request: CertificateSigningRequestSpec<'_>) -> Result<Vec<String>, RequestError> {
    let der = request_block(request.request())?;
    let parsed = parse(&der)?;
    parsed.certification_request_info.subject.iter_common_name().map(text).collect()
}

fn text(value: &AttributeTypeAndValue<'_>) -> Result<String, RequestError> {
    let value = value.attr_value();
    let bytes = value.data;
    let read = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Tag::T61String => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString if bytes.len() % 2 == 0 => {
            let units =
                bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte)));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok()
        }
        _ => None,
    };
    read.ok_or(RequestError::OrganizationNotText)
}

/// The one block of the text, which must be a request. Upstream takes the first of several, but which that is depends on the version
/// of Go that reads it, and what is judged here must be what is signed elsewhere.
fn request_block(base64: &str) -> Result<Vec<u8>, RequestError> {
    let text = STANDARD.decode(base64).map_err(|_| RequestError::NoBlock)?;
    if pem::has_several(&text) {
        return Err(RequestError::SeveralBlocks);
    }
    let block = pem::blocks(&text).next().filter(|block| block.label == BLOCK_REQUEST);
    block.map(|block| block.contents).ok_or(RequestError::NoBlock)
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, RequestError> {
    let malformed = |error: x509_parser::nom::Err<_>| RequestError::Malformed { what: error.to_string() };
    let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(malformed)?;
    if rest.is_empty() { Ok(parsed) } else { Err(RequestError::TrailingData) }
}

fn prepare_create(tree: &mut Tree, requester: &Requester<'_>) {
    {
        let mut request: CertificateSigningRequestEdit<'_> = views::write(tree);
        request.clear_status();
        let mut spec = request.spec_mut();
        spec.clear_username();
        spec.clear_uid();
        spec.clear_groups();
        spec.clear_extra();
        if !requester.name.is_empty() {
            spec.set_username(requester.name);
        }
        if !requester.uid.is_empty() {
            spec.set_uid(requester.uid);
        }
        if !requester.groups.is_empty() {
            let mut groups = spec.groups_mut();
            for group in requester.groups {
                groups.push_text(group);
            }
        }
    }
    set_extra(tree, requester);
}

/// A map of lists has no edit, so it is read from a text and grafted.
fn set_extra(tree: &mut Tree, requester: &Requester<'_>) {
    if requester.extra.is_empty() {
        return;
    }
    let mut text = br#"{"extra":{"#.to_vec();
    for (at, (key, values)) in requester.extra.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        push_json_string(&mut text, key);
        text.extend_from_slice(b":[");
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            push_json_string(&mut text, value);
        }
        text.push(b']');
    }
    text.extend_from_slice(b"}}");
    let (spec_type, schema) = (CertificateSigningRequestSpec::TYPE, crate::schema());
    let decoded = decode_json::decode(schema, spec_type, text, FieldValidation::Ignore);
    let (Ok(decoded), Some(extra)) = (decoded, schema.ty(spec_type).find("extra")) else { return };
    let Some(spec) = number(CertificateSigningRequest::TYPE, "spec") else { return };
    let spec = tree.object_at(tree.root(), spec, spec_type);
    if let Some(value) = decoded.tree.field(decoded.tree.root(), extra) {
        tree.graft(spec, extra, &decoded.tree, value);
    }
}

fn number(ty: TypeId, name: &str) -> Option<u16> {
    crate::schema().ty(ty).find(name)
}

/// Puts a field at the top back to what it was.
fn keep(tree: &mut Tree, old: &Tree, name: &str) {
    let Some(number) = number(CertificateSigningRequest::TYPE, name) else { return };
    let root = tree.root();
    match old.field(old.root(), number) {
        Some(value) => {
            tree.graft(root, number, old, value);
        }
        None => {
            tree.remove(root, number);
        }
    }
}

fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, now: i64) {
    keep(tree, old, "spec");
    match subresource {
        APPROVAL => {
            let held = views::read::<CertificateSigningRequest<'_>>(old).status().certificate();
            let mut request: CertificateSigningRequestEdit<'_> = views::write(tree);
            let mut status = request.status_mut();
            status.clear_certificate();
            if !held.is_empty() {
                status.set_certificate(held);
            }
        }
        STATUS => {}
        _ => return keep(tree, old, "status"),
    }
    say_when(tree, old, now);
}

/// Gives each condition its times where it has none: when it was written is now; when it became what it is, as before if it was that.
fn say_when(tree: &mut Tree, old: &Tree, now: i64) {
    if views::read::<CertificateSigningRequest<'_>>(tree).status().conditions().is_empty() {
        return;
    }
    let held = views::read::<CertificateSigningRequest<'_>>(old).status();
    let mut request: CertificateSigningRequestEdit<'_> = views::write(tree);
    request.status_mut().conditions_mut().each(|place| {
        let mut condition = CertificateSigningRequestConditionEdit::at(place);
        let new = condition.view();
        let same = held.conditions().iter().find(|held| held.type_() == new.type_() && held.status() == new.status());
        let since = same.and_then(CertificateSigningRequestCondition::last_transition_time).unwrap_or(now);
        let (has_update, has_transition) = (new.last_update_time().is_some(), new.last_transition_time().is_some());
        if !has_update {
            condition.set_last_update_time(now);
        }
        if !has_transition {
            condition.set_last_transition_time(since);
        }
    });
}

fn validate_create(tree: &Tree) -> Vec<FieldError> {
    let spec = views::read::<CertificateSigningRequest<'_>>(tree).spec();
    let mut errors = Vec::new();
    let parsed = request_block(spec.request()).and_then(|der| parse(&der).map(|_| ()));
    if let Err(error) = parsed {
        let is_there = number(CertificateSigningRequestSpec::TYPE, "request")
            .zip(spec.place().id())
            .is_some_and(|(number, spec)| tree.field(spec, number).is_some());
        let given = if is_there { BadValue::from(spec.request()) } else { BadValue::Null };
        errors.push(FieldError::invalid("spec.request", given, error.to_string()));
    }
    check_usages(spec, &mut errors);
    check_signer_name(spec.signer_name(), &mut errors);
    if let Some(seconds) = spec.expiration_seconds().filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds, why));
    }
    errors
}

fn check_usages(spec: CertificateSigningRequestSpec<'_>, errors: &mut Vec<FieldError>) {
    let usages: Vec<&str> = spec.usages().iter().collect();
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    let at = |index: usize| format!("spec.usages[{index}]");
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.push(FieldError::not_supported(at(index), *usage, USAGES));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, usage) in usages.iter().enumerate() {
        if !seen.insert(*usage) {
            errors.push(FieldError::duplicate(at(index), *usage));
        }
    }
}

fn check_signer_name(name: &str, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "spec.signerName";
    if name.is_empty() {
        errors.push(FieldError::required(FIELD, ""));
        return;
    }
    if name == SIGNER_LEGACY {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(FIELD, name, why));
        return;
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(FIELD, name, why));
        return;
    };
    if domain.len() > names::SUBDOMAIN_LEN_MAX {
        errors.push(FieldError::too_long(FIELD, names::SUBDOMAIN_LEN_MAX));
    }
    // Only the first bad part of each is complained about.
    let complain = |whole: &str, check: fn(&str) -> names::Complaints, errors: &mut Vec<FieldError>| {
        let bad = whole.split('.').map(|part| (part, check(part))).find(|(_, complaints)| !complaints.is_empty());
        let Some((part, complaints)) = bad else { return };
        for complaint in complaints {
            let why = format!("validating label {}: {complaint}", quoted(part));
            errors.push(FieldError::invalid(FIELD, whole, why));
        }
    };
    complain(domain, names::dns1123_label, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(FIELD, domain, why));
    }
    complain(path, names::dns1123_subdomain, errors);
    if name.len() > SIGNER_NAME_LEN_MAX {
        errors.push(FieldError::too_long(FIELD, SIGNER_NAME_LEN_MAX));
    }
}

/// What a request asks for never changes, so only its status is looked at. What was wrong with it before may stay wrong.
fn validate_update(tree: &Tree, old: &Tree, subresource: &str) -> Vec<FieldError> {
    let new = views::read::<CertificateSigningRequest<'_>>(tree).status();
    let old = views::read::<CertificateSigningRequest<'_>>(old).status();
    let mut errors = Vec::new();
    check_conditions(new, old, &mut errors);
    let is_new_certificate = new.certificate() != old.certificate();
    if is_new_certificate && let Err(why) = check_certificate(new.certificate()) {
        errors.push(FieldError::invalid("status.certificate", "<certificate data>", why));
    }
    check_lasting(new, old, subresource, &mut errors);
    if is_new_certificate && subresource != STATUS {
        errors.push(FieldError::forbidden("status.certificate", "updates may not set certificate content"));
    } else if is_new_certificate && !old.certificate().is_empty() {
        let why = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden("status.certificate", why));
    }
    errors
}

fn check_conditions(
    new: CertificateSigningRequestStatus<'_>,
    old: CertificateSigningRequestStatus<'_>,
    errors: &mut Vec<FieldError>,
) {
    let before = Faults::of(old);
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in new.conditions().iter().enumerate() {
        let (type_, status) = (condition.type_(), condition.status());
        let at = |field: &str| format!("status.conditions[{index}].{field}");
        if type_.is_empty() && !before.empty_type {
            errors.push(FieldError::required(at("type"), ""));
        }
        let allowed = if LASTING.contains(&type_) { STATUSES_LASTING } else { STATUSES };
        if status.is_empty() {
            errors.push(FieldError::required(at("status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(FieldError::not_supported(at("status"), status, allowed));
        }
        let opposite = match type_ {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(&opposite) && !before.both {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(at("type"), type_, why));
        }
        if seen.contains(&type_) && !before.duplicate {
            errors.push(FieldError::duplicate(at("type"), type_));
        }
        if !seen.contains(&type_) {
            seen.push(type_);
        }
    }
}

/// What is wrong with conditions that are stored, from before it was wrong.
struct Faults {
    empty_type: bool,
    both: bool,
    duplicate: bool,
}

impl Faults {
    fn of(status: CertificateSigningRequestStatus<'_>) -> Faults {
        let types: Vec<&str> = status.conditions().iter().map(CertificateSigningRequestCondition::type_).collect();
        let mut unique = types.clone();
        unique.sort_unstable();
        unique.dedup();
        Faults {
            empty_type: types.contains(&""),
            both: types.contains(&"Approved") && types.contains(&"Denied"),
            duplicate: unique.len() < types.len(),
        }
    }
}

fn check_lasting(
    new: CertificateSigningRequestStatus<'_>,
    old: CertificateSigningRequestStatus<'_>,
    subresource: &str,
    errors: &mut Vec<FieldError>,
) {
    const FIELD: &str = "status.conditions";
    for type_ in LASTING {
        let (new, old) = (all_of(new, type_), all_of(old, type_));
        let may_change = subresource == APPROVAL || type_ == "Failed";
        let what = if new.len() < old.len() {
            "remove"
        } else if !may_change && new.len() > old.len() {
            "add"
        } else if !may_change && new != old {
            "modify"
        } else {
            continue;
        };
        errors.push(FieldError::forbidden(
            FIELD,
            format!("updates may not {what} a condition of type {}", quoted(type_)),
        ));
    }
}

/// All that a condition says.
type Said<'t> = (&'t str, &'t str, &'t str, Option<i64>, Option<i64>);

fn all_of<'t>(status: CertificateSigningRequestStatus<'t>, type_: &str) -> Vec<Said<'t>> {
    let of_type = status.conditions().iter().filter(|condition| condition.type_() == type_);
    of_type.map(said).collect()
}

fn said(condition: CertificateSigningRequestCondition<'_>) -> Said<'_> {
    (
        condition.status(),
        condition.reason(),
        condition.message(),
        condition.last_update_time(),
        condition.last_transition_time(),
    )
}

/// Whether a status says something else about certificate or conditions than another.
pub fn is_signed_otherwise(new: CertificateSigningRequestStatus<'_>, old: CertificateSigningRequestStatus<'_>) -> bool {
    new.certificate() != old.certificate() || !typed(new).eq(typed(old))
}

fn typed<'t>(status: CertificateSigningRequestStatus<'t>) -> impl Iterator<Item = (&'t str, Said<'t>)> {
    status.conditions().iter().map(|condition| (condition.type_(), said(condition)))
}

/// A certificate is a chain of PEM blocks with one certificate each, and nothing else.
fn check_certificate(base64: &str) -> Result<(), String> {
    if base64.is_empty() {
        return Ok(());
    }
    let text = STANDARD.decode(base64).unwrap_or_default();
    let mut count = 0usize;
    for block in pem::blocks(&text) {
        count = count.saturating_add(1);
        if block.label != BLOCK_CERTIFICATE {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {}", quoted(&block.label)));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.contents.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let (rest, _) = X509Certificate::from_der(&block.contents).map_err(|error| format!("x509: {error}"))?;
        if !rest.is_empty() {
            return Err("found CERTIFICATE PEM block containing more than 1 certificate".to_owned());
        }
    }
    if count == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let request: CertificateSigningRequest<'_> = views::read(tree);
    match column {
        "RequestedDuration" => Some(match request.spec().expiration_seconds() {
            Some(seconds) => Cell::Duration(seconds.into()),
            None => Cell::Text("<none>".to_owned()),
        }),
        "Condition" => Some(Cell::Text(summary(request.status()))),
        _ => None,
    }
}

/// Where a request stands, in one word or several.
fn summary(status: CertificateSigningRequestStatus<'_>) -> String {
    let has = |type_: &str| status.conditions().iter().any(|condition| condition.type_() == type_);
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !status.certificate().is_empty() {
        text.push_str(",Issued");
    }
    text
}

#[cfg(test)]
mod tests;
