//! Query parameters and `DeleteOptions`, read once and checked (upstream: `metav1.*Options` and their validation).

use portcullis_gate::Query;
use portcullis_model::go_text::quoted;
use portcullis_model::meta_rules;
use portcullis_model::schema::decode_json::FieldValidation;
use portcullis_model::status::{BadValue, FieldError, Status};

use crate::answer::Failure;
use crate::pages::ContinueToken;

/// The group that options belong to in messages.
const META_GROUP: &str = "meta.k8s.io";

/// What create, update and patch may be told.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Everything is done but the commit.
    pub dry_run: bool,
    /// Who is said to own the fields; empty when the client does not say.
    pub field_manager: String,
    /// What is done about unknown and duplicate fields.
    pub field_validation: FieldValidation,
    /// Whether the object was applied, which settles who owns what before it is written.
    pub applies: bool,
}

/// What the options of a patch are called.
const PATCH_OPTIONS: &str = "PatchOptions";

/// Reads the options of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
pub fn write(kind: &str, query: Query<'_>) -> Result<WriteOptions, Failure> {
    let mut errors = Vec::new();
    if kind == PATCH_OPTIONS && query.get("force").is_some() {
        errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
    }
    read_write(kind, query, errors)
}

/// Reads the options of a write, where some errors may be known already.
fn read_write(kind: &str, query: Query<'_>, mut errors: Vec<FieldError>) -> Result<WriteOptions, Failure> {
    let dry_run = dry_run(query, &mut errors);
    let field_manager = query.get("fieldManager").unwrap_or_default().into_owned();
    meta_rules::field_manager(&mut errors, &field_manager, || "fieldManager".to_owned());
    let validation = query.get("fieldValidation").unwrap_or_default();
    let field_validation = match &*validation {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            errors.push(FieldError::not_supported("fieldValidation", other, &["Ignore", "Strict", "Warn"]));
            FieldValidation::Warn
        }
    };
    checked(kind, &errors)?;
    Ok(WriteOptions { dry_run, field_manager, field_validation, applies: false })
}

/// Reads the options of a server-side apply, and whether it takes what others own.
pub fn apply(query: Query<'_>) -> Result<(WriteOptions, bool), Failure> {
    let mut errors = Vec::new();
    if query.get("fieldManager").unwrap_or_default().is_empty() {
        errors.push(FieldError::required("fieldManager", "is required for apply patch"));
    }
    let options = read_write(PATCH_OPTIONS, query, errors)?;
    let force = query.get("force").is_some_and(|force| *force != *"0" && !force.eq_ignore_ascii_case("false"));
    Ok((WriteOptions { applies: true, ..options }, force))
}

fn checked(kind: &str, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() { Ok(()) } else { Err(Box::new(Status::invalid(META_GROUP, kind, "", errors))) }
}

fn dry_run(query: Query<'_>, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<String> = query.all("dryRun").map(std::borrow::Cow::into_owned).collect();
    check_dry_run(&values, errors)
}

fn check_dry_run(values: &[String], errors: &mut Vec<FieldError>) -> bool {
    if values.iter().any(|value| value != "All") {
        let shown = serde_json::Value::from(values.to_vec()).to_string();
        errors.push(FieldError::not_supported("dryRun", BadValue::Json(shown), &["All"]));
    }
    !values.is_empty()
}

/// Which version a read may be answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// The newest.
    Newest,
    /// Whatever is at hand.
    Any,
    /// This one or a newer one.
    NotOlderThan(u64),
    /// Exactly this one.
    Exact(u64),
}

/// What a list may be told. The selectors are still text.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Which version.
    pub at: ReadAt,
    /// Most items of a page; 0 for all.
    pub limit: usize,
    /// Where the page begins; none for the first.
    pub continue_token: Option<ContinueToken>,
    /// Labels.
    pub label_selector: String,
    /// Fields.
    pub field_selector: String,
}

/// Reads the options of a list.
pub fn list(query: Query<'_>) -> Result<ListOptions, Failure> {
    let limit = integer(query, "limit")?.unwrap_or_default();
    let continue_token = query.get("continue").unwrap_or_default();
    let version = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let mut errors = Vec::new();
    check_match(&matching, &version, &continue_token, &mut errors);
    if query.get("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    checked("ListOptions", &errors)?;
    let continue_token = match &*continue_token {
        "" => None,
        token => Some(ContinueToken::decode(token)?),
    };
    if continue_token.is_some() && !matches!(&*version, "" | "0") {
        let why = "specifying resource version is not allowed when using continue";
        return Err(Box::new(Status::bad_request(why)));
    }
    let at = match (resource_version(&version)?, &*matching) {
        (None, _) => ReadAt::Newest,
        (Some(0), _) => ReadAt::Any,
        (Some(version), "Exact") => ReadAt::Exact(version),
        (Some(version), "") if limit > 0 => ReadAt::Exact(version),
        (Some(version), _) => ReadAt::NotOlderThan(version),
    };
    // Whatever is at hand is given whole, as upstream's cache does.
    let limit = if at == ReadAt::Any { 0 } else { usize::try_from(limit).unwrap_or_default() };
    Ok(ListOptions {
        at,
        limit,
        continue_token,
        label_selector: query.get("labelSelector").unwrap_or_default().into_owned(),
        field_selector: query.get("fieldSelector").unwrap_or_default().into_owned(),
    })
}

fn check_match(matching: &str, version: &str, continue_token: &str, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "resourceVersionMatch";
    if matching.is_empty() {
        return;
    }
    if version.is_empty() {
        errors
            .push(FieldError::forbidden(FIELD, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if !continue_token.is_empty() {
        errors.push(FieldError::forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided"));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        errors.push(FieldError::not_supported(FIELD, matching, &["Exact", "NotOlderThan", ""]));
    }
    if matching == "Exact" && version == "0" {
        let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(FieldError::forbidden(FIELD, why));
    }
}

/// Reads the version a GET asks for.
pub fn get(query: Query<'_>) -> Result<ReadAt, Failure> {
    let version = query.get("resourceVersion").unwrap_or_default();
    // Unlike in a list, an error without a reason.
    let version = parse_version(&version).map_err(|error| Box::new(Status::unexpected(error.to_string())))?;
    Ok(match version {
        None => ReadAt::Newest,
        Some(0) => ReadAt::Any,
        Some(version) => ReadAt::NotOlderThan(version),
    })
}

/// Reads a version; nothing for an empty text.
pub fn resource_version(text: &str) -> Result<Option<u64>, Failure> {
    let refuse = |error| Box::new(Status::bad_request(format!("invalid resource version: {error}")));
    parse_version(text).map_err(refuse)
}

fn parse_version(text: &str) -> Result<Option<u64>, FieldError> {
    if text.is_empty() {
        return Ok(None);
    }
    // Go takes no sign here.
    let parsed = text.parse().ok().filter(|_| !text.starts_with('+'));
    let refuse = || FieldError::invalid("resourceVersion", text, go_parse_error("ParseUint", text, text));
    parsed.map(Some).ok_or_else(refuse)
}

/// Reads a whole number.
pub fn integer(query: Query<'_>, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let refuse = |_| Box::new(Status::bad_request(go_parse_error("ParseInt", &text, digits)));
    text.parse().map(Some).map_err(refuse)
}

/// What Go says about a text that is no number, or too large a one.
fn go_parse_error(function: &str, text: &str, digits: &str) -> String {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {}: {why}", quoted(text))
}

/// Reads a flag as Go does: present and neither `false` nor `0` is true.
pub fn flag(query: Query<'_>, name: &str) -> Option<bool> {
    query.get(name).map(|value| *value != *"0" && !value.eq_ignore_ascii_case("false"))
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay, without their owner.
    Orphan,
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
}

/// What delete and deletecollection may be told.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Everything is done but the commit.
    pub dry_run: bool,
    /// Seconds a pod has to end.
    pub grace_period: Option<i64>,
    /// What becomes of dependents; nothing when the client does not say.
    pub propagation: Option<Propagation>,
    /// The client says in the old words, `orphanDependents: false`, that dependents go too.
    pub orphans_nothing: bool,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The version the object must have.
    pub resource_version: Option<String>,
}

/// The fields of `DeleteOptions` as they stand in a body or in the query.
#[derive(Clone, Debug, Default)]
pub struct DeleteFields {
    /// `dryRun`.
    pub dry_run: Vec<String>,
    /// `gracePeriodSeconds`.
    pub grace_period: Option<i64>,
    /// `orphanDependents`.
    pub orphan_dependents: Option<bool>,
    /// `propagationPolicy`.
    pub propagation: Option<String>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
}

impl DeleteFields {
    /// Reads them from the query: what kubectl does not do, but curl does. Preconditions stand beside the others there.
    pub fn of_query(query: Query<'_>) -> Result<DeleteFields, Failure> {
        let text = |name: &str| query.get(name).filter(|value| !value.is_empty()).map(std::borrow::Cow::into_owned);
        Ok(DeleteFields {
            dry_run: query.all("dryRun").map(std::borrow::Cow::into_owned).collect(),
            grace_period: integer(query, "gracePeriodSeconds")?,
            orphan_dependents: flag(query, "orphanDependents"),
            propagation: query.get("propagationPolicy").map(std::borrow::Cow::into_owned),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
        })
    }

    /// Checks them.
    pub fn checked(self) -> Result<DeleteOptions, Failure> {
        let mut errors = Vec::new();
        if let Some(policy) = self.propagation.as_deref().filter(|_| self.orphan_dependents.is_some()) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", policy, why));
        }
        let propagation = match self.propagation.as_deref() {
            None => {
                self.orphan_dependents.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background })
            }
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported("propagationPolicy", other, &supported));
                None
            }
        };
        let dry_run = check_dry_run(&self.dry_run, &mut errors);
        checked("DeleteOptions", &errors)?;
        Ok(DeleteOptions {
            dry_run,
            grace_period: self.grace_period,
            propagation,
            orphans_nothing: self.orphan_dependents == Some(false),
            uid: self.uid,
            resource_version: self.resource_version,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes() {
        let check = |query: &str, expected: Result<(bool, FieldValidation), &str>| {
            let options = write("CreateOptions", Query::new(query));
            let options =
                options.map(|o| (o.dry_run, o.field_validation)).map_err(|status| status.message.into_owned());
            assert_eq!(options, expected.map_err(str::to_owned), "{query}");
        };
        check("", Ok((false, FieldValidation::Warn)));
        check("dryRun=All&fieldValidation=Strict", Ok((true, FieldValidation::Strict)));
        check(
            "dryRun=Some",
            Err(
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
            ),
        );
        check(
            &format!("fieldManager={}", "x".repeat(129)),
            Err("CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes"),
        );
        check("fieldManager=a%20%C3%A9", Ok((false, FieldValidation::Warn)));
        check(
            "fieldManager=a%07%C3%A9%E2%80%8B",
            Err("CreateOptions.meta.k8s.io \"\" is invalid: \
                 [fieldManager: Invalid value: \"a\\aé\\u200b\": invalid character U+0007 (at position 1), \
                 fieldManager: Invalid value: \"a\\aé\\u200b\": invalid character U+200B (at position 4)]"),
        );
    }

    #[test]
    fn lists() {
        let check = |query: &str, expected: Result<(ReadAt, usize), &str>| {
            let options = list(Query::new(query));
            let options = options.map(|o| (o.at, o.limit)).map_err(|status| status.message.into_owned());
            assert_eq!(options, expected.map_err(str::to_owned), "{query}");
        };
        check("", Ok((ReadAt::Newest, 0)));
        check("limit=-1", Ok((ReadAt::Newest, 0)));
        check("limit=5&resourceVersion=7", Ok((ReadAt::Exact(7), 5)));
        check("resourceVersion=7", Ok((ReadAt::NotOlderThan(7), 0)));
        check("resourceVersion=0", Ok((ReadAt::Any, 0)));
        check("limit=many", Err("strconv.ParseInt: parsing \"many\": invalid syntax"));
        check(
            "resourceVersion=abc",
            Err(
                "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
            ),
        );
        check(
            "resourceVersionMatch=Exact",
            Err("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
                 resourceVersionMatch is forbidden unless resourceVersion is provided"),
        );
        let token = ContinueToken::after(7, "default/a").encode();
        check(&format!("continue={token}"), Ok((ReadAt::Newest, 0)));
        check(&format!("continue={token}&resourceVersion=0"), Ok((ReadAt::Any, 0)));
        check(
            &format!("continue={token}&resourceVersion=5"),
            Err("specifying resource version is not allowed when using continue"),
        );
        check(
            "continue=e30&resourceVersion=5",
            Err("invalid continue token: continue key is not valid: server does not recognize this encoded version "),
        );
        check(
            "continue=e30&resourceVersion=5&resourceVersionMatch=Roughly&sendInitialEvents=true",
            Err("ListOptions.meta.k8s.io \"\" is invalid: \
                 [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, \
                 resourceVersionMatch: Unsupported value: \"Roughly\": supported values: \"Exact\", \"NotOlderThan\", \"\", \
                 sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]"),
        );
        check("resourceVersion=0&limit=5", Ok((ReadAt::Any, 0)));
        check("resourceVersion=7&limit=5&resourceVersionMatch=NotOlderThan", Ok((ReadAt::NotOlderThan(7), 5)));
        check("resourceVersion=7&resourceVersionMatch=Exact", Ok((ReadAt::Exact(7), 0)));
        check(
            "resourceVersion=99999999999999999999",
            Err("invalid resource version: resourceVersion: Invalid value: \"99999999999999999999\": \
                 strconv.ParseUint: parsing \"99999999999999999999\": value out of range"),
        );
        check(
            "limit=-99999999999999999999",
            Err("strconv.ParseInt: parsing \"-99999999999999999999\": value out of range"),
        );
    }

    #[test]
    fn gets() {
        let check = |query: &str, expected: Result<ReadAt, (u16, &str)>| {
            let read = get(Query::new(query)).map_err(|status| (status.code, status.message.into_owned()));
            assert_eq!(read, expected.map_err(|(code, message)| (code, message.to_owned())), "{query}");
        };
        check("", Ok(ReadAt::Newest));
        check("resourceVersion=", Ok(ReadAt::Newest));
        check("resourceVersion=0", Ok(ReadAt::Any));
        check("resourceVersion=7", Ok(ReadAt::NotOlderThan(7)));
        check(
            "resourceVersion=+7",
            Err((500, "resourceVersion: Invalid value: \" 7\": strconv.ParseUint: parsing \" 7\": invalid syntax")),
        );
    }
}
