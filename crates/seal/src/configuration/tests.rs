//! What is taken, what is refused, and in which words.

#![allow(clippy::unwrap_used)]

use super::validation::socket_of;
use super::*;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
const KEY_16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const KEY_24: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const KEY_32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn parse(body: &str) -> Result<EncryptionConfiguration, ConfigurationError> {
    EncryptionConfiguration::parse(format!("{HEAD}{body}").as_bytes())
}

fn check(body: &str, expected: Result<(), &str>) {
    match (parse(body), expected) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(words)) => {
            let error = error.to_string();
            assert!(
                if words.ends_with('…') { error.starts_with(words.trim_end_matches('…')) } else { error == words },
                "{body}\n{error}"
            );
            for key in [KEY_16, KEY_24, KEY_32, "0123456789abcdef"] {
                assert!(!error.contains(key), "a key is shown: {error}");
            }
        }
        (Ok(_), Err(words)) => panic!("taken: {body}, expected {words}"),
        (Err(error), Ok(())) => panic!("refused: {body}: {error}"),
    }
}

/// One entry with these resources and providers.
fn entry(resources: &str, providers: &str) -> String {
    format!("resources:\n- resources: [{resources}]\n  providers: [{providers}]\n")
}

fn keys(algorithm: &str, name: &str, secret: &str) -> String {
    format!("{{{algorithm}: {{keys: [{{name: {name:?}, secret: {secret:?}}}]}}}}")
}

#[test]
fn providers_that_are_taken() {
    for secret in [KEY_16, KEY_24, KEY_32] {
        check(&entry("secrets", &keys("aesgcm", "a", secret)), Ok(()));
        check(&entry("secrets", &keys("aescbc", "a", secret)), Ok(()));
    }
    check(&entry("secrets", &keys("secretbox", "a", KEY_32)), Ok(()));
    check(&entry("secrets", "{identity: {}}"), Ok(()));
    check(&entry("secrets", "{kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}}"), Ok(()));
    check(&entry("secrets", "{kms: {apiVersion: v2, name: a, endpoint: 'unix:///@a', timeout: 1s}}"), Ok(()));
    // Upstream takes names with a colon, and a name twice.
    check(&entry("secrets", &keys("aesgcm", "a:b", KEY_16)), Ok(()));
    let twice = format!("{{aesgcm: {{keys: [{{name: a, secret: {KEY_16}}}, {{name: a, secret: {KEY_32}}}]}}}}");
    check(&entry("secrets", &twice), Ok(()));
}

#[test]
fn keys_that_are_refused() {
    let path = "resources[0].providers[0]";
    for algorithm in ["aesgcm", "aescbc", "secretbox"] {
        let at = format!("{path}.{algorithm}.keys");
        let check = |provider: &str, words: String| check(&entry("secrets", provider), Err(&words));
        let none = format!("{at}: Required value: at least one keys is required");
        check(&format!("{{{algorithm}: {{keys: []}}}}"), none.clone());
        check(&format!("{{{algorithm}: {{}}}}"), none);
        let unnamed = format!("{at}[0].name: Required value: name is a mandatory field for a key");
        check(&keys(algorithm, "", KEY_32), unnamed);
        let empty = format!("{at}[0].secret: Required value: secret is a mandatory field for a key");
        check(&keys(algorithm, "a", ""), empty);
        let text = format!("{at}[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded");
        for bad in ["hunter2!", "MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZg== "] {
            check(&keys(algorithm, "a", bad), text.clone());
        }
        let lens = if algorithm == "secretbox" { "32" } else { "16 24 32" };
        let short = format!(
            "{at}[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, expected one of [{lens}]"
        );
        check(&keys(algorithm, "a", "aGVsbG8="), short);
    }
    let words = format!(
        "{path}.secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 16, expected one of [32]"
    );
    check(&entry("secrets", &keys("secretbox", "a", KEY_16)), Err(&words));
}

#[test]
fn providers_that_are_refused() {
    let path = "resources[0].providers[0]";
    let none = format!(
        "{path}: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
    );
    check(&entry("secrets", "{}"), Err(&none));
    check(&entry("secrets", "{identity: null}"), Err(&none));
    let both = format!(
        "{path}: Invalid value: more than one provider specified in a single element, should split into different list elements"
    );
    let secret = KEY_32;
    let provider = format!("{{identity: {{}}, aesgcm: {{keys: [{{name: a, secret: {secret}}}]}}}}");
    check(&entry("secrets", &provider), Err(&both));
    let at = "resources[0].providers";
    check(&entry("secrets", ""), Err(&format!("{at}: Required value: at least one {at} is required")));
    let at = "resources[0].resources";
    check(&entry("", "{identity: {}}"), Err(&format!("{at}: Required value: at least one {at} is required")));
    check("", Err("resources: Required value: at least one resources is required"));
    check("resources: []", Err("resources: Required value: at least one resources is required"));
    let many = vec!["{identity: {}}"; 65].join(", ");
    check(&entry("secrets", &many), Err("resources[0].providers: Too many: 65: must have at most 64 items"));
}

#[test]
fn a_kms_is_of_version_2_on_a_unix_socket() {
    let path = "resources[0].providers[0].kms";
    let check = |fields: &str, words: &str| {
        let words = words.replace("PATH", path);
        check(&entry("secrets", &format!("{{kms: {{{fields}}}}}")), Err(&words));
    };
    let good = "apiVersion: v2, name: a, endpoint: 'unix:///a'";
    check(
        "name: a, endpoint: 'unix:///a'",
        "KMSv1 is deprecated and will only receive security updates going forward.…",
    );
    check("apiVersion: v1, name: a, endpoint: 'unix:///a', cachesize: 10", "KMSv1 is deprecated…");
    check(
        "apiVersion: v3, name: a, endpoint: 'unix:///a'",
        "PATH.apiVersion: Invalid value: \"v3\": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported",
    );
    check(
        "apiVersion: v2, endpoint: 'unix:///a'",
        "PATH.name: Required value: name is a mandatory field for a provider",
    );
    check(
        "apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'",
        "PATH.name: Invalid value: \"a:b\": invalid KMS provider name a:b, must not contain ':'",
    );
    check("apiVersion: v2, name: a", "PATH.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms");
    for (endpoint, scheme) in [("https://a", "https"), ("/run/a.sock", ""), ("tcp:1", "tcp")] {
        let words = format!(
            "PATH.endpoint: Invalid value: {endpoint:?}: unsupported scheme {scheme:?} for KMS provider, only unix is supported"
        );
        check(&format!("apiVersion: v2, name: a, endpoint: {endpoint:?}"), &words);
    }
    for endpoint in ["unix://", "unix:///", "unix:a", "unix:///@"] {
        let words = format!("PATH.endpoint: Invalid value: {endpoint:?}: invalid endpoint for kms provider, error: …");
        check(&format!("apiVersion: v2, name: a, endpoint: {endpoint:?}"), &words);
    }
    let long = format!("unix:///{}", "a".repeat(107));
    for (endpoint, detail) in [
        (long.as_str(), "its path has 108 bytes, and that of a unix socket may have 107"),
        ("unix:///a%2", "a % in it is not followed by two hexadecimal digits"),
        ("unix:///a%+1b", "a % in it is not followed by two hexadecimal digits"),
        ("unix:///a%ff", "its path is not UTF-8"),
        ("unix:///a%00", "it names no socket, as unix:///run/kms.sock does"),
    ] {
        let words =
            format!("PATH.endpoint: Invalid value: {endpoint:?}: invalid endpoint for kms provider, error: {detail}");
        check(&format!("apiVersion: v2, name: a, endpoint: {endpoint:?}"), &words);
    }
    for (timeout, shown) in [("0s", "0s"), ("-1m", "-1m0s")] {
        let words = format!("PATH.timeout: Invalid value: {shown:?}: timeout should be a positive value");
        check(&format!("{good}, timeout: {timeout}"), &words);
    }
    check(&format!("{good}, cachesize: 7"), "PATH.cachesize: Invalid value: 7: cachesize is not supported in v2");
    check(
        "name: a, endpoint: 'unix:///a', cachesize: 0",
        "PATH.cachesize: Invalid value: 0: cachesize should be a positive value, or negative to disable",
    );
    // In upstream's order, all at once.
    check(
        "apiVersion: v2, timeout: 0s",
        "[PATH.name: Required value: name is a mandatory field for a provider, \
         PATH.timeout: Invalid value: \"0s\": timeout should be a positive value, \
         PATH.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms]",
    );
    let twice = format!("{{kms: {{{good}}}}}, {{kms: {{{good}}}}}");
    let words =
        "resources[0].providers[1].kms.name: Invalid value: \"a\": duplicate KMS provider name a, names must be unique";
    super::tests::check(&entry("secrets", &twice), Err(words));
}

#[test]
fn resources_and_their_wildcards() {
    let good = |resources: &str| check(&entry(resources, "{identity: {}}"), Ok(()));
    for resources in
        ["secrets", "'*.'", "'*.apps'", "'*.*'", "secrets, deployments.apps", "'*.', '*.apps'", "events", "a.b.c"]
    {
        good(resources);
    }
    let name = |resource: &str, detail: &str| {
        let words = format!("resources[0].resources[0]: Invalid value: {resource:?}: {detail}");
        check(&entry(&format!("{resource:?}"), "{identity: {}}"), Err(&words));
    };
    name("Secrets", "resource name should not contain capital letters");
    name("*", "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources");
    for resource in ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"] {
        name(resource, "resources which do not have REST API/s cannot be encrypted");
    }
    for resource in ["events.events.k8s.io", "*.events.k8s.io"] {
        let detail = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file";
        name(resource, detail);
    }
    for resource in ["ingresses.extensions", "*.extensions"] {
        name(resource, "'extensions' group has been removed and cannot be used for encryption");
    }
    name("secrets.*", "encrypting the same resource across groups is not supported");

    let list = |resources: &str, shown: &str, detail: &str| {
        let words = format!("resources[0].resources: Invalid value: {shown}: {detail}");
        check(&entry(resources, "{identity: {}}"), Err(&words));
    };
    let duplicate = "the same resource cannot be specified multiple times";
    list("secrets, secrets", r#"["secrets","secrets"]"#, duplicate);
    list("'*.apps', '*.apps'", r#"["*.apps","*.apps"]"#, duplicate);
    let overlap = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
    list("secrets, '*.'", r#"["secrets","*."]"#, overlap);
    list("'*.apps', deployments.apps", r#"["*.apps","deployments.apps"]"#, overlap);
    list("secrets, '*.*'", r#"["secrets","*.*"]"#, overlap);
    list("'*.*', '*.apps'", r#"["*.*","*.apps"]"#, overlap);
}

#[test]
fn an_earlier_wildcard_masks_a_later_rule() {
    let check = |rules: &[&str], expected: Result<(), &str>| {
        let entry = |rule: &&str| format!("- resources: [{rule:?}]\n  providers: [{{identity: {{}}}}]\n");
        check(&format!("resources:\n{}", rules.iter().map(entry).collect::<String>()), expected);
    };
    check(&["secrets", "*.", "deployments.apps", "*.apps", "*.*"], Ok(()));
    check(&["secrets", "secrets"], Ok(()));
    check(&["*.apps", "secrets"], Ok(()));
    check(&["*.", "secrets"], Err("resource \"secrets\" is masked by earlier rule \"*.\""));
    check(&["*.", "*."], Err("resource \"*.\" is masked by earlier rule \"*.\""));
    check(&["*.apps", "deployments.apps"], Err("resource \"deployments.apps\" is masked by earlier rule \"*.apps\""));
    check(&["*.*", "secrets"], Err("resource \"secrets\" is masked by earlier rule \"*.*\""));
    check(&["*.*", "*.*"], Err("resource \"*.*\" is masked by earlier rule \"*.*\""));
}

#[test]
fn a_file_is_read_strictly() {
    let unknown = entry("secrets", "{identity: {}}") + "extra: 1\n";
    check(&unknown, Err("strict decoding error: unknown field \"extra\""));
    check(
        &entry("secrets", "{aesgcm: {keys: [{name: a, secret: x, Secret: y}]}}"),
        Err("strict decoding error: unknown field \"resources[0].providers[0].aesgcm.keys[0].Secret\""),
    );
    check(
        &entry("secrets", "{rot13: {}}"),
        Err("strict decoding error: unknown field \"resources[0].providers[0].rot13\""),
    );
    check(&format!("{}resources: []\n", entry("secrets", "{identity: {}}")), Err("strict decoding error: …"));
    let other = |text: &str, words: &str| {
        let error = EncryptionConfiguration::parse(text.as_bytes()).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    };
    other("apiVersion: v1\nkind: EncryptionConfig", "use EncryptionConfiguration of apiserver.config.k8s.io/v1");
    other("apiVersion: apiserver.config.k8s.io/v1beta1\nkind: EncryptionConfiguration", "no kind");
    other("[]", "expected an object");
    other("{", "");
    let json = format!(
        r#"{{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{{"resources":["secrets"],"providers":[{{"aesgcm":{{"keys":[{{"name":"a","secret":"{KEY_32}"}}]}}}}]}}]}}"#
    );
    assert!(EncryptionConfiguration::parse(json.as_bytes()).is_ok());
}

#[test]
fn what_an_operator_should_know() {
    let warnings = |providers: &str| -> Vec<String> {
        parse(&entry("secrets, '*.apps'", providers)).unwrap().warnings().iter().map(ToString::to_string).collect()
    };
    let check = |providers: &str, expected: &[&str]| {
        let warnings = warnings(providers);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(part), "{warning}");
        }
    };
    check("{identity: {}}", &["secrets, *.apps: identity is the first provider"]);
    check(&keys("aescbc", "a", KEY_16), &["neither notices a change nor binds"]);
    check(&keys("secretbox", "a", KEY_32), &["does not bind a value to its key path"]);
    check(&keys("aesgcm", "a", KEY_32), &["before 2^32 writes"]);
    check("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a'}}", &[]);
    check("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///@a'}}", &["abstract socket"]);
    check(
        &format!("{{kms: {{apiVersion: v2, name: a, endpoint: 'unix:///a'}}}}, {}", keys("aescbc", "a", KEY_16)),
        &[],
    );
}

/// What is wrong with a file is said in the log: however somebody mistypes one, no key of it is repeated.
#[test]
fn no_error_repeats_a_key() {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
    let secret = "c2VjcmV0LWtleS1vZi0zMi1ieXRlcy1jYW5hcnkhISE=";
    let provider = |key: &str| format!("{head}{}", entry("secrets", &format!("{{aescbc: {{keys: [{key}]}}}}")));
    for text in [
        provider(&format!("{{name: a, secret: {secret}}}, {{name: a}}")),
        provider(&format!("{{name: a, secret: {secret}!}}")),
        provider(&format!("{{name: a, secret: \"{secret}\\x00\"}}")),
        provider(&format!("{{name: a, secret: {secret}{secret}}}")),
        provider(&format!("{{name: a, secret {secret}}}")),
        provider(&format!("{{name: a, secret: [{secret}]}}")),
        provider(&format!("{{name: a, secret: {{{secret}: a}}}}")),
        provider(&format!("{{name: a, {secret}: a}}")),
        provider(&format!("{{name: a, secret: {secret}, secret: {secret}}}")),
        provider(&format!("{{name: a, {secret}: a, {secret}: b}}")),
        provider(&format!("{{name: a, secret: !!int {secret}}}")),
        provider(&format!("{{name: a, secret: *{secret}}}")),
        provider(secret),
        format!("{head}resources: {secret}"),
        format!("{head}resources:\n- {secret}\n"),
        format!("{head}{secret}\n"),
        format!("{head}{secret}: {secret}\n"),
        secret.to_owned(),
        format!("kind: {secret}\n"),
        format!("{{\"secret\": \"{secret}\",}}"),
        format!("{{\"secret\": {secret}}}"),
    ] {
        let error = EncryptionConfiguration::parse(text.as_bytes()).err().expect(&text);
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let said = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(!said.contains(&secret[..12]), "{text}\n{said}");
    }
}

/// As upstream reads them.
#[test]
fn sockets_of_endpoints() {
    let check = |endpoint: &str, expected: &str| assert_eq!(socket_of(endpoint).unwrap(), expected, "{endpoint}");
    check("unix:///run/a.sock", "/run/a.sock");
    check("unix:////run/a.sock", "//run/a.sock");
    check("unix://host/run/a.sock?b#c", "/run/a.sock");
    check("unix:///@a", "@a");
    check("unix:///%40a", "@a");
    check("unix:///run/a%20b%2Fc%C3%A4", "/run/a b/c\u{e4}");
    check("unix:///run/a%3Fb", "/run/a?b");
    let longest = format!("/{}", "a".repeat(106));
    check(&format!("unix://{longest}"), &longest);
    check(&format!("unix://{}", longest.replace('a', "%61")), &longest);
}
