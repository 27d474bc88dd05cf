//! Policies read their parameters with the server's rights, so nobody makes them read what the writer may not (KEP-3488).

use super::*;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BOUND: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const GROUP: &str = "admissionregistration.k8s.io";
const ANA: &str = "&{ana  [harbor system:authenticated] map[]}";

fn policy(name: &str, kind: Option<[&str; 2]>) -> Value {
    let rules =
        json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]);
    let kind = kind.map(|[version, kind]| json!({"apiVersion": version, "kind": kind}));
    json!({"metadata": {"name": name}, "spec": {
        "paramKind": kind,
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "true"}],
    }})
}

fn bound(policy: &str, param: Value) -> Value {
    let spec = json!({"policyName": policy, "paramRef": param, "validationActions": ["Deny"]});
    json!({"metadata": {"name": "b"}, "spec": spec})
}

/// Ana may write policies and bindings, and get config maps.
async fn with_ana() -> Cluster {
    let cluster = cluster().await;
    let both = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    let rules = [rule(&["create", "update", "patch", "get"], GROUP, &both), rule(&["get"], "", &["configmaps"])];
    cluster.post_ok(&format!("{RBAC}/clusterroles"), role("ana", &rules)).await;
    cluster.post_ok(&format!("{RBAC}/clusterrolebindings"), binding("ana", "ClusterRole", "ana", "ana")).await;
    cluster
}

#[tokio::test]
async fn who_makes_a_policy_take_parameters_may_get_them() {
    let cluster = with_ana().await;
    let refused = |version: &str, kind: &str| {
        let of = format!("all objects of the referenced paramKind (kind={kind}, apiVersion={version})");
        let why = format!("spec.paramKind: Forbidden: user {ANA} must have \"get\" permission on {of}");
        (422, format!("ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: {why}"))
    };
    let check = async |kind: Option<[&str; 2]>, expected: (u16, String)| {
        assert_eq!(cluster.as_ana("POST", &format!("{POLICIES}?dryRun=All"), policy("p", kind)).await, expected);
    };
    check(None, (201, String::new())).await;
    check(Some(["v1", "ConfigMap"]), (201, String::new())).await;
    check(Some(["v1", "Secret"]), refused("v1", "Secret")).await;
    // Who knows what that will be.
    check(Some(["example.com/v1", "Limit"]), refused("example.com/v1", "Limit")).await;
    // An administrator is not asked, and what is stored may stay.
    cluster.post_ok(POLICIES, policy("p", Some(["v1", "Secret"]))).await;
    let patch = |spec: Value| {
        cluster.as_ana("PATCH", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/p", spec)
    };
    assert_eq!(patch(json!({"spec": {"failurePolicy": "Ignore"}})).await.0, 200);
    let other = json!({"spec": {"paramKind": {"kind": "Pod"}}});
    assert_eq!(patch(other).await, refused("v1", "Pod"));
}

#[tokio::test]
async fn who_binds_a_policy_to_parameters_may_get_or_list_them() {
    let cluster = with_ana().await;
    cluster.post_ok(POLICIES, policy("maps", Some(["v1", "ConfigMap"]))).await;
    cluster.post_ok(POLICIES, policy("secrets", Some(["v1", "Secret"]))).await;
    cluster.post_ok(POLICIES, policy("strange", Some(["example.com/v1", "Limit"]))).await;
    cluster.post_ok(POLICIES, policy("none", None)).await;
    let check = async |policy: &str, param: Value, expected: &str| {
        let said = cluster.as_ana("POST", &format!("{BOUND}?dryRun=All"), bound(policy, param)).await;
        if expected.is_empty() {
            assert_eq!(said, (201, String::new()), "{policy}");
            return;
        }
        let why = format!("spec.paramRef: Forbidden: {expected}");
        let kind = "ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io";
        assert_eq!(said, (422, format!("{kind} \"b\" is invalid: {why}")), "{policy}");
    };
    let one = json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    let some = json!({"selector": {}, "namespace": "default", "parameterNotFoundAction": "Deny"});
    let lacks =
        |verb: &str| format!("user {ANA} does not have \"{verb}\" permission on the object referenced by paramRef");
    let everywhere = |what: &str| {
        format!(
            "unable to {what} to determine minimum required permissions and user {ANA} does not have \"get\" permission for all \
             groups, versions and resources"
        )
    };
    check("maps", Value::Null, "").await;
    check("maps", one.clone(), "").await;
    check("maps", some, &lacks("list")).await;
    check("secrets", one.clone(), &lacks("get")).await;
    check("none", one.clone(), &lacks("get")).await;
    check("lost", one.clone(), &everywhere("get policy lost")).await;
    check("strange", one.clone(), &everywhere("resolve paramKind &{example.com/v1 Limit}")).await;
    cluster.post_ok(BOUND, bound("secrets", one)).await;
}
