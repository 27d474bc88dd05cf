//! The protobuf form of a status, in the envelope that upstream puts around every message (`runtime.Unknown` behind the
//! four bytes `k8s\0`). Empty strings and zeros are written: upstream's fields have presence without being optional.

use super::{Status, StatusCause, StatusDetails};

/// What stands before every protobuf body.
const ENVELOPE_MAGIC: [u8; 4] = *b"k8s\0";
/// `typeMeta` of a status: `apiVersion: v1`, `kind: Status`.
const TYPE_META: &[u8] = b"\x0a\x02v1\x12\x06Status";
/// What `metadata` begins with: `selfLink` and `resourceVersion`, both empty.
const LIST_META_BEGIN: &[u8] = b"\x0a\x00\x12\x00";

impl Status {
    /// Returns the protobuf body in its envelope.
    #[must_use]
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(128 + self.message.len());
        let mut list_meta = LIST_META_BEGIN.to_vec();
        push_bytes(&mut list_meta, 3, self.continue_token.as_bytes());
        push_bytes(&mut raw, 1, &list_meta);
        push_bytes(&mut raw, 2, self.outcome.as_str().as_bytes());
        push_bytes(&mut raw, 3, self.message.as_bytes());
        push_bytes(&mut raw, 4, self.reason.as_str().as_bytes());
        if let Some(details) = &self.details {
            push_bytes(&mut raw, 5, &details.to_protobuf());
        }
        push_int(&mut raw, 6, i64::from(self.code));

        let mut out = Vec::with_capacity(raw.len() + 32);
        out.extend_from_slice(&ENVELOPE_MAGIC);
        push_bytes(&mut out, 1, TYPE_META);
        push_bytes(&mut out, 2, &raw);
        push_bytes(&mut out, 3, b"");
        push_bytes(&mut out, 4, b"");
        out
    }
}

impl StatusDetails {
    fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_bytes(&mut out, 1, self.name.as_bytes());
        push_bytes(&mut out, 2, self.group.as_bytes());
        push_bytes(&mut out, 3, self.kind.as_bytes());
        for cause in &self.causes {
            push_bytes(&mut out, 4, &cause.to_protobuf());
        }
        push_int(&mut out, 5, i64::from(self.retry_after_seconds));
        push_bytes(&mut out, 6, self.uid.as_bytes());
        out
    }
}

impl StatusCause {
    fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_bytes(&mut out, 1, self.reason.as_bytes());
        push_bytes(&mut out, 2, self.message.as_bytes());
        push_bytes(&mut out, 3, self.field.as_bytes());
        out
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_int(out: &mut Vec<u8>, field: u8, value: i64) {
    out.push(field << 3);
    push_varint(out, value.cast_unsigned());
}
