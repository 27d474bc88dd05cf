use super::*;

fn check(status: &Status, expected: &str) {
    let text = String::from_utf8(status.to_json()).unwrap_or_default();
    assert_eq!(text.strip_suffix('\n'), Some(expected));
}

const HEAD: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"#;

#[test]
fn failures_are_upstream_to_the_letter() {
    fn check_tail(status: &Status, tail: &str) {
        check(status, &format!("{HEAD}{tail}"));
    }
    check_tail(
        &Status::not_found("", "configmaps", "x"),
        r#""configmaps \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"configmaps"},"code":404}"#,
    );
    check_tail(
        &Status::not_found("apps", "deployments", "x"),
        r#""deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404}"#,
    );
    check_tail(
        &Status::already_exists("batch", "jobs", "j"),
        r#""jobs.batch \"j\" already exists","reason":"AlreadyExists","details":{"name":"j","group":"batch","kind":"jobs"},"code":409}"#,
    );
    check_tail(
        &Status::modified("", "secrets", "s"),
        r#""Operation cannot be fulfilled on secrets \"s\": the object has been modified; please apply your changes to the latest version and try again","reason":"Conflict","details":{"name":"s","kind":"secrets"},"code":409}"#,
    );
    check_tail(&Status::unauthorized(), r#""Unauthorized","reason":"Unauthorized","code":401}"#);
    check_tail(&Status::bad_request("a <b>"), r#""a \u003cb\u003e","reason":"BadRequest","code":400}"#);
    check_tail(
        &Status::no_such_path(),
        r#""the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#,
    );
    check_tail(
        &Status::not_acceptable(&["application/json", "application/yaml"]),
        r#""406: Not Acceptable\n\nAvailable representations: application/json, application/yaml","reason":"NotAcceptable","details":{},"code":406}"#,
    );
    check_tail(
        &Status::unsupported_media_type(&[]),
        r#""415: Unsupported Media Type","reason":"UnsupportedMediaType","details":{},"code":415}"#,
    );
    check_tail(&Status::unexpected("boom"), r#""boom","code":500}"#);
    check_tail(
        &Status::internal_error("boom"),
        r#""Internal error occurred: boom","reason":"InternalError","details":{"causes":[{"message":"boom"}]},"code":500}"#,
    );
    check_tail(
        &Status::too_many_requests("Slow down.", 10).with_cause(StatusCause {
            reason: Cow::Borrowed("DisruptionBudget"),
            message: "Wait.".to_owned(),
            field: String::new(),
        }),
        r#""Slow down.","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"Wait."}],"retryAfterSeconds":10},"code":429}"#,
    );
}

#[test]
fn invalid_lists_its_causes() {
    let one = FieldError::required("metadata.name", "name or generateName is required");
    check(
        &Status::invalid("", "ConfigMap", "", std::slice::from_ref(&one)),
        &format!(
            "{HEAD}{}",
            r#""ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required","reason":"Invalid","details":{"kind":"ConfigMap","causes":[{"reason":"FieldValueRequired","message":"Required value: name or generateName is required","field":"metadata.name"}]},"code":422}"#
        ),
    );
    let two = FieldError::invalid("spec.replicas", -7, "must be greater than or equal to 0");
    let status = Status::invalid("apps", "Deployment", "d", &[one, two.clone(), two]);
    assert_eq!(
        status.message,
        "Deployment.apps \"d\" is invalid: [metadata.name: Required value: name or generateName is required, \
         spec.replicas: Invalid value: -7: must be greater than or equal to 0]"
    );
    assert_eq!(status.details.map(|details| details.causes.len()), Some(3));
    assert_eq!(Status::invalid("", "Pod", "p", &[]).message, "Pod \"p\" is invalid");
}

#[test]
fn forbidden_names_what_was_tried() {
    fn check_message(status: &Status, expected: &str) {
        assert_eq!(status.message, expected);
        assert_eq!((status.code, status.reason), (403, Reason::Forbidden));
    }
    let pods = Refused::Resource { resource: "pods/exec", group: "", namespace: Some("default") };
    let why = refusal("ana", "get", pods, "");
    check_message(
        &Status::forbidden("", "pods", "x", &why),
        r#"pods "x" is forbidden: User "ana" cannot get resource "pods/exec" in API group "" in the namespace "default""#,
    );
    let roles = Refused::Resource { resource: "clusterroles", group: "rbac.authorization.k8s.io", namespace: None };
    check_message(
        &Status::forbidden("rbac.authorization.k8s.io", "clusterroles", "", &refusal("ana", "list", roles, "no")),
        r#"clusterroles.rbac.authorization.k8s.io is forbidden: User "ana" cannot list resource "clusterroles" in API group "rbac.authorization.k8s.io" at the cluster scope: no"#,
    );
    let status = Status::forbidden("", "", "", &refusal("ana", "get", Refused::Path("/metrics"), ""));
    check_message(&status, r#"forbidden: User "ana" cannot get path "/metrics""#);
    check(
        &status,
        &format!(
            "{HEAD}{}",
            r#""forbidden: User \"ana\" cannot get path \"/metrics\"","reason":"Forbidden","details":{},"code":403}"#
        ),
    );
}

#[test]
fn success_says_what_was_deleted() {
    check(
        &Status::deleted("apps", "controllerrevisions", "r", "u-1"),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"r","group":"apps","kind":"controllerrevisions","uid":"u-1"}}"#,
    );
    check(&Status::success(201), r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}"#);
}

#[test]
fn every_bare_code_has_words() {
    fn check_words(code: u16, verb: &str, reason: Reason, message: &str) {
        let status = Status::generic(code, verb, "", "", "");
        assert_eq!((status.code, status.reason, &*status.message), (code, reason, message));
    }
    check_words(405, "", Reason::MethodNotAllowed, "the server does not allow this method on the requested resource");
    check_words(409, "POST", Reason::AlreadyExists, "the server reported a conflict");
    check_words(409, "PUT", Reason::Conflict, "the server reported a conflict");
    check_words(503, "", Reason::ServiceUnavailable, "the server is currently unable to handle the request");
    check_words(
        418,
        "",
        Reason::Unknown,
        "the server responded with the status code 418 but did not return more information",
    );
    assert_eq!(
        Status::generic(404, "GET", "apps", "deployments", "d").message,
        "the server could not find the requested resource (get deployments.apps d)"
    );
}

#[test]
fn protobuf_writes_empty_fields_too() {
    let expected: &[u8] = b"k8s\0\
        \x0a\x0c\x0a\x02v1\x12\x06Status\
        \x12\x55\
        \x0a\x06\x0a\x00\x12\x00\x1a\x00\
        \x12\x07Failure\
        \x1a\x1bconfigmaps \"some\" not found\
        \x22\x08NotFound\
        \x2a\x18\x0a\x04some\x12\x00\x1a\x0aconfigmaps\x28\x00\x32\x00\
        \x30\x94\x03\
        \x1a\x00\x22\x00";
    assert_eq!(
        String::from_utf8_lossy(&Status::not_found("", "configmaps", "some").to_protobuf()),
        String::from_utf8_lossy(expected)
    );
}

#[test]
fn a_list_may_go_on_elsewhere() {
    let status = Status::expired("gone").with_continue("dG9rZW4");
    let json = String::from_utf8_lossy(&status.to_json()).into_owned();
    assert_eq!(
        json,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{\"continue\":\"dG9rZW4\"},\"status\":\"Failure\",\
         \"message\":\"gone\",\"reason\":\"Expired\",\"code\":410}\n"
    );
    let protobuf = status.to_protobuf();
    let list_meta = b"\x0a\x0d\x0a\x00\x12\x00\x1a\x07dG9rZW4\x12\x07Failure";
    assert!(protobuf.windows(list_meta.len()).any(|window| window == list_meta), "{protobuf:?}");
}
