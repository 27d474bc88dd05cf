//! What one may ask for, and what each door may change of what was asked.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

/// A request of `O=harbor, CN=ana`.
const ANA: &str = include_str!("ana.csr.base64");
/// A request of `O=system:masters, CN=root`.
const ROOT: &str = include_str!("root.csr.base64");
/// A certificate of `CN=ana`.
const CERTIFICATE: &str = include_str!("ana.crt.base64");

const SIGNER: &str = "example.com/quay";
const NOW: i64 = 1_800_000_000;

fn tree(object: &Value) -> Tree {
    let text = object.to_string().into_bytes();
    decode_json::decode(crate::schema(), CertificateSigningRequest::TYPE, text, FieldValidation::Ignore).unwrap().tree
}

fn json_of(tree: &Tree) -> Value {
    let mut out = Vec::new();
    portcullis_model::schema::encode_json::write(crate::schema(), tree, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn shown(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn request(change: impl FnOnce(&mut Value)) -> Tree {
    let mut spec = json!({"request": ANA, "signerName": SIGNER, "usages": ["client auth"]});
    change(&mut spec);
    tree(&json!({"metadata": {"name": "ana"}, "spec": spec}))
}

#[test]
fn what_is_asked_for_is_checked() {
    let check = |field: &str, value: Value, expected: &[&str]| {
        let tree = request(|spec| {
            if value == Value::Null {
                spec.as_object_mut().unwrap().remove(field);
            } else {
                spec[field] = value.clone();
            }
        });
        assert_eq!(shown(&validate_create(&tree)), expected, "{field} {value}");
    };
    let no_block = "PEM block type must be CERTIFICATE REQUEST";
    check("uid", json!("x"), &[]);
    check("request", Value::Null, &[&format!("spec.request: Invalid value: null: {no_block}")]);
    check("request", json!(""), &[&format!("spec.request: Invalid value: \"\": {no_block}")]);
    check("request", json!("YWJj"), &[&format!("spec.request: Invalid value: \"YWJj\": {no_block}")]);
    check("request", json!(CERTIFICATE), &[&format!("spec.request: Invalid value: \"{CERTIFICATE}\": {no_block}")]);
    check("usages", json!([]), &["spec.usages: Required value"]);
    check("usages", json!(["signing", "signing"]), &["spec.usages[1]: Duplicate value: \"signing\""]);
    check("expirationSeconds", json!(600), &[]);
    let short = "may not specify a duration less than 600 seconds (10 minutes)";
    check("expirationSeconds", json!(599), &[&format!("spec.expirationSeconds: Invalid value: 599: {short}")]);
    check("signerName", Value::Null, &["spec.signerName: Required value"]);
    let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    check("signerName", json!("quay"), &[&format!("spec.signerName: Invalid value: \"quay\": {form}")]);
    check("signerName", json!("a.b/c/d"), &[&format!("spec.signerName: Invalid value: \"a.b/c/d\": {form}")]);
    check(
        "signerName",
        json!("example/quay"),
        &[
            "spec.signerName: Invalid value: \"example\": should be a domain with at least two segments separated by dots",
        ],
    );
    check(
        "signerName",
        json!("kubernetes.io/legacy-unknown"),
        &[
            "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this \
           API version",
        ],
    );
    let long = format!("{}.com/{}", "a".repeat(63), "b".repeat(600));
    let errors = validate_create(&request(|spec| spec["signerName"] = json!(long)));
    assert!(shown(&errors).contains(&"spec.signerName: Too long: may not be more than 571 bytes".to_owned()));
    let upper = validate_create(&request(|spec| spec["signerName"] = json!("Example.com/quay")));
    assert!(
        shown(&upper)[0].starts_with("spec.signerName: Invalid value: \"Example.com\": validating label \"Example\": ")
    );
    let unknown = validate_create(&request(|spec| spec["usages"] = json!(["sailing"])));
    assert!(
        shown(&unknown)[0].starts_with("spec.usages[0]: Unsupported value: \"sailing\": supported values: \"any\", ")
    );
}

#[test]
fn who_asks_is_what_the_server_saw() {
    let mut tree = tree(&json!({
        "metadata": {"name": "ana"},
        "spec": {
            "request": ANA, "signerName": SIGNER, "usages": ["client auth"], "username": "root", "uid": "0",
            "groups": ["system:masters"], "extra": {"a": ["b"]},
        },
        "status": {"certificate": CERTIFICATE, "conditions": [{"type": "Approved", "status": "True"}]},
    }));
    let extra = [("example.com/\"key\"".to_owned(), vec!["one".to_owned(), "two".to_owned()])].into();
    let groups = ["crew".to_owned(), "system:authenticated".to_owned()];
    prepare_create(&mut tree, &Requester { name: "ana", uid: "", groups: &groups, extra: &extra, now: 0 });
    let object = json_of(&tree);
    assert_eq!(object["spec"]["username"], "ana");
    assert_eq!(object["spec"].get("uid"), None);
    assert_eq!(object["spec"]["groups"], json!(["crew", "system:authenticated"]));
    assert_eq!(object["spec"]["extra"], json!({"example.com/\"key\"": ["one", "two"]}));
    assert_eq!(object["spec"]["request"], ANA);
    assert!(object["status"].get("certificate").is_none() && object["status"].get("conditions").is_none());
}

#[test]
fn organizations_are_read() {
    let check = |request_text: &str, expected: Result<&[&str], RequestError>| {
        let tree = request(|spec| spec["request"] = json!(request_text));
        let found = organizations(views::read::<CertificateSigningRequest<'_>>(&tree).spec());
        assert_eq!(found, expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect()));
    };
    check(ANA, Ok(&["harbor"]));
    check(ROOT, Ok(&["system:masters"]));
    check(CERTIFICATE, Err(RequestError::NoBlock));
    check("", Err(RequestError::NoBlock));
    let pem = |der: &[u8]| {
        let text =
            format!("-----BEGIN {BLOCK_REQUEST}-----\n{}\n-----END {BLOCK_REQUEST}-----\n", STANDARD.encode(der));
        STANDARD.encode(text)
    };
    let mut der = request_block(ROOT).unwrap();
    // The same name as a BMPString, which readers that know only ASCII and UTF-8 pass over.
    let name = der.windows(14).position(|part| part == b"system:masters").unwrap();
    let mut wide = der.clone();
    wide[name - 2] = 0x1e;
    check(&pem(&wide), Ok(&["\u{7379}\u{7374}\u{656d}\u{3a6d}\u{6173}\u{7465}\u{7273}"]));
    wide[name - 2] = 0x04;
    check(&pem(&wide), Err(RequestError::OrganizationNotText));
    der.push(0);
    check(&pem(&der), Err(RequestError::TrailingData));
}

#[test]
fn a_request_is_read_in_one_way_only() {
    let text = |request: &str| String::from_utf8(STANDARD.decode(request).unwrap()).unwrap();
    let (ana, root, begin) = (text(ANA), text(ROOT), format!("-----BEGIN {BLOCK_REQUEST}-----\n"));
    let check = |request: String, expected: Result<(), RequestError>| {
        let encoded = STANDARD.encode(&request);
        assert_eq!(request_block(&encoded).map(|_| ()), expected, "{request}");
    };
    check(ana.clone(), Ok(()));
    check(format!("Certificate Request:\n    Data: ...\n{ana}\n"), Ok(()));
    let several = || Err(RequestError::SeveralBlocks);
    // A reader that begins at the last begin before the first end finds root, one that drops what was interrupted finds ana.
    check(format!("{begin}{root}{ana}"), several());
    check(format!("{begin}{ana}"), several());
    check(format!("{ana}{root}"), several());
    check(format!("-----END {BLOCK_REQUEST}-----\n{ana}"), several());
    check(format!("x -----BEGIN {ana}"), several());
}

/// Puts a status in place of another through a door, and gives what is stored or what is wrong.
fn write(door: &str, old: Value, new: Value) -> Result<Value, Vec<String>> {
    let spec = json!({"request": ANA, "signerName": SIGNER, "usages": ["client auth"], "username": "ana"});
    let old = tree(&json!({"metadata": {"name": "ana"}, "spec": spec, "status": old}));
    let other = json!({"request": ROOT, "signerName": "example.com/other", "username": "root"});
    let mut new = tree(&json!({"metadata": {"name": "ana"}, "spec": other, "status": new}));
    prepare_update(&mut new, &old, door, NOW);
    let errors = validate_update(&new, &old, door);
    let object = json_of(&new);
    assert_eq!(object["spec"]["request"], ANA);
    assert_eq!((&object["spec"]["signerName"], &object["spec"]["username"]), (&json!(SIGNER), &json!("ana")));
    if errors.is_empty() { Ok(object["status"].clone()) } else { Err(shown(&errors)) }
}

fn condition(type_: &str, status: &str) -> Value {
    let time = "2026-01-01T00:00:00Z";
    json!({"type": type_, "status": status, "lastUpdateTime": time, "lastTransitionTime": time})
}

#[test]
fn each_door_changes_its_own_part() {
    let check = |door: &str, old: Value, new: Value, expected: Result<Value, &[&str]>| {
        let expected = expected.map_err(|errors| errors.iter().map(|error| (*error).to_owned()).collect::<Vec<_>>());
        assert_eq!(write(door, old.clone(), new.clone()), expected, "{door:?} {old} {new}");
    };
    let conditions = |all: &[Value]| json!({"conditions": all});
    let approved = conditions(&[condition("Approved", "True")]);
    let nothing = json!({});
    check("", nothing.clone(), approved.clone(), Ok(nothing.clone()));
    check("", approved.clone(), nothing.clone(), Ok(approved.clone()));
    check(APPROVAL, nothing.clone(), approved.clone(), Ok(approved.clone()));
    check(APPROVAL, nothing.clone(), json!({"certificate": CERTIFICATE}), Ok(nothing.clone()));
    let gone = "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"";
    check(APPROVAL, approved.clone(), nothing.clone(), Err(&[gone]));
    check(STATUS, approved.clone(), nothing.clone(), Err(&[gone]));
    let added = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
    check(STATUS, nothing.clone(), approved.clone(), Err(&[added]));
    let mut modified = approved.clone();
    modified["conditions"][0]["message"] = json!("because");
    let changed = "status.conditions: Forbidden: updates may not modify a condition of type \"Approved\"";
    check(STATUS, approved.clone(), modified.clone(), Err(&[changed]));
    check(APPROVAL, approved.clone(), modified.clone(), Ok(modified));
    let failed = conditions(&[condition("Failed", "True")]);
    check(STATUS, nothing.clone(), failed.clone(), Ok(failed));
    let both = conditions(&[condition("Approved", "True"), condition("Denied", "True")]);
    let exclusive =
        "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive";
    check(APPROVAL, nothing.clone(), both.clone(), Err(&[exclusive]));
    check(APPROVAL, both.clone(), both.clone(), Ok(both));
    let twice = conditions(&[condition("Moored", "True"), condition("Moored", "False")]);
    check(STATUS, nothing.clone(), twice, Err(&["status.conditions[1].type: Duplicate value: \"Moored\""]));
    let untrue = conditions(&[condition("Approved", "False")]);
    let must = "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"";
    check(APPROVAL, nothing.clone(), untrue, Err(&[must]));
    let bare = conditions(&[condition("", "")]);
    let required = ["status.conditions[0].type: Required value", "status.conditions[0].status: Required value"];
    check(STATUS, nothing.clone(), bare, Err(&required));
}

#[test]
fn a_certificate_is_set_once() {
    let check = |old: &str, new: &str, expected: Option<&str>| {
        let status = |text: &str| if text.is_empty() { json!({}) } else { json!({"certificate": text}) };
        let written = write(STATUS, status(old), status(new));
        match expected {
            None => assert_eq!(written, Ok(status(new))),
            Some(error) => assert_eq!(written, Err(vec![error.to_owned()])),
        }
    };
    check("", CERTIFICATE, None);
    check(CERTIFICATE, CERTIFICATE, None);
    // What was stored before it was checked stays.
    check("YWJj", "YWJj", None);
    let bad = |why: &str| format!("status.certificate: Invalid value: \"<certificate data>\": {why}");
    check("", "YWJj", Some(&bad("must contain at least one CERTIFICATE PEM block")));
    check("", ANA, Some(&bad("only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\"")));
    let text = |base64: &str| String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap();
    let with_header = text(CERTIFICATE).replacen("-----\n", "-----\nName: value\n\n", 1);
    check("", &STANDARD.encode(with_header), Some(&bad("no PEM block headers are permitted")));
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    check("", &STANDARD.encode(empty), Some(&bad("found CERTIFICATE PEM block containing 0 certificates")));
    let chain = text(CERTIFICATE).repeat(2);
    check("", &STANDARD.encode(&chain), None);
    let modified = "status.certificate: Forbidden: updates may not modify existing certificate content";
    check(CERTIFICATE, &STANDARD.encode(chain), Some(modified));
    check(CERTIFICATE, "", Some(modified));
}

#[test]
fn conditions_say_when() {
    let bare = |message: &str| json!({"conditions": [{"type": "Moored", "status": "True", "message": message}]});
    let first = write(STATUS, json!({}), bare("a")).unwrap();
    assert_eq!(first["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:00Z");
    assert_eq!(first["conditions"][0]["lastUpdateTime"], "2027-01-15T08:00:00Z");
    let before = json!({"conditions": [condition("Moored", "True")]});
    let second = write(STATUS, before.clone(), bare("b")).unwrap();
    assert_eq!(second["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    assert_eq!(second["conditions"][0]["lastUpdateTime"], "2027-01-15T08:00:00Z");
    let turned = json!({"conditions": [{"type": "Moored", "status": "False"}]});
    let third = write(STATUS, before, turned).unwrap();
    assert_eq!(third["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:00Z");
}

#[test]
fn a_table_says_where_a_request_stands() {
    let check = |status: Value, expected: &str| {
        let tree = tree(&json!({"spec": {"expirationSeconds": 3600}, "status": status}));
        assert_eq!(cell(&tree, "Condition"), Some(Cell::Text(expected.to_owned())), "{status}");
        assert_eq!(cell(&tree, "RequestedDuration"), Some(Cell::Duration(3600)));
        assert_eq!(cell(&tree, "Name"), None);
    };
    let with = |types: &[&str]| {
        let all: Vec<Value> = types.iter().map(|type_| condition(type_, "True")).collect();
        json!({"conditions": all})
    };
    check(json!({}), "Pending");
    check(with(&["Approved"]), "Approved");
    check(with(&["Approved", "Denied"]), "Denied");
    check(with(&["Approved", "Failed"]), "Approved,Failed");
    check(json!({"certificate": CERTIFICATE, "conditions": [condition("Approved", "True")]}), "Approved,Issued");
    assert_eq!(cell(&tree(&json!({})), "RequestedDuration"), Some(Cell::Text("<none>".to_owned())));
}
