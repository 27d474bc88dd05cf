//! How pods are replaced when their template changes: what deployments, stateful sets and daemon sets have in common.

use portcullis_model::go_text::push_json_string;
use portcullis_model::status::BadValue;

/// A strategy as a complaint shows it: with the names that its fields have inside of upstream.
pub(super) fn shown<const N: usize>(kind: &str, rolling: Option<[(&str, BadValue); N]>) -> BadValue {
    let mut text = b"{\"Type\":".to_vec();
    push_json_string(&mut text, kind);
    text.extend_from_slice(b",\"RollingUpdate\":");
    match rolling {
        Some(fields) => text.extend_from_slice(object(fields).as_bytes()),
        None => text.extend_from_slice(b"null"),
    }
    text.push(b'}');
    BadValue::Json(String::from_utf8_lossy(&text).into_owned())
}

/// The fields of a rolling update as a complaint shows them.
pub(super) fn object<const N: usize>(fields: [(&str, BadValue); N]) -> String {
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.join(","))
}
