//! What the protobuf decoder takes and refuses, as upstream's generated code does.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code)]
mod checks;

use checks::schema;
use portcullis_model::schema::decode_protobuf::{self, Envelope};
use portcullis_model::schema::{
    DEPTH_MAX, DecodeError, FieldValidation, TypeId, decode_json, encode_json, encode_protobuf,
};

const MAP: &str = "v1/ConfigMap";
const POD: &str = "v1/Pod";
const DEPLOYMENT: &str = "apps/v1/Deployment";
const CRD: &str = "apiextensions.k8s.io/v1/CustomResourceDefinition";

fn type_of(kind: &str) -> TypeId {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    schema().by_kind(api_version, kind).unwrap()
}

fn read(kind: &str, message: &[u8]) -> Result<String, String> {
    let tree = decode_protobuf::decode(schema(), type_of(kind), message).map_err(|error| error.to_string())?;
    checks::well_formed(&tree);
    checks::protobuf(type_of(kind), message);
    Ok(String::from_utf8(encode_json::to_vec(schema(), &tree)).unwrap())
}

fn message_of(kind: &str, body: &[u8]) -> Vec<u8> {
    let decoded = decode_json::decode(schema(), type_of(kind), body.to_vec(), FieldValidation::Strict).unwrap();
    encode_protobuf::encode(schema(), &decoded.tree)
}

#[track_caller]
fn written(kind: &str, message: &[u8], want: &str) {
    assert_eq!(read(kind, message).as_deref(), Ok(want), "{message:02x?}");
}

#[track_caller]
fn refused(kind: &str, message: &[u8], want: &str) {
    assert_eq!(read(kind, message).err().as_deref(), Some(want), "{message:02x?}");
}

/// A field of bytes.
fn field(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let bytes = parts.concat();
    let mut out = vec![tag << 3 | 2];
    let mut len = bytes.len();
    while len > 127 {
        out.push(len as u8 | 128);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend(bytes);
    out
}

/// An entry of a map from strings to strings.
fn entry(tag: u8, key: &str, value: &str) -> Vec<u8> {
    field(tag, &[&field(1, &[key.as_bytes()]), &field(2, &[value.as_bytes()])])
}

#[test]
fn fields_come_in_any_order_and_the_last_one_wins() {
    let name = |text: &str| field(1, &[text.as_bytes()]);
    let uid = |text: &str| field(5, &[text.as_bytes()]);
    for (message, want) in [
        (vec![], r#"{"metadata":{}}"#),
        (field(1, &[&uid("u"), &name("n")]), r#"{"metadata":{"name":"n","uid":"u"}}"#),
        (field(1, &[&name("a"), &name("b")]), r#"{"metadata":{"name":"b"}}"#),
        (field(1, &[&name("a"), &name("")]), r#"{"metadata":{}}"#),
        (field(1, &[&name("a"), &uid("u"), &name("")]), r#"{"metadata":{"uid":"u"}}"#),
        // A message that comes twice is merged; its lists grow.
        ([field(1, &[&name("a")]), field(1, &[&uid("u")])].concat(), r#"{"metadata":{"name":"a","uid":"u"}}"#),
        ([field(1, &[&name("a")]), field(1, &[&name("b")])].concat(), r#"{"metadata":{"name":"b"}}"#),
        (
            [field(1, &[&field(14, &[b"x"])]), field(1, &[&name("n"), &field(14, &[b"y"])])].concat(),
            r#"{"metadata":{"name":"n","finalizers":["x","y"]}}"#,
        ),
        // Other fields between elements.
        (
            field(1, &[&field(14, &[b"x"]), &entry(11, "k", "v"), &field(14, &[b"y"]), &entry(11, "a", "b")]),
            r#"{"metadata":{"labels":{"a":"b","k":"v"},"finalizers":["x","y"]}}"#,
        ),
        // A number of 64 bits is cut to the 32 of its field, zero may be said in many bytes.
        (vec![0x20, 0x80, 0x80, 0x00], r#"{"metadata":{},"immutable":false}"#),
        (field(1, &[&[0x38, 0x80, 0x00]]), r#"{"metadata":{}}"#),
        (
            field(1, &[&[0x38, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]]),
            r#"{"metadata":{"generation":-1}}"#,
        ),
    ] {
        written(MAP, &message, want);
    }
}

#[test]
fn maps_are_sorted_and_the_last_of_equal_keys_wins() {
    for (message, want) in [
        ([entry(2, "b", "1"), entry(2, "a", "2")].concat(), r#"{"metadata":{},"data":{"a":"2","b":"1"}}"#),
        (
            [entry(2, "a", "1"), entry(2, "b", "2"), entry(2, "a", "3")].concat(),
            r#"{"metadata":{},"data":{"a":"3","b":"2"}}"#,
        ),
        ([entry(2, "a", "1"), entry(2, "a", "2")].concat(), r#"{"metadata":{},"data":{"a":"2"}}"#),
        // Value before key; key or value left out; something unknown in the entry.
        (field(2, &[&field(2, &[b"v"]), &field(1, &[b"k"])]), r#"{"metadata":{},"data":{"k":"v"}}"#),
        (field(2, &[&field(2, &[b"v"])]), r#"{"metadata":{},"data":{"":"v"}}"#),
        (field(2, &[&field(1, &[b"k"])]), r#"{"metadata":{},"data":{"k":""}}"#),
        (field(2, &[]), r#"{"metadata":{},"data":{"":""}}"#),
        (
            field(2, &[&field(1, &[b"k"]), &field(3, &[b"z"]), &field(2, &[b"v"])]),
            r#"{"metadata":{},"data":{"k":"v"}}"#,
        ),
        (field(3, &[&field(1, &[b"k"])]), r#"{"metadata":{},"binaryData":{"k":""}}"#),
    ] {
        written(MAP, &message, want);
    }
    // Two maps whose entries alternate, each out of order.
    let many: Vec<u8> = (0..20_000u32)
        .rev()
        .flat_map(|n| {
            [entry(2, &format!("{n:05}"), ""), field(3, &[&field(1, &[format!("{n:05}").as_bytes()])])].concat()
        })
        .collect();
    let tree = decode_protobuf::decode(schema(), type_of(MAP), &many).unwrap();
    checks::well_formed(&tree);
}

#[test]
fn what_is_not_declared_is_skipped() {
    let known = field(1, &[&field(1, &[b"n"])]);
    let want = r#"{"metadata":{"name":"n"}}"#;
    for unknown in [
        &[0x78, 0x05][..],                                       // a number
        &[0x79, 1, 2, 3, 4, 5, 6, 7, 8],                         // eight bytes
        &[0x7d, 1, 2, 3, 4],                                     // four bytes
        &[0x7a, 2, 0xff, 0xff],                                  // bytes
        &[0x7b, 0x7c],                                           // a group
        &[0x7b, 0x08, 0x01, 0x0b, 0x12, 0x01, 0x61, 0x0c, 0x7c], // a group in a group
        &[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01],                   // the largest field number
    ] {
        written(MAP, &[unknown, &known].concat(), want);
        written(MAP, &[&known, unknown].concat(), want);
    }
}

#[test]
fn a_wire_type_that_is_not_the_declared_one_is_refused() {
    for (kind, message, want) in [
        (MAP, vec![0x08, 0x01], "proto: wrong wireType = 0 for field metadata"),
        (MAP, vec![0x0b, 0x0c], "proto: wrong wireType = 3 for field metadata"),
        (MAP, vec![0x0d, 0, 0, 0, 0], "proto: wrong wireType = 5 for field metadata"),
        (MAP, vec![0x22, 0x00], "proto: wrong wireType = 2 for field immutable"),
        (MAP, vec![0x10, 0x00], "proto: wrong wireType = 0 for field data"),
        (MAP, field(2, &[&[0x08, 0x01]]), "proto: wrong wireType = 0 for field data"),
        (MAP, field(2, &[&[0x10, 0x01]]), "proto: wrong wireType = 0 for field data"),
        (MAP, field(1, &[&[0x08, 0x01]]), "proto: wrong wireType = 0 for field name"),
        (MAP, field(1, &[&[0x70, 0x01]]), "proto: wrong wireType = 0 for field finalizers"),
        (MAP, field(1, &[&field(8, &[&field(1, &[b"x"])])]), "proto: wrong wireType = 2 for field creationTimestamp"),
        (MAP, vec![0x0f], "proto: illegal wireType"),
        (MAP, vec![0x0c], "proto: illegal wireType"),
        (MAP, vec![0x00, 0x00], "proto: illegal tag 0"),
        (MAP, vec![0x02, 0x00], "proto: illegal tag 0"),
    ] {
        refused(kind, &message, want);
    }
}

#[test]
fn a_message_that_breaks_off_is_refused() {
    let end = "unexpected EOF";
    for (message, want) in [
        (vec![0x0a], end),
        (vec![0x0a, 0x01], end),
        (vec![0x0a, 0x80], end),
        (vec![0x20], end),
        (vec![0x20, 0x80], end),
        (vec![0x79, 1, 2, 3], end),
        (vec![0x7d, 1], end),
        (vec![0x7b], end),
        (vec![0x7b, 0x08], end),
        (vec![0x80], end),
        (
            vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            "proto: negative length found during unmarshaling",
        ),
        (vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], end),
        // The inner message says more than the outer one has.
        (vec![0x0a, 0x02, 0x0a, 0x05, 0x61, 0x61, 0x61, 0x61, 0x61], end),
        (vec![0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "proto: integer overflow"),
        (vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "proto: integer overflow"),
    ] {
        refused(MAP, &message, want);
    }
    let message = message_of(POD, include_bytes!("../benches/data/pod.json"));
    let mut whole_fields = 0;
    for end in 0..message.len() {
        // A prefix may end between two fields of the outermost message; then it is one with fewer fields.
        match decode_protobuf::decode(schema(), type_of(POD), &message[..end]) {
            Ok(tree) => {
                checks::well_formed(&tree);
                whole_fields += 1;
            }
            Err(error) => assert_eq!(error, DecodeError::Wire("unexpected EOF")),
        }
    }
    assert_eq!(whole_fields, 3, "nothing, metadata, metadata and spec");
}

#[test]
fn numbers_may_be_packed() {
    // supplementalGroups, in a security context in a spec.
    let pod = |groups: &[u8]| field(2, &[&field(14, &[groups])]);
    let want = |groups: &str| {
        format!(
            "{{\"metadata\":{{}},\"spec\":{{\"containers\":null,\"securityContext\":{{{groups}}}}},\"status\":{{}}}}"
        )
    };
    for (groups, json) in [
        (&[0x20, 1, 0x20, 2][..], "\"supplementalGroups\":[1,2]"),
        (&[0x22, 3, 1, 0x80, 1], "\"supplementalGroups\":[1,128]"),
        (&[0x20, 0, 0x22, 1, 0, 0x20, 3], "\"supplementalGroups\":[0,0,3]"),
        (&[0x22, 0], ""),
    ] {
        written(POD, &pod(groups), &want(json));
    }
    refused(POD, &pod(&[0x22, 1, 0x80]), "unexpected EOF");
    refused(POD, &pod(&[0x25, 0, 0, 0, 0]), "proto: wrong wireType = 5 for field supplementalGroups");
}

#[test]
fn text_that_is_not_utf8_is_replaced() {
    for (bytes, want) in [
        (&b"plain"[..], "plain"),
        (b"a<b", "a\\u003cb"),
        (b"a", "a"),
        (b"ab&", "ab\\u0026"),
        (b"abcdefg\"", "abcdefg\\\""),
        (b"12345678\n", "12345678\\n"),
        ("\u{e9}".as_bytes(), "\u{e9}"),
        ("\u{2028}".as_bytes(), "\\u2028"),
        (b"x\xffy", "x\u{fffd}y"),
        (b"\xe2\x80", "\u{fffd}\u{fffd}"),
    ] {
        written(MAP, &field(1, &[&field(1, &[bytes])]), &format!("{{\"metadata\":{{\"name\":\"{want}\"}}}}"));
        written(MAP, &field(2, &[&field(1, &[bytes])]), &format!("{{\"metadata\":{{}},\"data\":{{\"{want}\":\"\"}}}}"));
    }
}

#[test]
fn leaves_are_checked_and_canonical() {
    let cpu = |quantity: &[u8]| field(2, &[&field(32, &[&field(1, &[b"cpu"]), &field(2, &[quantity])])]);
    let overhead = |message: Vec<u8>| {
        // The number of `overhead` needs a second byte.
        let mut out = message;
        if let Some(at) = out.iter().position(|byte| *byte == 32u8 << 3 | 2) {
            out.splice(at..=at, [0x82, 0x02]);
            out[1] += 1;
        }
        out
    };
    let want = |text: &str| {
        format!(
            "{{\"metadata\":{{}},\"spec\":{{\"containers\":null,\"overhead\":{{\"cpu\":\"{text}\"}}}},\"status\":{{}}}}"
        )
    };
    written(POD, &overhead(cpu(&field(1, &[b"1000m"]))), &want("1"));
    written(POD, &overhead(cpu(&[])), &want("0"));
    assert!(read(POD, &overhead(cpu(&field(1, &[b"x"])))).is_err());
    assert!(read(POD, &overhead(cpu(&[0x08, 0x01]))).is_err());
    let time = |parts: &[u8]| field(1, &[&field(8, &[parts])]);
    written(MAP, &time(&[]), r#"{"metadata":{}}"#);
    written(MAP, &time(&[0x08, 0x01]), r#"{"metadata":{"creationTimestamp":"1970-01-01T00:00:01Z"}}"#);
    let far = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    refused(MAP, &time(&far), "Time.MarshalJSON: year outside of range [0,9999]");
    let managed = |raw: &[u8]| field(1, &[&field(17, &[&field(7, &[&field(1, &[raw])])])]);
    let managed = |raw: &[u8]| {
        let mut out = managed(raw);
        // The number of `managedFields` needs a second byte.
        let at = out.iter().position(|byte| *byte == 17u8 << 3 | 2).unwrap();
        out.splice(at..=at, [0x8a, 0x01]);
        out[1] += 1;
        out
    };
    written(MAP, &managed(b"{ \"f:a\" : {} }"), r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}}]}}"#);
    for raw in [&b"{"[..], b"{}{}", b"x", b"\"a\nb\"", b"[1,]"] {
        assert!(read(MAP, &managed(raw)).is_err(), "{raw:?}");
    }
    refused(MAP, &managed("[".repeat(20_000).as_bytes().get(..60).unwrap()), "unexpected end of JSON input");
}

#[test]
fn embedded_structs_are_messages_of_their_own() {
    let body = br#"{"spec":{"containers":[{"name":"a","env":[{"name":"e","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]}],"volumes":[{"name":"v","configMap":{"name":"m"}}]}}"#;
    let message = message_of(POD, body);
    let text = read(POD, &message).unwrap();
    assert!(text.contains(r#""valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}"#), "{text}");
    assert!(text.contains(r#"{"name":"v","configMap":{"name":"m"}}"#), "{text}");
    // A volume: its name, its embedded source, and both the other way round or in two parts.
    let volume = |parts: &[&[u8]]| field(2, &[&field(1, &[&parts.concat()])]);
    let (name, medium) = (field(1, &[b"v"]), field(1, &[b"Memory"]));
    let source = field(2, &[&field(2, &[&medium])]);
    let want = r#"{"metadata":{},"spec":{"volumes":[{"name":"v","emptyDir":{"medium":"Memory"}}],"containers":null},"status":{}}"#;
    written(POD, &volume(&[&name, &source]), want);
    written(POD, &volume(&[&source, &name]), want);
    written(POD, &volume(&[&source, &source, &name, &source]), want);
    refused(POD, &volume(&[&[0x10, 0x01]]), "proto: wrong wireType = 0 for field value");
}

#[test]
fn depth_is_bounded() {
    // not { not { ... } }, in a schema in a version in a spec. Each level is written around the one below.
    let nested = |depth: usize| {
        let mut message = encode_protobuf::Backwards::default();
        for tag in std::iter::repeat_n(28, depth).chain([1, 4, 7, 2]) {
            message.close(tag, 0);
        }
        message.finish()
    };
    let text = read(CRD, &nested(3)).unwrap();
    assert!(text.contains(r#""openAPIV3Schema":{"not":{"not":{"not":{}}}}"#), "{text}");
    assert!(decode_protobuf::decode(schema(), type_of(CRD), &nested(DEPTH_MAX - 5)).is_ok());
    for depth in [DEPTH_MAX - 4, 20_000, 200_000] {
        let read = decode_protobuf::decode(schema(), type_of(CRD), &nested(depth));
        assert_eq!(read.map(|_| ()), Err(DecodeError::TooDeep), "{depth}");
    }
    // Groups need no stack.
    let groups = [vec![0x7b; 100_000], vec![0x7c; 100_000]].concat();
    written(MAP, &groups, r#"{"metadata":{}}"#);
    refused(MAP, &vec![0x7b; 100_000], "unexpected EOF");
}

#[test]
fn merged_messages_cost_no_more_than_others() {
    let part = field(1, &[&entry(11, "k", "v"), &field(14, &[b"x"])]);
    let body = part.repeat(50_000);
    let tree = decode_protobuf::decode(schema(), type_of(MAP), &body).unwrap();
    checks::well_formed(&tree);
    let text = String::from_utf8(encode_json::to_vec(schema(), &tree)).unwrap();
    assert_eq!(text.matches("\"x\"").count(), 50_000);
    assert!(text.starts_with(r#"{"metadata":{"labels":{"k":"v"},"finalizers":["x","x""#));
}

#[test]
fn an_envelope_is_read_and_written() {
    let bytes = encode_protobuf::envelope("apps/v1", "Deployment", b"abc");
    let want =
        Envelope { api_version: "apps/v1", kind: "Deployment", raw: b"abc", content_encoding: "", content_type: "" };
    assert_eq!(Envelope::read(&bytes), Ok(want));
    for end in 4..bytes.len() {
        // A prefix that ends between two fields has what came before.
        if let Ok(read) = Envelope::read(&bytes[..end]) {
            assert!(read.raw.is_empty() || read.raw == b"abc");
        }
    }
    for bytes in [&b""[..], b"k8s", b"{}", b"K8s\0"] {
        assert!(matches!(Envelope::read(bytes), Err(DecodeError::Value(_))), "{bytes:?}");
    }
    assert_eq!(Envelope::read(b"k8s\0"), Ok(Envelope::default()));
    assert!(Envelope::read(b"k8s\0\x0a\x03\x0a\x01\xff").is_err(), "an apiVersion that is not UTF-8");
    let text = read(DEPLOYMENT, &message_of(DEPLOYMENT, br#"{"spec":{"replicas":0}}"#)).unwrap();
    assert!(text.contains("\"replicas\":0,"), "{text}");
}
