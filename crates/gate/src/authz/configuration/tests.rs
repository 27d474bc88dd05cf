#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use super::*;
use crate::authz::{Attributes, AuthorizerChain, Decision, Rules, Target, Verdict};
use crate::identity::{GROUP_MASTERS, Identity, user};
use crate::live_file::{FILE_LEN_MAX, Reload, chain_of};

/// A file that is there.
const THERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

fn configuration(authorizers: &str) -> String {
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n{authorizers}")
}

/// A webhook's entry, with some lines of it replaced.
fn webhook(name: &str, changes: &[(&str, &str)]) -> String {
    let mut entry = format!(
        "- type: Webhook\n  name: {name}\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n    \
         matchConditionSubjectAccessReviewVersion: v1\n    failurePolicy: Deny\n    connectionInfo: \
         {{type: KubeConfigFile, kubeConfigFile: {THERE}}}\n"
    );
    for (before, after) in changes {
        assert!(entry.contains(before), "{before}");
        entry = entry.replace(before, after);
    }
    entry
}

fn setting(name: &str) -> WebhookSetting {
    WebhookSetting {
        name: name.to_owned(),
        kubeconfig: THERE.into(),
        timeout: Duration::from_secs(3),
        failure_policy: WebhookFailurePolicy::Deny,
        review_version: ReviewVersion::V1,
        authorized_ttl: Duration::from_secs(300),
        unauthorized_ttl: Duration::from_secs(30),
    }
}

const NODE: &str = "- {type: Node, name: node}\n";
const RBAC: &str = "- {type: RBAC, name: rbac}\n";

#[test]
fn a_configuration_is_read_in_its_order() {
    let check = |text: &str, expected: &[AuthorizerSetting]| {
        assert_eq!(parse_authorization_configuration(text.as_bytes()).unwrap(), expected, "{text}");
    };
    let hook = AuthorizerSetting::Webhook;
    check(&configuration(&[NODE, RBAC].concat()), &[AuthorizerSetting::Node, AuthorizerSetting::Rbac]);
    for version in ["v1beta1", "v1alpha1"] {
        check(&configuration(RBAC).replace("/v1", &format!("/{version}")), &[AuthorizerSetting::Rbac]);
    }
    check(
        &configuration(&[&webhook("b.example.com", &[]), NODE, &webhook("a", &[("3s", "30s")])].concat()),
        &[
            hook(setting("b.example.com")),
            AuthorizerSetting::Node,
            hook(WebhookSetting { timeout: Duration::from_secs(30), ..setting("a") }),
        ],
    );
    check(
        &configuration(&webhook(
            "a",
            &[
                ("timeout: 3s", "timeout: 3s\n    authorizedTTL: 1m\n    unauthorizedTTL: 1ms"),
                ("Version: v1\n    match", "Version: v1beta1\n    match"),
                ("Deny", "NoOpinion"),
            ],
        )),
        &[hook(WebhookSetting {
            failure_policy: WebhookFailurePolicy::NoOpinion,
            review_version: ReviewVersion::V1beta1,
            authorized_ttl: Duration::from_secs(60),
            unauthorized_ttl: Duration::from_millis(1),
            ..setting("a")
        })],
    );
    check(
        &configuration(&webhook("a", &[("timeout: 3s", "timeout: 3s\n    cacheAuthorizedRequests: false")])),
        &[hook(WebhookSetting { authorized_ttl: Duration::ZERO, ..setting("a") })],
    );
    let json = r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthorizationConfiguration",
        "authorizers":[{"type":"AlwaysDeny","name":"alwaysdeny"},{"type":"ABAC","name":"abac"}]}"#;
    check(json, &[AuthorizerSetting::AlwaysDeny, AuthorizerSetting::Abac]);
}

#[test]
fn what_cannot_be_is_told_with_its_path() {
    let check = |text: &str, expected: &str| {
        let error = chain_of(&parse_authorization_configuration(text.as_bytes()).unwrap_err());
        assert!(error.contains(expected), "{text}\n got {error}\nwant {expected}");
    };
    let entries = |entries: &str, expected: &str| check(&configuration(entries), expected);
    let hook = |before: &str, after: &str, expected: &str| entries(&webhook("a", &[(before, after)]), expected);
    check("", "failed to load AuthorizationConfiguration from file: ");
    check("apiVersion: v1\nkind: Pod", r#"no kind "Pod" is registered for version "v1""#);
    check(&configuration(RBAC).replace("/v1", "/v2"), r#"for version "apiserver.config.k8s.io/v2""#);
    entries("  []", "authorizers: Required value: at least one authorization mode must be defined");
    entries("- {type: RBAC, name: rbac, nme: x}", r#"strict decoding error: unknown field "authorizers[0].nme""#);
    entries("- {type: RBAC, name: rbac, name: rbac}", "already set in map");
    entries("- {type: RBAC, name: 1}", "strict decoding error: authorizers[0].name: expected a string");
    entries("- {name: rbac}", "authorizers[0].type: Required value");
    entries(
        "- {type: Rbac, name: rbac}",
        r#"authorizers[0].type: Unsupported value: "Rbac": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook""#,
    );
    for (mode, name) in [("RBAC", "rbac"), ("Node", "node"), ("ABAC", "abac"), ("AlwaysAllow", "alwaysallow")] {
        let twice = format!("- {{type: {mode}, name: {name}}}\n- {{type: {mode}, name: other}}");
        entries(&twice, &format!("authorizers[1].type: Duplicate value: \"{mode}\""));
    }
    entries("- {type: RBAC}", "authorizers[0].name: Required value");
    entries("- {type: RBAC, name: roles}", "expected name rbac for authorizer RBAC instead of roles");
    entries(
        "- {type: RBAC, name: A_b}",
        r#"authorizers[0].name: Invalid value: "A_b": authorizer name is invalid: a lowercase RFC 1123 subdomain"#,
    );
    entries(&[webhook("a", &[]), webhook("a", &[])].concat(), r#"authorizers[1].name: Duplicate value: "a""#);
    entries("- {type: Webhook, name: a}", "authorizers[0].webhook: Required value: required when type=Webhook");
    entries(
        "- {type: RBAC, name: rbac, webhook: {}}",
        r#"authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook"#,
    );
    hook("    timeout: 3s\n", "", "authorizers[0].timeout: Required value");
    hook("3s", "31s", r#"authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s"#);
    hook("3s", "-1s", r#"authorizers[0].timeout: Invalid value: "-1s": must be > 0s and <= 30s"#);
    hook("3s", "3", "authorizers[0].webhook.timeout: expected a string");
    hook("3s", "3x", r#"authorizers[0].webhook.timeout: time: unknown unit "x" in duration "3x""#);
    hook("3s", "3s\n    authorizedTTL: -5m", r#"authorizers[0].authorizedTTL: Invalid value: "-5m0s": must be > 0s"#);
    hook("    subjectAccessReviewVersion: v1\n", "", "authorizers[0].subjectAccessReviewVersion: Required value");
    hook(
        "    subjectAccessReviewVersion: v1\n",
        "    subjectAccessReviewVersion: v2\n",
        r#"authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1""#,
    );
    hook(
        "Deny",
        "Allow",
        r#"authorizers[0].failurePolicy: Unsupported value: "Allow": supported values: "NoOpinion", "Deny""#,
    );
    hook("    failurePolicy: Deny\n", "", "authorizers[0].failurePolicy: Required value");
    hook("type: KubeConfigFile, ", "", "authorizers[0].connectionInfo.type: Required value");
    hook(
        "KubeConfigFile,",
        "Elsewhere,",
        r#"authorizers[0].connectionInfo.type: Unsupported value: "Elsewhere": supported values: "InClusterConfig", "KubeConfigFile""#,
    );
    hook("KubeConfigFile,", "InClusterConfig,", "use KubeConfigFile");
    hook(&format!(", kubeConfigFile: {THERE}"), "", "authorizers[0].connectionInfo.kubeConfigFile: Required value");
    hook(THERE, "relative.yaml", "must be an absolute path");
    hook(
        THERE,
        "/nowhere",
        "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/nowhere\": error loading file: ",
    );
    hook(THERE, "/", "must be a regular file");
    // CEL is to come: until then a condition is never silently left out.
    let condition = |expression: &str| format!("failurePolicy: Deny\n    matchConditions: [{expression}]");
    let when = |expression: &str, expected: &str| hook("failurePolicy: Deny", &condition(expression), expected);
    when(
        r#"{expression: "request.user == 'ana'"}"#,
        r#"authorizers[0].matchConditions[0].expression: Invalid value: "request.user == 'ana'": CEL is not available"#,
    );
    when("{expression: ' '}", "authorizers[0].matchConditions[0].expression: Required value");
    when(&"{expression: x},".repeat(65), "authorizers[0].matchConditions: Too many: 65: must have at most 64 items");
    when("{expression: x}, {expression: x}", r#"matchConditions[1].expression: Duplicate value: "x""#);
    entries(
        "- {type: RBAC}\n- {name: x}",
        "[authorizers[0].name: Required value, authorizers[1].type: Required value]",
    );
}

/// Refuses in its own name, or allows.
struct Named(String);

impl Authorizer for Named {
    fn name(&self) -> &'static str {
        "named"
    }

    fn decide<'a>(&'a self, _: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(Verdict::NoOpinion { reason: self.0.as_str().into() })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

fn named(name: &str) -> Arc<dyn Authorizer> {
    Arc::new(Named(name.to_owned()))
}

fn sources() -> AuthorizerSources {
    AuthorizerSources {
        node: named("node"),
        nodes_refused: named("no nodes"),
        are_nodes_restricted: true,
        rbac: named("rbac"),
        abac: Some(named("abac")),
        webhook: Box::new(|setting| match setting.name.as_str() {
            "broken" => Err("no such host".into()),
            name => Ok(named(name)),
        }),
        everyone_may_do_everything: None,
    }
}

/// Who is asked, in order.
async fn asked(chain: &AuthorizerChain) -> String {
    let ana = user("ana", &[]);
    let verdict = chain.decide(&Attributes { user: &ana, verb: "get", target: Target::Path("/x") }).await;
    match verdict {
        Verdict::NoOpinion { reason } => reason.replace('\n', ", "),
        Verdict::Allow { reason } | Verdict::Deny { reason } => reason.to_string(),
    }
}

#[tokio::test]
async fn a7_a14_settings_become_authorizers() {
    let check = async |sources: AuthorizerSources, types: &[AuthorizerType], expected: Result<&str, &str>| {
        let settings: Vec<_> = types.iter().filter_map(|one| AuthorizerSetting::of_type(*one)).collect();
        let got = match sources.assemble(&settings) {
            Ok(authorizers) => Ok(asked(&AuthorizerChain::new(authorizers)).await),
            Err(error) => Err(error.to_string()),
        };
        match (&got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(part)) => assert!(got.contains(part), "{got}"),
            _ => panic!("{types:?}: {got:?}, not {expected:?}"),
        }
    };
    use AuthorizerType::{Abac, AlwaysAllow, AlwaysDeny, Node, Rbac};
    check(sources(), &[Node, Rbac], Ok("node, rbac")).await;
    check(sources(), &[Rbac, Node], Ok("rbac, node")).await;
    // A14: without the Node authoriser nodes are refused before anybody is asked.
    check(sources(), &[Rbac], Ok("no nodes, rbac")).await;
    check(sources(), &[Abac, AlwaysDeny], Ok("no nodes, abac, Everything is forbidden.")).await;
    check(sources(), &[], Err("at least one authorization mode")).await;
    check(AuthorizerSources { abac: None, ..sources() }, &[Abac], Err("--authorization-policy-file")).await;
    // A7: one flag is not enough.
    check(sources(), &[Node, AlwaysAllow], Err("--i-understand-that-everyone-may-do-everything")).await;
    let said = AuthorizerSources { everyone_may_do_everything: EveryoneMayDoEverything::if_said(true), ..sources() };
    check(said, &[Node, AlwaysAllow], Ok("AlwaysAllow is in force: everyone may do everything")).await;
}

/// A file of its own for a test.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("authorization.yaml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }
}

#[tokio::test]
async fn a7_a_changed_file_changes_webhooks_and_nothing_else() {
    let file = Scratch::new();
    let roles = configuration(&[NODE, RBAC].concat());
    file.write(&roles);
    let followed = AuthorizationFile::open(file.path(), sources()).unwrap();
    let chain = followed.chain();
    assert_eq!(asked(&chain).await, "node, rbac");
    let check = async |text: &str, outcome: &str, expected: &str| {
        file.write(text);
        let got = match followed.look() {
            Ok(Reload::Unchanged) => "unchanged".to_owned(),
            Ok(Reload::Replaced) => "replaced".to_owned(),
            Err(error) => chain_of(&error),
        };
        assert!(got.contains(outcome), "{text}: {got}, not {outcome}");
        assert_eq!(asked(&chain).await, expected, "{text}");
    };
    let with = |entries: &[&str]| configuration(&[entries, &[NODE, RBAC]].concat().concat());
    let (hook, broken) = (webhook("hook", &[]), webhook("broken", &[]));
    check(&roles, "unchanged", "node, rbac").await;
    check(&with(&[&hook]), "replaced", "hook, node, rbac").await;
    check(&format!("# a comment\n{}", with(&[&hook])), "unchanged", "hook, node, rbac").await;
    check(&configuration(&[RBAC, NODE, &hook].concat()), "replaced", "rbac, node, hook").await;
    check("{", "failed to load", "rbac, node, hook").await;
    check("{", "unchanged", "rbac, node, hook").await;
    check(&with(&[&broken]), r#"webhook authorizer "broken": no such host"#, "rbac, node, hook").await;
    check(&configuration(RBAC), "missing required types: Node", "rbac, node, hook").await;
    for (mode, name) in [("AlwaysAllow", "alwaysallow"), ("AlwaysDeny", "alwaysdeny"), ("ABAC", "abac")] {
        let entry = format!("- {{type: {mode}, name: {name}}}\n");
        check(&with(&[&entry]), &format!("authorizer type {mode} is not allowed"), "rbac, node, hook").await;
    }
    check(&roles, "replaced", "node, rbac").await;
    fs::remove_file(file.path()).unwrap();
    let missing = followed.look();
    assert!(matches!(missing, Err(AuthorizationConfigurationError::File(LiveFileError::Unreadable { .. }))));
    assert_eq!(asked(&chain).await, "node, rbac");
    // Whatever the file says, system:masters is never locked out.
    let admin = user("admin", &[GROUP_MASTERS]);
    let everything = Attributes { user: &admin, verb: "delete", target: Target::Path("/x") };
    assert!(chain.decide(&everything).await.is_allow());
}

#[test]
fn at_start_a_bad_file_is_an_error() {
    let file = Scratch::new();
    let check = |part: &str| {
        let error = chain_of(&AuthorizationFile::open(file.path(), sources()).err().unwrap());
        assert!(error.contains(part), "{error}");
    };
    check("cannot read");
    file.write("{");
    check("failed to load");
    file.write(&configuration("- {type: AlwaysAllow, name: alwaysallow}"));
    check("--i-understand-that-everyone-may-do-everything");
    file.write(&" ".repeat(FILE_LEN_MAX as usize + 1));
    check("larger than 1048576 bytes");
    assert!(AuthorizationFile::open(Path::new("/").to_owned(), sources()).is_err());
}
