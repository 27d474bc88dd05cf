//! What the JSON decoder takes, finds and refuses, in the words of Go's `encoding/json` and `sigs.k8s.io/json`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code)]
mod checks;

use checks::schema;
use portcullis_model::schema::decode_json::FINDINGS_MAX;
use portcullis_model::schema::{DEPTH_MAX, DecodeError, FieldValidation, decode_json, encode_json};

/// The object as it is written, and the findings; or the error's text.
fn read(kind: &str, body: impl AsRef<[u8]>) -> Result<(String, Vec<String>), String> {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let ty = schema().by_kind(api_version, kind).unwrap();
    let body = body.as_ref().to_vec();
    let decoded =
        decode_json::decode(schema(), ty, body, FieldValidation::Strict).map_err(|error| error.to_string())?;
    checks::well_formed(&decoded.tree);
    Ok((String::from_utf8(encode_json::to_vec(schema(), &decoded.tree)).unwrap(), decoded.findings))
}

#[track_caller]
fn written(kind: &str, body: impl AsRef<[u8]>, want: &str) {
    let shown = String::from_utf8_lossy(body.as_ref()).into_owned();
    assert_eq!(read(kind, body), Ok((want.to_owned(), vec![])), "{shown}");
}

#[track_caller]
fn finds(kind: &str, body: &str, want: &[&str]) {
    let found = read(kind, body).unwrap().1;
    assert_eq!(found, want, "{body}");
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let ty = schema().by_kind(api_version, kind).unwrap();
    let ignoring = decode_json::decode(schema(), ty, body.as_bytes().to_vec(), FieldValidation::Ignore).unwrap();
    assert_eq!(ignoring.findings, Vec::<String>::new(), "{body}");
}

#[track_caller]
fn refused(kind: &str, body: impl AsRef<[u8]>, want: &str) {
    let shown = String::from_utf8_lossy(body.as_ref()).into_owned();
    assert_eq!(read(kind, body).map(|(text, _)| text), Err(want.to_owned()), "{shown}");
}

const POD: &str = "v1/Pod";
const MAP: &str = "v1/ConfigMap";
const DEPLOYMENT: &str = "apps/v1/Deployment";

/// A ConfigMap's JSON with one more member behind its metadata.
fn map_with(member: &str) -> String {
    format!("{{\"metadata\":{{}},{member}}}")
}

#[test]
fn unknown_fields_are_found_with_their_paths() {
    for (kind, body, want) in [
        (MAP, r#"{"a":1}"#, &[r#"unknown field "a""#][..]),
        (MAP, r#"{"Data":{}}"#, &[r#"unknown field "Data""#]),
        (MAP, r#"{"":1}"#, &[r#"unknown field """#]),
        (
            MAP,
            r#"{"metadata":{"a":{"b":[{"c":1}]},"name":"x","b":2}}"#,
            &[r#"unknown field "metadata.a""#, r#"unknown field "metadata.b""#],
        ),
        (MAP, r#"{"\u0061\"":1}"#, &[r#"unknown field "a\"""#]),
        (MAP, r#"{"d\u0061ta":{"a":"b"}}"#, &[]),
        (POD, r#"{"spec":{"containers":[{"name":"a"},{"foo":1}]}}"#, &[r#"unknown field "spec.containers[1].foo""#]),
        (
            POD,
            r#"{"spec":{"containers":[{"ports":[{},{},{"x":1}]}]}}"#,
            &[r#"unknown field "spec.containers[0].ports[2].x""#],
        ),
        // The same again is said once.
        (MAP, r#"{"a":1,"a":2,"metadata":{"a":1}}"#, &[r#"unknown field "a""#, r#"unknown field "metadata.a""#]),
        // A name that is no longer than the key of a known one, and one that begins like a long one.
        (
            POD,
            r#"{"spec":{"automountServiceAccountTokem":1}}"#,
            &[r#"unknown field "spec.automountServiceAccountTokem""#],
        ),
        (POD, r#"{"spec":{"automountServiceAccountToken":true}}"#, &[]),
        // Upstream looks for nothing in free JSON, nor in what is read by a function of its own.
        (MAP, r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:x":{},"f:x":{}}}]}}"#, &[]),
        (
            "apiextensions.k8s.io/v1/CustomResourceDefinition",
            r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"items":{"bogus":1,"type":"a","type":"b"},"bogus":2}}}]}}"#,
            &[r#"unknown field "spec.versions[0].schema.openAPIV3Schema.bogus""#],
        ),
    ] {
        finds(kind, body, want);
    }
}

#[test]
fn duplicate_fields_are_found_with_their_paths() {
    for (kind, body, want) in [
        (MAP, r#"{"data":{},"data":{}}"#, &[r#"duplicate field "data""#][..]),
        (MAP, r#"{"metadata":{"name":"a","name":"b"}}"#, &[r#"duplicate field "metadata.name""#]),
        (MAP, r#"{"metadata":{"labels":{"a":"1","b":"2","a":"3"}}}"#, &[r#"duplicate field "metadata.labels.a""#]),
        (
            MAP,
            r#"{"data":{"z":"1","a":"1","z":"2","a":"2"}}"#,
            &[r#"duplicate field "data.z""#, r#"duplicate field "data.a""#],
        ),
        (
            POD,
            r#"{"spec":{"containers":[{},{"image":"a","image":"b"}]}}"#,
            &[r#"duplicate field "spec.containers[1].image""#],
        ),
        (MAP, r#"{"metadata":{"n\u0061me":"a","name":"b"}}"#, &[r#"duplicate field "metadata.name""#]),
        // Only what stands twice in one object is a duplicate.
        (MAP, r#"{"metadata":{"name":"a"},"metadata":{"name":"b"}}"#, &[r#"duplicate field "metadata""#]),
        (MAP, r#"{"data":{"a":"1"},"data":{"a":"2"}}"#, &[r#"duplicate field "data""#]),
        (MAP, r#"{"data":null,"data":null,"data":null}"#, &[r#"duplicate field "data""#]),
    ] {
        finds(kind, body, want);
    }
}

#[test]
fn the_last_duplicate_wins_and_structs_and_maps_merge() {
    for (kind, body, want) in [
        (MAP, r#"{"metadata":{"name":"a"},"metadata":{"name":"b"}}"#, r#"{"metadata":{"name":"b"}}"#),
        (MAP, r#"{"metadata":{"name":"a"},"metadata":{"uid":"b"}}"#, r#"{"metadata":{"name":"a","uid":"b"}}"#),
        (MAP, r#"{"metadata":{"uid":"a"},"metadata":{"name":"b"}}"#, r#"{"metadata":{"name":"b","uid":"a"}}"#),
        (MAP, r#"{"metadata":{"name":"a"},"metadata":null}"#, r#"{"metadata":{"name":"a"}}"#),
        (MAP, r#"{"metadata":{"name":"a","name":null}}"#, r#"{"metadata":{"name":"a"}}"#),
        (MAP, r#"{"metadata":{"name":"a","name":""}}"#, r#"{"metadata":{}}"#),
        (MAP, r#"{"data":{"b":"1"},"data":{"a":"2"}}"#, r#"{"metadata":{},"data":{"a":"2","b":"1"}}"#),
        (
            MAP,
            r#"{"data":{"b":"1"},"data":{"a":"2","b":"3"},"data":{"b":"4"}}"#,
            r#"{"metadata":{},"data":{"a":"2","b":"4"}}"#,
        ),
        (MAP, r#"{"data":{"b":"1"},"data":null,"data":{"a":"2"}}"#, r#"{"metadata":{},"data":{"a":"2"}}"#),
        (MAP, r#"{"data":{"b":"1"},"data":{}}"#, r#"{"metadata":{},"data":{"b":"1"}}"#),
        (MAP, r#"{"immutable":true,"immutable":null}"#, r#"{"metadata":{}}"#),
        (MAP, r#"{"immutable":true,"immutable":false}"#, r#"{"metadata":{},"immutable":false}"#),
        // Merged structs, the same at every depth.
        (
            MAP,
            r#"{"metadata":{"labels":{"b":"1"},"finalizers":["x","y"]},"metadata":{"labels":{"a":"2"},"finalizers":["z"]}}"#,
            r#"{"metadata":{"labels":{"a":"2","b":"1"},"finalizers":["z"]}}"#,
        ),
        (
            DEPLOYMENT,
            r#"{"spec":{"replicas":1,"template":{"spec":{"nodeName":"a"}}},"spec":{"template":{"spec":{"hostNetwork":true}}}}"#,
            concat!(
                r#"{"metadata":{},"spec":{"replicas":1,"selector":null,"template":{"metadata":{},"#,
                r#""spec":{"containers":null,"nodeName":"a","hostNetwork":true}},"strategy":{}},"status":{}}"#
            ),
        ),
        (
            DEPLOYMENT,
            r#"{"spec":{"replicas":1,"replicas":null}}"#,
            concat!(
                r#"{"metadata":{},"spec":{"selector":null,"template":{"metadata":{},"#,
                r#""spec":{"containers":null}},"strategy":{}},"status":{}}"#
            ),
        ),
    ] {
        assert_eq!(read(kind, body).unwrap().0, want, "{body}");
    }
}

#[test]
fn a_body_of_findings_only_is_bounded() {
    let many: String = (0..1000).map(|number| format!("\"x{number}\":1,")).collect();
    let found = read(MAP, format!("{{{many}\"data\":{{}}}}")).unwrap().1;
    assert_eq!(found.len(), FINDINGS_MAX);
    assert_eq!(found[99], r#"unknown field "x99""#);
    // Long paths, and the same field again and again below a deep path.
    let key = "k".repeat(500_000);
    let body = format!(
        "{{\"data\":{{\"{key}\":\"\"}},\"metadata\":{{\"labels\":{{{}}}}}}}",
        format!("\"{key}\":\"\",").repeat(9) + "\"a\":\"\""
    );
    assert!(read(MAP, body).unwrap().1.len() < 4);
    let again = "\"data\":{\"a\":\"\"},".repeat(100_000);
    assert_eq!(read(MAP, format!("{{{again}\"kind\":\"\"}}")).unwrap().0, r#"{"metadata":{},"data":{"a":""}}"#);
    let other: String = (0..50_000).map(|number| format!("\"data\":{{\"k{number:06}\":\"\"}},")).collect();
    assert_eq!(
        read(MAP, format!("{{{other}\"kind\":\"\"}}")).unwrap().0.len(),
        50_000 * 13 - 1 + r#"{"metadata":{},"data":{}}"#.len()
    );
}

#[test]
fn a_value_of_another_type_is_refused_with_its_place() {
    let field = |found: &str, place: &str, wanted: &str| {
        format!("json: cannot unmarshal {found} into Go struct field {place} of type {wanted}")
    };
    for (kind, body, found, place, wanted) in [
        (MAP, r#"{"metadata":{"name":1}}"#, "number", "ObjectMeta.metadata.name", "string"),
        (MAP, r#"{"metadata":{"name":1.5}}"#, "number", "ObjectMeta.metadata.name", "string"),
        (MAP, r#"{"metadata":{"name":true}}"#, "bool", "ObjectMeta.metadata.name", "string"),
        (MAP, r#"{"metadata":{"name":[]}}"#, "array", "ObjectMeta.metadata.name", "string"),
        (MAP, r#"{"metadata":{"name":{}}}"#, "object", "ObjectMeta.metadata.name", "string"),
        (MAP, r#"{"metadata":"x"}"#, "string", "ConfigMap.metadata", "v1.ObjectMeta"),
        (MAP, r#"{"metadata":{"labels":{"a":1}}}"#, "number", "ObjectMeta.metadata.labels", "string"),
        (MAP, r#"{"metadata":{"labels":"a"}}"#, "string", "ObjectMeta.metadata.labels", "map[string]string"),
        (MAP, r#"{"metadata":{"finalizers":"a"}}"#, "string", "ObjectMeta.metadata.finalizers", "[]string"),
        (MAP, r#"{"metadata":{"finalizers":[[]]}}"#, "array", "ObjectMeta.metadata.finalizers", "string"),
        (MAP, r#"{"immutable":"true"}"#, "string", "ConfigMap.immutable", "bool"),
        (MAP, r#"{"binaryData":{"a":1}}"#, "number", "ConfigMap.binaryData", "[]uint8"),
        (MAP, r#"{"binaryData":{"a":["b"]}}"#, "string", "ConfigMap.binaryData", "uint8"),
        (MAP, r#"{"binaryData":{"a":[256]}}"#, "number 256", "ConfigMap.binaryData", "uint8"),
        (POD, r#"{"spec":{"containers":{}}}"#, "object", "PodSpec.spec.containers", "[]v1.Container"),
        (POD, r#"{"spec":{"containers":["a"]}}"#, "string", "PodSpec.spec.containers", "v1.Container"),
        // Structs that Go embeds stand in the path.
        (
            POD,
            r#"{"spec":{"volumes":[{"nfs":{"path":1}}]}}"#,
            "number",
            "NFSVolumeSource.spec.volumes.VolumeSource.nfs.path",
            "string",
        ),
        // Numbers that do not fit.
        (
            DEPLOYMENT,
            r#"{"spec":{"replicas":2147483648}}"#,
            "number 2147483648",
            "DeploymentSpec.spec.replicas",
            "int32",
        ),
        (
            DEPLOYMENT,
            r#"{"spec":{"replicas":-2147483649}}"#,
            "number -2147483649",
            "DeploymentSpec.spec.replicas",
            "int32",
        ),
        (DEPLOYMENT, r#"{"spec":{"replicas":1.0}}"#, "number 1.0", "DeploymentSpec.spec.replicas", "int32"),
        (DEPLOYMENT, r#"{"spec":{"replicas":1e2}}"#, "number 1e2", "DeploymentSpec.spec.replicas", "int32"),
        (DEPLOYMENT, r#"{"spec":{"replicas":"1"}}"#, "string", "DeploymentSpec.spec.replicas", "int32"),
        (
            MAP,
            r#"{"metadata":{"generation":9223372036854775808}}"#,
            "number 9223372036854775808",
            "ObjectMeta.metadata.generation",
            "int64",
        ),
        (
            "v1/Service",
            r#"{"spec":{"ports":[{"targetPort":{}}]}}"#,
            "object",
            "ServicePort.spec.ports.targetPort",
            "string",
        ),
        (
            "v1/Service",
            r#"{"spec":{"ports":[{"targetPort":2147483648}]}}"#,
            "number 2147483648",
            "ServicePort.spec.ports.targetPort",
            "int32",
        ),
    ] {
        refused(kind, body, &field(found, place, wanted));
    }
    refused(MAP, "[]", "json: cannot unmarshal array into Go value of type v1.ConfigMap");
    refused(MAP, " 1 ", "json: cannot unmarshal number into Go value of type v1.ConfigMap");
    // What is not JSON is said first, wherever it is.
    refused(MAP, r#"{"metadata":{"name":1},"data":x}"#, "invalid character 'x' looking for beginning of value");
    refused(MAP, r#"{"metadata":{"name":1}"#, "unexpected end of JSON input");
}

#[test]
fn numbers_in_range_are_kept() {
    for (number, want) in
        [("0", "0"), ("-0", "0"), ("2147483647", "2147483647"), ("-2147483648", "-2147483648"), (" 7 ", "7")]
    {
        let text = read(DEPLOYMENT, format!("{{\"spec\":{{\"replicas\":{number}}}}}")).unwrap().0;
        assert!(text.contains(&format!("\"replicas\":{want},")), "{text}");
    }
    for number in ["9223372036854775807", "-9223372036854775808", "1234567890", "123456789"] {
        written(
            MAP,
            format!("{{\"metadata\":{{\"generation\":{number}}}}}"),
            &format!("{{\"metadata\":{{\"generation\":{number}}}}}"),
        );
    }
    for number in ["01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "--1", "1.e1"] {
        let error = read(DEPLOYMENT, format!("{{\"spec\":{{\"replicas\":{number}}}}}")).unwrap_err();
        assert!(error.starts_with("invalid character"), "{number}: {error}");
    }
}

#[test]
fn null_is_absent_or_the_zero_element() {
    for (kind, body, want) in [
        (MAP, "null", r#"{"metadata":{}}"#),
        (MAP, r#"{"metadata":null,"data":null,"immutable":null}"#, r#"{"metadata":{}}"#),
        (MAP, r#"{"data":{"a":null}}"#, r#"{"metadata":{},"data":{"a":""}}"#),
        (MAP, r#"{"binaryData":{"a":null}}"#, r#"{"metadata":{},"binaryData":{"a":null}}"#),
        (MAP, r#"{"metadata":{"finalizers":[null]}}"#, r#"{"metadata":{"finalizers":[""]}}"#),
        (MAP, r#"{"metadata":{"creationTimestamp":null}}"#, r#"{"metadata":{}}"#),
        (
            POD,
            r#"{"spec":{"containers":[null]}}"#,
            r#"{"metadata":{},"spec":{"containers":[{"name":"","resources":{}}]},"status":{}}"#,
        ),
        (
            POD,
            r#"{"spec":{"overhead":{"cpu":null}}}"#,
            r#"{"metadata":{},"spec":{"containers":null,"overhead":{"cpu":"0"}},"status":{}}"#,
        ),
        (
            "v1/Service",
            r#"{"spec":{"ports":[{"targetPort":null}]}}"#,
            r#"{"metadata":{},"spec":{"ports":[{"port":0,"targetPort":0}]},"status":{"loadBalancer":{}}}"#,
        ),
    ] {
        written(kind, body, want);
    }
    for literal in ["nul", "nulL", "n", "nxll", "tru", "True", "fals"] {
        let error = read(MAP, map_with(&format!("\"immutable\":{literal}"))).unwrap_err();
        assert!(
            error.starts_with("invalid character") || error == "unexpected end of JSON input",
            "{literal}: {error}"
        );
    }
}

#[test]
fn zeros_that_are_the_same_as_absent_are_dropped() {
    for (kind, body, want) in [
        (MAP, r#"{"data":{},"immutable":false,"kind":""}"#, r#"{"metadata":{},"immutable":false}"#),
        (MAP, r#"{"metadata":{"finalizers":[],"labels":{},"name":"","generation":0}}"#, r#"{"metadata":{}}"#),
        (
            POD,
            r#"{"spec":{"containers":[],"hostNetwork":false,"priority":0}}"#,
            r#"{"metadata":{},"spec":{"containers":[],"priority":0},"status":{}}"#,
        ),
        // An empty list of a union's is written as null by upstream, which is nothing.
        (
            "apiextensions.k8s.io/v1/CustomResourceDefinition",
            r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"items":[ ]}}}]}}"#,
            concat!(
                r#"{"metadata":{},"spec":{"group":"","names":{"plural":"","kind":""},"scope":"","versions":[{"name":"","served":false,"#,
                r#""storage":false,"schema":{"openAPIV3Schema":{}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#
            ),
        ),
    ] {
        written(kind, body, want);
    }
}

#[test]
fn strings_are_read_and_written_as_go_does() {
    let data = |text: &str| format!("{{\"metadata\":{{}},\"data\":{{\"a\":{text}}}}}");
    for (text, want) in [
        (r#""plain""#, r#""plain""#),
        (r#""\u0041\n\t\r\b\f\/\\\"""#, r#""A\n\t\r\b\f/\\\"""#),
        (r#""<>&""#, r#""\u003c\u003e\u0026""#),
        ("\"12345678<\"", "\"12345678\\u003c\""),
        ("\"1234567\\u003c\"", "\"1234567\\u003c\""),
        ("\"\u{2028}\u{2029}\"", r#""\u2028\u2029""#),
        ("\"\u{e9}\u{1f30a}\"", "\"\u{e9}\u{1f30a}\""),
        (r#""\ud83c\udf0a""#, "\"\u{1f30a}\""),
        (r#""\ud83c""#, "\"\u{fffd}\""),
        (r#""\udf0a""#, "\"\u{fffd}\""),
        (r#""\ud83cx""#, "\"\u{fffd}x\""),
        (r#""\ud83c\u0041""#, "\"\u{fffd}A\""),
        (r#""\ud83c\ud83c\udf0a""#, "\"\u{fffd}\u{1f30a}\""),
        (r#""\u0000\u001f\u007f""#, "\"\\u0000\\u001f\u{7f}\""),
    ] {
        written(MAP, data(text), &data(want));
    }
    // Bytes that are not UTF-8 become U+FFFD, one each.
    let broken = [b"{\"metadata\":{},\"data\":{\"a\":\"x\xff\xc3(\xe2\x80\"}}".as_slice()].concat();
    assert_eq!(read(MAP, broken).unwrap().0, data("\"x\u{fffd}\u{fffd}(\u{fffd}\u{fffd}\""));
    for (text, want) in [
        ("\"a\nb\"", r"invalid character '\n' in string literal"),
        ("\"12345678901\t\"", r"invalid character '\t' in string literal"),
        ("\"\\u12\u{1}\"", r"invalid character '\x01' in \u hexadecimal character escape"),
        ("\"a\u{0}\"", r"invalid character '\x00' in string literal"),
        (r#""\x""#, "invalid character 'x' in string escape code"),
        (r#""\u12g4""#, r"invalid character 'g' in \u hexadecimal character escape"),
        ("'a'", r"invalid character '\'' looking for beginning of value"),
    ] {
        refused(MAP, data(text), want);
    }
    // A control character in a name, known or not.
    refused(MAP, "{\"da\nta\":{}}", r"invalid character '\n' in string literal");
    refused(MAP, "{\"data\n\":{}}", r"invalid character '\n' in string literal");
}

#[test]
fn a_text_that_is_not_json_is_refused() {
    let end = "unexpected end of JSON input";
    for (body, want) in [
        ("", end),
        ("  \n", end),
        ("{", end),
        (r#"{"data""#, end),
        (r#"{"data":"#, end),
        (r#"{"data":{"#, end),
        (r#"{"data":{"a":"b"#, end),
        (r#"{"data":{"a":"b\"#, end),
        (r#"{"data":{"a":"b\u1"#, end),
        (r#"{"metadata":{"finalizers":["#, end),
        (r#"{"metadata":{"generation":12"#, end),
        ("{} x", "invalid character 'x' after top-level value"),
        ("{}{}", "invalid character '{' after top-level value"),
        ("{,}", "invalid character ',' looking for beginning of object key string"),
        (r#"{"kind":"a",}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"kind":"a" "data":{}}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"kind" "a"}"#, "invalid character '\"' after object key"),
        (r#"{"x" 1}"#, "invalid character '1' after object key"),
        (r#"{kind:"a"}"#, "invalid character 'k' looking for beginning of object key string"),
        (r#"{"kind":}"#, "invalid character '}' looking for beginning of value"),
        (r#"{"metadata":{"finalizers":["a",]}}"#, "invalid character ']' looking for beginning of value"),
        (r#"{"metadata":{"finalizers":["a" "b"]}}"#, "invalid character '\"' after array element"),
        (r#"{"metadata":{"finalizers":[,]}}"#, "invalid character ',' looking for beginning of value"),
        (r#"{"data":{"a":"b",}}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"data":{1:"b"}}"#, "invalid character '1' looking for beginning of object key string"),
        (r#"{"bogus":[1,]}"#, "invalid character ']' looking for beginning of value"),
        (r#"{"bogus":{"a":}}"#, "invalid character '}' looking for beginning of value"),
        (r#"{"bogus":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
        ("\u{e9}", "invalid character '\u{e9}' looking for beginning of value"),
    ] {
        refused(MAP, body, want);
    }
    // White space anywhere it may be.
    written(
        MAP,
        " \t\r\n{ \"kind\" : \"a\" , \"data\" : { \"b\" : \"c\" , \"d\":\"e\"\n} , \"metadata\" : { \"finalizers\" : [ \"x\" , \"y\" ] } } \n",
        r#"{"kind":"a","metadata":{"finalizers":["x","y"]},"data":{"b":"c","d":"e"}}"#,
    );
}

#[test]
fn every_prefix_of_a_body_is_refused() {
    let body = include_bytes!("../benches/data/pod.json");
    let body = body.trim_ascii_end();
    let ty = schema().by_kind("v1", "Pod").unwrap();
    for end in 0..body.len() {
        let read = decode_json::decode(schema(), ty, body[..end].to_vec(), FieldValidation::Strict);
        assert_eq!(read.map(|_| ()), Err(DecodeError::UnexpectedEnd), "{}", String::from_utf8_lossy(&body[..end]));
    }
    assert!(decode_json::decode(schema(), ty, body.to_vec(), FieldValidation::Strict).is_ok());
}

#[test]
fn depth_is_bounded() {
    let too_deep = "exceeded max depth";
    // In a field that nobody declared, and in free JSON.
    for (before, after) in [(r#"{"bogus":"#, "}"), (r#"{"metadata":{"managedFields":[{"fieldsV1":"#, "}]}}")] {
        let around = before.matches(['{', '[']).count();
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |depth: usize| {
                let inner = if open == "[" { "" } else { "1" };
                format!("{before}{}{inner}{}{after}", open.repeat(depth), close.repeat(depth))
            };
            assert!(read(MAP, nested(DEPTH_MAX - around)).is_ok(), "{before} {open}");
            refused(MAP, nested(DEPTH_MAX - around + 1), too_deep);
            refused(MAP, nested(20_000), too_deep);
            refused(MAP, format!("{before}{}", open.repeat(20_000)), too_deep);
        }
    }
    // In declared fields: a schema in a schema.
    let before = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":"#;
    let schemas = |depth: usize| format!("{before}{}{{}}{}}}}}]}}}}", r#"{"not":"#.repeat(depth), "}".repeat(depth));
    let kind = "apiextensions.k8s.io/v1/CustomResourceDefinition";
    let around = before.matches(['{', '[']).count() + 1;
    assert!(read(kind, schemas(DEPTH_MAX - around)).is_ok());
    refused(kind, schemas(DEPTH_MAX - around + 1), too_deep);
    refused(kind, schemas(20_000), too_deep);
    refused(kind, format!("{before}{}", r#"{"items":["#.repeat(20_000)), too_deep);
    refused(MAP, "[".repeat(20_000), too_deep);
}

#[test]
fn leaves_are_checked_and_canonical() {
    let pod = |member: &str| format!("{{\"spec\":{{\"overhead\":{{\"cpu\":{member}}}}}}}");
    let spec = |member: &str| {
        format!(
            "{{\"metadata\":{{}},\"spec\":{{\"containers\":null,\"overhead\":{{\"cpu\":{member}}}}},\"status\":{{}}}}"
        )
    };
    for (text, want) in [
        ("\"1000m\"", "\"1\""),
        ("0.5", "\"500m\""),
        ("1e3", "\"1e3\""),
        ("\"0\"", "\"0\""),
        ("100", "\"100\""),
        ("\"1Ki\"", "\"1Ki\""),
    ] {
        written(POD, pod(text), &spec(want));
    }
    for text in ["\"x\"", "\"\"", "[]", "{\"a\":1}", "true", "\"1 Gi\""] {
        let error = read(POD, pod(text)).unwrap_err();
        assert!(
            error.starts_with("quantities must match the regular expression") || error.starts_with("unable to parse"),
            "{text}: {error}"
        );
    }
    let time = |text: &str| format!("{{\"metadata\":{{\"creationTimestamp\":{text}}}}}");
    written(MAP, time("\"2026-01-02T03:04:05+01:00\""), &time("\"2026-01-02T02:04:05Z\""));
    written(MAP, time("\"2026-01-02T03:04:05.999Z\""), &time("\"2026-01-02T03:04:05Z\""));
    written(MAP, time("\"0001-01-01T00:00:00Z\""), "{\"metadata\":{}}");
    for text in [
        "\"\"",
        "\"2026\"",
        "\"2026-13-01T00:00:00Z\"",
        "\"0000-01-01T00:00:00+01:00\"",
        "\"9999-12-31T23:59:59-01:00\"",
    ] {
        assert!(read(MAP, time(text)).is_err(), "{text}");
    }
    let bytes = |text: &str| format!("{{\"metadata\":{{}},\"binaryData\":{{\"a\":{text}}}}}");
    for (text, want) in [
        ("\"AQID\"", "\"AQID\""),
        ("\"AQ\\nID\"", "\"AQID\""),
        ("\"AR==\"", "\"AQ==\""),
        ("[1,2,3]", "\"AQID\""),
        ("[]", "\"\""),
        ("\"\"", "\"\""),
    ] {
        written(MAP, bytes(text), &bytes(want));
    }
    for (text, at) in [
        ("AQI", 0),
        ("AQIDBB", 4),
        ("AQIDB", 4),
        ("A*ID", 1),
        ("AQID=", 4),
        ("AQIDB===", 5),
        ("AQ=", 3),
        ("AQ=D", 2),
        ("AQ==AQID", 4),
        ("AQI=A", 4),
        ("AQ\\nI*", 4),
    ] {
        refused(MAP, bytes(&format!("\"{text}\"")), &format!("illegal base64 data at input byte {at}"));
    }
    refused(MAP, bytes("[1,]"), "invalid character ']' looking for beginning of value");
    let free = |text: &str| format!("{{\"metadata\":{{\"managedFields\":[{{\"fieldsV1\":{text}}}]}}}}");
    written(
        MAP,
        free("{ \"b\" : [ 1.50, \"<\" ] , \"a\":\"\\u003c\\/\" }"),
        &free("{\"b\":[1.50,\"\\u003c\"],\"a\":\"\\u003c\\/\"}"),
    );
}
