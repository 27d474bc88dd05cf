//! Query parameters and `DeleteOptions`, read once and checked (upstream: `metav1.*Options` and their validation).

use portcullis_gate::Query;
use portcullis_model::schema::decode_json::FieldValidation;
use portcullis_model::status::{BadValue, FieldError, Status};

use crate::answer::Failure;

/// Bytes of a field manager's name.
const FIELD_MANAGER_BYTES_MAX: usize = 128;
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
}

/// Reads the options of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
pub fn write(kind: &str, query: Query<'_>) -> Result<WriteOptions, Failure> {
    let mut errors = Vec::new();
    let dry_run = dry_run(query, &mut errors);
    let field_manager = query.get("fieldManager").unwrap_or_default().into_owned();
    check_field_manager(&field_manager, &mut errors);
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
    Ok(WriteOptions { dry_run, field_manager, field_validation })
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

fn check_field_manager(manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_BYTES_MAX));
    }
    if manager.chars().any(char::is_control) {
        errors.push(FieldError::invalid("fieldManager", manager, "should only contain printable characters"));
    }
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
    /// Where the page begins; empty for the first.
    pub continue_token: String,
    /// Labels.
    pub label_selector: String,
    /// Fields.
    pub field_selector: String,
}

/// Reads the options of a list.
pub fn list(query: Query<'_>) -> Result<ListOptions, Failure> {
    let limit = integer(query, "limit")?.unwrap_or_default();
    let continue_token = query.get("continue").unwrap_or_default().into_owned();
    let version = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let mut errors = Vec::new();
    if query.get("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    check_match(&matching, &version, &continue_token, &mut errors);
    checked("ListOptions", &errors)?;
    if !continue_token.is_empty() && !version.is_empty() && version != "0" {
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
    Ok(ListOptions {
        at,
        limit: usize::try_from(limit).unwrap_or_default(),
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
    Ok(match resource_version(&query.get("resourceVersion").unwrap_or_default())? {
        None => ReadAt::Newest,
        Some(0) => ReadAt::Any,
        Some(version) => ReadAt::NotOlderThan(version),
    })
}

/// Reads a version; nothing for an empty text.
pub fn resource_version(text: &str) -> Result<Option<u64>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let parse = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        let error = FieldError::invalid("resourceVersion", text, parse);
        Box::new(Status::bad_request(format!("invalid resource version: {error}")))
    })
}

/// Reads a whole number.
pub fn integer(query: Query<'_>, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = query.get(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| Box::new(Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))))
}

/// Reads a flag as Go does: present and neither `false` nor `0` is true.
pub fn flag(query: Query<'_>, name: &str) -> Option<bool> {
    query.get(name).map(|value| !matches!(&*value, "false" | "0"))
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
    /// The uid the object must have; empty for any.
    pub uid: String,
    /// The version the object must have; empty for any.
    pub resource_version: String,
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
    pub propagation: String,
    /// `preconditions.uid`.
    pub uid: String,
    /// `preconditions.resourceVersion`.
    pub resource_version: String,
}

impl DeleteFields {
    /// Reads them from the query: what kubectl does not do, but curl does.
    pub fn of_query(query: Query<'_>) -> Result<DeleteFields, Failure> {
        Ok(DeleteFields {
            dry_run: query.all("dryRun").map(std::borrow::Cow::into_owned).collect(),
            grace_period: integer(query, "gracePeriodSeconds")?,
            orphan_dependents: flag(query, "orphanDependents"),
            propagation: query.get("propagationPolicy").unwrap_or_default().into_owned(),
            uid: String::new(),
            resource_version: String::new(),
        })
    }

    /// Checks them.
    pub fn checked(self) -> Result<DeleteOptions, Failure> {
        let mut errors = Vec::new();
        let both = self.orphan_dependents.is_some() && !self.propagation.is_empty();
        if both {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", self.propagation.as_str(), why));
        }
        let propagation = match &*self.propagation {
            "" => {
                self.orphan_dependents.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background })
            }
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            other => {
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
        check("continue=x&resourceVersion=5", Err("specifying resource version is not allowed when using continue"));
    }
}
