#![allow(clippy::unwrap_used)]

use super::*;

const OWN: &str = "https://kubernetes.default.svc";

fn parse(text: &str) -> Result<AuthenticationConfiguration, String> {
    AuthenticationConfiguration::parse(text.as_bytes(), &[OWN.to_owned()]).map_err(|error| error.to_string())
}

/// A file with one issuer, whose lines are given without their indentation.
fn with_issuer(issuer: &str, mappings: &str, more: &str) -> String {
    let indent =
        |text: &str, by: usize| -> String { text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect() };
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n{}  claimMappings:\n{}{}",
        indent(issuer, 4),
        indent(mappings, 4),
        indent(more, 2),
    )
}

const ISSUER: &str = "url: https://issuer.example.com\naudiences: [kubernetes]";
const MAPPINGS: &str = "username: {claim: sub, prefix: ''}";

#[test]
fn a_file_is_read() {
    let text = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example.com/realm
    discoveryURL: https://discovery.example.com/.well-known/openid-configuration
    audiences: [a, b]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - claim: hd
    requiredValue: example.com
  claimMappings:
    username: {claim: sub, prefix: 'oidc:'}
    groups: {claim: roles, prefix: ''}
    uid: {claim: id}
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /api/v1/namespaces/kube-public/configmaps/cluster-info
";
    let read = parse(text).unwrap();
    let [jwt] = read.jwt.as_slice() else { panic!("{read:?}") };
    assert_eq!(jwt.issuer.url, "https://issuer.example.com/realm");
    assert_eq!(jwt.issuer.discovery_url, "https://discovery.example.com/.well-known/openid-configuration");
    assert_eq!(jwt.issuer.audiences, ["a", "b"]);
    assert_eq!((jwt.username.claim.as_str(), jwt.username.prefix.as_deref()), ("sub", Some("oidc:")));
    assert_eq!((jwt.groups.claim.as_str(), jwt.groups.prefix.as_deref()), ("roles", Some("")));
    assert_eq!(jwt.uid.claim, "id");
    let [rule] = jwt.claim_validation_rules.as_slice() else { panic!("{jwt:?}") };
    assert_eq!((rule.claim.as_str(), rule.required_value.as_str()), ("hd", "example.com"));
    assert_eq!(jwt.algorithms, Algorithm::ALL);
    let anonymous = read.anonymous.unwrap();
    assert!(anonymous.enabled);
    assert_eq!(anonymous.conditions, ["/livez", "/api/v1/namespaces/kube-public/configmaps/cluster-info"]);
}

#[test]
fn the_three_versions_are_one() {
    for version in VERSIONS {
        let text = format!("apiVersion: apiserver.config.k8s.io/{version}\nkind: AuthenticationConfiguration\n");
        assert_eq!(parse(&text).unwrap(), AuthenticationConfiguration::default(), "{version}");
    }
    let json = br#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","jwt":[]}"#;
    assert!(AuthenticationConfiguration::parse(json, &[]).is_ok());
    let check = |head: &str, part: &str| {
        let error = parse(head).unwrap_err();
        assert!(error.contains(part), "{head}: {error}");
    };
    check(
        "apiVersion: apiserver.config.k8s.io/v2\nkind: AuthenticationConfiguration",
        "no kind \"AuthenticationConfiguration\"",
    );
    check("apiVersion: apiserver.k8s.io/v1\nkind: AuthenticationConfiguration", "version \"apiserver.k8s.io/v1\"");
    check(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration",
        "no kind \"AuthorizationConfiguration\"",
    );
    check("kind: AuthenticationConfiguration", "version \"\"");
    check("[]", "expected an object");
    check("", "expected an object");
    check("a: [", "yaml: ");
}

#[test]
fn reading_is_strict() {
    let check = |text: &str, part: &str| {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with("strict decoding error: ") && error.contains(part), "{text}: {error}");
    };
    check(&with_issuer(&format!("{ISSUER}\nurI: x"), MAPPINGS, ""), "unknown field \"jwt[0].issuer.urI\"");
    check(
        &with_issuer(ISSUER, "username: {claim: sub, prefix: '', x: 1}", ""),
        "unknown field \"jwt[0].claimMappings.username.x\"",
    );
    check(
        &with_issuer(ISSUER, &format!("{MAPPINGS}\nuid: {{claim: a, prefix: b}}"), ""),
        "unknown field \"jwt[0].claimMappings.uid.prefix\"",
    );
    check(&with_issuer(ISSUER, MAPPINGS, "anonymous: {}"), "unknown field \"jwt[0].anonymous\"");
    check(&with_issuer(&format!("{ISSUER}\nurl: https://other"), MAPPINGS, ""), "key \"url\" already set in map");
    check(&with_issuer("url: 7\naudiences: [kubernetes]", MAPPINGS, ""), "jwt[0].issuer.url: expected a string");
    check(
        &with_issuer("url: https://a\naudiences: kubernetes", MAPPINGS, ""),
        "jwt[0].issuer.audiences: expected a list",
    );
    check(
        &with_issuer("url: https://a\naudiences: [1]", MAPPINGS, ""),
        "jwt[0].issuer.audiences[0]: expected a string",
    );
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    check(&format!("{head}anonymous: {{enabled: 'yes'}}"), "anonymous.enabled: expected true or false");
    check(
        &format!("{head}anonymous: {{enabled: true, conditions: [/livez]}}"),
        "anonymous.conditions[0]: expected an object",
    );
    check(&format!("{head}users: []"), "unknown field \"users\"");
}

#[test]
fn what_can_not_be_is_an_error_with_its_path() {
    let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    let url = |url: &str| with_issuer(&format!("url: {url}\naudiences: [kubernetes]"), MAPPINGS, "");
    check(&url("''"), "jwt[0].issuer.url: Required value: URL is required");
    check(&url("http://a"), r#"jwt[0].issuer.url: Invalid value: "http://a": URL scheme must be https"#);
    check(&url("issuer"), r#"jwt[0].issuer.url: Invalid value: "issuer": URL scheme must be https"#);
    check(
        &url("https://u:p@a"),
        r#"jwt[0].issuer.url: Invalid value: "https://u:p@a": URL must not contain a username or password"#,
    );
    check(&url("https://a?b=c"), r#"jwt[0].issuer.url: Invalid value: "https://a?b=c": URL must not contain a query"#);
    check(&url("'https://a#b'"), r#"jwt[0].issuer.url: Invalid value: "https://a#b": URL must not contain a fragment"#);
    check(&url("https:///x"), r#"jwt[0].issuer.url: Invalid value: "https:///x": URL must name a host"#);
    check(
        &url(OWN),
        r#"jwt[0].issuer.url: Invalid value: "https://kubernetes.default.svc": URL must not overlap with disallowed issuers: [https://kubernetes.default.svc]"#,
    );
    let issuer = |more: &str| with_issuer(&format!("url: https://a\n{more}"), MAPPINGS, "");
    check(
        &issuer("audiences: [k]\ndiscoveryURL: https://a/"),
        r#"jwt[0].issuer.discoveryURL: Invalid value: "https://a/": discoveryURL must be different from URL"#,
    );
    check(&issuer(""), "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required");
    check(&issuer("audiences: ['']"), "jwt[0].issuer.audiences[0]: Required value: audience can't be empty");
    check(
        &issuer("audiences: [k, k]\naudienceMatchPolicy: MatchAny"),
        r#"jwt[0].issuer.audiences[1]: Duplicate value: "k""#,
    );
    check(
        &issuer("audiences: [k, l]"),
        r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences"#,
    );
    check(
        &issuer("audiences: [k]\naudienceMatchPolicy: MatchAll"),
        r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: "MatchAll": audienceMatchPolicy must be empty or MatchAny for single audience"#,
    );
    check(
        &issuer("audiences: [k]\ncertificateAuthority: secret"),
        r#"jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates"#,
    );
    check(
        &issuer("audiences: [k]\negressSelectorType: cluster"),
        r#"jwt[0].issuer.egressSelectorType: Invalid value: "cluster": there are no egress selectors here: leave it out, and the issuer is dialled directly"#,
    );
    let mapped = |mappings: &str| with_issuer(ISSUER, mappings, "");
    check(&mapped("groups: {}"), "jwt[0].claimMappings.username: Required value: claim or expression is required");
    check(
        &mapped("username: {claim: sub}"),
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
    );
    check(
        &mapped(&format!("{MAPPINGS}\ngroups: {{claim: g}}")),
        "jwt[0].claimMappings.groups.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
    );
    check(
        &mapped("username: {claim: sub, prefix: '', expression: x}"),
        r#"jwt[0].claimMappings.username: Invalid value: "": claim and expression can't both be set"#,
    );
    check(
        &mapped(&format!("{MAPPINGS}\nuid: {{claim: a, expression: x}}")),
        r#"jwt[0].claimMappings.uid: Invalid value: "": claim and expression can't both be set"#,
    );
    let rules = |rules: &str| with_issuer(ISSUER, MAPPINGS, &format!("claimValidationRules: {rules}"));
    check(&rules("[{}]"), "jwt[0].claimValidationRules[0]: Required value: claim or expression is required");
    check(&rules("[{claim: a}, {claim: a}]"), r#"jwt[0].claimValidationRules[1].claim: Duplicate value: "a""#);
    check(
        &rules("[{claim: a, message: m}]"),
        r#"jwt[0].claimValidationRules[0].message: Invalid value: "m": message can't be set when claim is set"#,
    );
    check(
        &rules("[{claim: a, expression: x}]"),
        r#"jwt[0].claimValidationRules[0]: Invalid value: "a": claim and expression can't both be set"#,
    );
}

#[test]
fn an_expression_is_an_error_that_names_its_field() {
    let check = |text: &str, field: &str| {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(&format!("{field}: Invalid value: ")), "{error}");
        assert!(error.contains("CEL expressions can not be evaluated here yet"), "{error}");
    };
    let mapped = |mappings: &str| with_issuer(ISSUER, mappings, "");
    check(&mapped("username: {expression: claims.sub}"), "jwt[0].claimMappings.username.expression");
    check(&mapped(&format!("{MAPPINGS}\ngroups: {{expression: x}}")), "jwt[0].claimMappings.groups.expression");
    check(&mapped(&format!("{MAPPINGS}\nuid: {{expression: x}}")), "jwt[0].claimMappings.uid.expression");
    check(
        &mapped(&format!("{MAPPINGS}\nextra: [{{key: example.org/a, valueExpression: x}}]")),
        "jwt[0].claimMappings.extra[0].valueExpression",
    );
    let more = |more: &str| with_issuer(ISSUER, MAPPINGS, more);
    check(&more("claimValidationRules: [{expression: x}]"), "jwt[0].claimValidationRules[0].expression");
    check(&more("userValidationRules: [{expression: x}]"), "jwt[0].userValidationRules[0].expression");
}

#[test]
fn issuers_are_few_and_differ() {
    let many = |urls: &mut dyn Iterator<Item = String>| {
        let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n".to_owned();
        for url in urls {
            text.push_str(&format!(
                "- issuer: {{url: '{url}', audiences: [k]}}\n  claimMappings: {{username: {{claim: sub, prefix: ''}}}}\n"
            ));
        }
        parse(&text)
    };
    assert_eq!(many(&mut (0..64).map(|at| format!("https://a{at}"))).unwrap().jwt.len(), 64);
    let error = many(&mut (0..65).map(|at| format!("https://a{at}"))).unwrap_err();
    assert_eq!(error, "jwt: Too many: 65: must have at most 64 items");
    let error = many(&mut ["https://a".to_owned(), "https://a".to_owned()].into_iter()).unwrap_err();
    assert_eq!(error, r#"jwt[1].issuer.url: Duplicate value: "https://a""#);
}

#[test]
fn a1_paths_for_anonymous_are_exact() {
    let check = |anonymous: &str, expected: Result<&[&str], &str>| {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {anonymous}\n"
        );
        let read = parse(&text).map(|read| read.anonymous.unwrap().conditions);
        match expected {
            Ok(paths) => assert_eq!(read.unwrap(), paths),
            Err(error) => assert_eq!(read.unwrap_err(), error),
        }
    };
    check("{enabled: true}", Ok(&[]));
    check("{enabled: false}", Ok(&[]));
    check("{}", Ok(&[]));
    check("{enabled: true, conditions: [{path: /a/b}]}", Ok(&["/a/b"]));
    let off = "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined";
    check("{enabled: false, conditions: [{path: /a}]}", Err(off));
    check("{conditions: [{path: /a}]}", Err(off));
    check(
        "{enabled: true, conditions: [{path: '/a/*'}]}",
        Err(
            r#"anonymous.conditions[0].path: Invalid value: "/a/*": a path is taken exactly as written: wildcards do not exist here"#,
        ),
    );
    check("{enabled: true, conditions: [{}]}", Err("anonymous.conditions[0].path: Required value"));
    check(
        "{enabled: true, conditions: [{path: healthz}]}",
        Err(r#"anonymous.conditions[0].path: Invalid value: "healthz": a path begins with /"#),
    );
}

#[test]
fn the_flags_become_a_configuration() {
    let flags = || OidcFlags {
        issuer_url: "https://issuer.example.com".to_owned(),
        client_id: "kubernetes".to_owned(),
        username_claim: "sub".to_owned(),
        signing_algs: vec!["RS256".to_owned()],
        ..OidcFlags::default()
    };
    let of = |flags: OidcFlags| AuthenticationConfiguration::from_flags(flags, &[OWN.to_owned()]);
    let prefix = |flags: OidcFlags| of(flags).unwrap().jwt.remove(0).username.prefix.unwrap();
    assert_eq!(prefix(flags()), "https://issuer.example.com#");
    assert_eq!(prefix(OidcFlags { username_claim: "email".to_owned(), ..flags() }), "");
    assert_eq!(prefix(OidcFlags { username_prefix: "-".to_owned(), ..flags() }), "");
    assert_eq!(prefix(OidcFlags { username_prefix: "oidc:".to_owned(), ..flags() }), "oidc:");
    let jwt = of(OidcFlags {
        groups_claim: "groups".to_owned(),
        groups_prefix: "g:".to_owned(),
        required_claims: vec![("hd".to_owned(), "example.com".to_owned())],
        signing_algs: vec!["ES256".to_owned(), "PS512".to_owned()],
        ..flags()
    });
    let jwt = jwt.unwrap().jwt.remove(0);
    assert_eq!(jwt.algorithms, [Algorithm::Es256, Algorithm::Ps512]);
    assert_eq!((jwt.groups.claim.as_str(), jwt.groups.prefix.as_deref()), ("groups", Some("g:")));
    assert_eq!(jwt.claim_validation_rules.len(), 1);
    assert_eq!(jwt.issuer.audiences, ["kubernetes"]);
    for algorithm in ["none", "HS256", "rs256", ""] {
        let error = of(OidcFlags { signing_algs: vec![algorithm.to_owned()], ..flags() }).unwrap_err().to_string();
        assert!(error.contains("unsupported signing algorithm"), "{error}");
    }
    let error = of(OidcFlags { issuer_url: OWN.to_owned(), ..flags() }).unwrap_err().to_string();
    assert!(error.contains("must not overlap"), "{error}");
}
