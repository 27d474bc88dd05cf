//! The recorded exchanges of a 1.36 server: what it said about a body is what the decoder finds in it, and a body that it took without
//! a word has nothing to find.
//!
//! The recordings lie beside the project, not in it; where they are missing the test says so in one line.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code)]
mod checks;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use checks::schema;
use flate2::read::GzDecoder;
use portcullis_model::schema::{FieldValidation, decode_json};
use serde_json::Value;

/// What upstream said about a body.
#[derive(Debug, PartialEq)]
enum Said {
    /// Unknown and duplicate fields, sorted: the recordings do not keep the order of members.
    Findings(Vec<String>),
    /// Why it could not be read.
    Refused(String),
}

/// The bytes that were sent, when they are JSON of a built-in kind, and that kind.
fn sent(step: &Value) -> Option<(Vec<u8>, String, String)> {
    let headers = step["headers"].as_object()?;
    let is_json = headers.get("Content-Type").is_none_or(|value| value == "application/json");
    let is_write = matches!(step["method"].as_str()?, "POST" | "PUT");
    if !is_json || !is_write || step["body"]["$base64"].is_string() {
        return None;
    }
    let text = match step["body"]["$text"].as_str() {
        Some(text) => text.to_owned(),
        None => step["body"].to_string(),
    };
    // Placeholders are filled in when the exchange is replayed; what is in them is a name or a version, never structure.
    let body: Value = serde_json::from_str(&text).ok()?;
    Some((text.into_bytes(), body["apiVersion"].as_str()?.to_owned(), body["kind"].as_str()?.to_owned()))
}

/// What the answer says about reading the body; None when it does not say.
fn said(step: &Value, api_version: &str, kind: &str) -> Option<Said> {
    let sorted = |mut findings: Vec<String>| {
        findings.sort();
        Said::Findings(findings)
    };
    let status = step["status"].as_u64()?;
    if status == 400 {
        let version = api_version.rsplit('/').next()?;
        let message = step["out"]["message"].as_str()?;
        let rest = message.strip_prefix(&format!("{kind} in version {version:?} cannot be handled as a {kind}: "))?;
        return Some(match rest.strip_prefix("strict decoding error: ") {
            Some(findings) => sorted(findings.split(", ").map(str::to_owned).collect()),
            None => Said::Refused(rest.to_owned()),
        });
    }
    let taken = matches!(status, 200 | 201 | 409 | 422);
    let ignored = step["path"].as_str()?.contains("fieldValidation=Ignore");
    if !taken || ignored {
        return None;
    }
    let warnings = step["headers_out"]["warning"].as_str().unwrap_or_default();
    let quoted = warnings.split("299 - ").map(|text| text.trim_end_matches([',', ' ']));
    let texts = quoted.filter_map(|text| serde_json::from_str::<String>(text).ok());
    Some(sorted(
        texts.filter(|text| text.starts_with("unknown field") || text.starts_with("duplicate field")).collect(),
    ))
}

fn found(body: Vec<u8>, api_version: &str, kind: &str) -> Option<Said> {
    let ty = schema().by_kind(api_version, kind)?;
    Some(match decode_json::decode(schema(), ty, body, FieldValidation::Warn) {
        Ok(decoded) => {
            let mut findings = decoded.findings;
            findings.sort();
            Said::Findings(findings)
        }
        Err(error) => Said::Refused(error.to_string()),
    })
}

/// The facts know that a field is a string, not by which name Go calls the type: that part of a message is not compared.
fn without_wanted(said: Said) -> Said {
    match said {
        Said::Refused(text) if text.starts_with("json: cannot unmarshal") => {
            Said::Refused(text.split(" of type ").next().unwrap_or_default().to_owned())
        }
        said => said,
    }
}

#[test]
fn what_upstream_said_about_bodies_is_what_is_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/recorded");
    let Ok(entries) = fs::read_dir(folder) else {
        println!("skipped: no ../shared/corpus/recorded here");
        return;
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    paths.sort();
    let (mut silent, mut findings, mut refused, mut exact, mut wrong) = (0, 0, 0, 0, Vec::new());
    for path in paths {
        for line in BufReader::new(GzDecoder::new(File::open(&path).unwrap())).lines() {
            let scenario: Value = serde_json::from_str(&line.unwrap()).unwrap();
            for step in scenario["steps"].as_array().unwrap() {
                let Some((body, api_version, kind)) = sent(step) else { continue };
                let Some(want) = said(step, &api_version, &kind) else { continue };
                let Some(got) = found(body, &api_version, &kind) else { continue };
                match &want {
                    Said::Findings(list) if list.is_empty() => silent += 1,
                    Said::Findings(_) => findings += 1,
                    Said::Refused(_) => refused += 1,
                }
                exact += usize::from(matches!(want, Said::Refused(_)) && got == want);
                let (got, want) = (without_wanted(got), without_wanted(want));
                if got != want {
                    wrong.push(format!("{}: got {got:?}, want {want:?}", step["id"]));
                }
            }
        }
    }
    println!(
        "{silent} bodies with nothing to say, {findings} with findings, {refused} refused ({exact} in the same words)"
    );
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(silent > 1000 && findings > 100 && refused > 1000);
}
