#![allow(clippy::unwrap_used)]

use super::*;

const CLUSTER: &str = "server: https://authn.example.com/review";

fn config(cluster: &str, user: &str) -> String {
    let indent = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Config\npreferences: {{}}\nclusters:\n- name: one\n  cluster:\n{}users:\n- name: me\n  user:\n{}\
         contexts:\n- name: here\n  context: {{cluster: one, user: me, namespace: harbor}}\n- name: there\n  context: {{cluster: two}}\n\
         current-context: here\n",
        indent(cluster),
        if user.is_empty() { "    {}\n".to_owned() } else { indent(user) }
    )
}

fn access(cluster: &str, user: &str) -> Result<Access, KubeconfigError> {
    Kubeconfig::parse(config(cluster, user).as_bytes(), Path::new("/etc/webhook"))?.access(None)
}

#[test]
fn what_a_connection_needs_is_read() {
    let check = |cluster: &str, user: &str, expected: &str| {
        let access = access(&format!("{CLUSTER}\n{cluster}"), user).unwrap();
        let Access { server, server_name, trust, client_certificate, credential, namespace } = access;
        assert_eq!((server.as_str(), namespace.as_deref()), ("https://authn.example.com/review", Some("harbor")));
        let trust = match trust {
            Trust::Authorities(pem) => String::from_utf8(pem).unwrap(),
            other => format!("{other:?}"),
        };
        let certificate = client_certificate.map(|pair| {
            let text = |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap();
            format!("{}+{}", text(&pair.chain_pem), text(&pair.key_pem))
        });
        let credential = match credential {
            Credential::None => "-".to_owned(),
            Credential::Token(token) => format!("token {}", *token),
            Credential::TokenFile(path) => format!("file {}", path.display()),
            Credential::Basic { username, password } => format!("basic {username}:{}", *password),
        };
        let parts = [trust, server_name.unwrap_or("-".to_owned()), certificate.unwrap_or("-".to_owned()), credential];
        assert_eq!(parts.join(" "), expected, "{cluster} | {user}");
    };
    check("", "", "System - - -");
    check("certificate-authority-data: Y2E=", "", "ca - - -");
    check("certificate-authority-data: |\n  Y2\n  E=\ntls-server-name: other", "", "ca other - -");
    check("insecure-skip-tls-verify: true", "", "Unverified - - -");
    check("insecure-skip-tls-verify: false\nproxy-url: ''\ndisable-compression: true", "", "System - - -");
    check("", "client-certificate-data: Y2E=\nclient-key-data: a2V5", "System - ca+key -");
    check("", "token: abc", "System - - token abc");
    check("", "token: abc\ntokenFile: sub/token", "System - - file /etc/webhook/sub/token");
    check("", "tokenFile: /run/token\nexec: null", "System - - file /run/token");
    check("", "username: ana\npassword: pw", "System - - basic ana:pw");
}

#[test]
fn what_can_not_be_used_is_named() {
    let check = |cluster: &str, user: &str, expected: &str| {
        let error = access(cluster, user).unwrap_err().to_string();
        assert!(error.contains(expected), "{cluster} | {user}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    };
    check("a: b", "", "clusters[].cluster.server of the kubeconfig is missing");
    check("server: 5", "", "server of the kubeconfig must be a string");
    check(&format!("{CLUSTER}\nproxy-url: http://proxy"), "", "proxy-url of the kubeconfig is not supported");
    check(
        &format!("{CLUSTER}\ncertificate-authority-data: '%'"),
        "",
        "certificate-authority-data of the kubeconfig is not",
    );
    check(
        &format!("{CLUSTER}\ncertificate-authority: ca.crt"),
        "",
        "certificate-authority /etc/webhook/ca.crt can not",
    );
    check(&format!("{CLUSTER}\ninsecure-skip-tls-verify: 'yes'"), "", "must be true or false");
    let both = format!("{CLUSTER}\ninsecure-skip-tls-verify: true\ncertificate-authority-data: Y2E=");
    check(&both, "", "exclude each other");
    check(CLUSTER, "exec: {command: aws}", "users[].user.exec of the kubeconfig is not supported: no program is run");
    check(CLUSTER, "auth-provider: {name: gcp}", "auth-provider of the kubeconfig is not supported");
    check(CLUSTER, "as: admin", "as of the kubeconfig is not supported");
    check(CLUSTER, "token: s3cret\nusername: ana", "exclude each other");
    check(CLUSTER, "password: s3cret", "username of the kubeconfig is missing");
    check(CLUSTER, "client-certificate-data: Y2E=", "client-key of the kubeconfig is missing");
    check(CLUSTER, "client-key-data: Y2E=", "client-certificate of the kubeconfig is missing");
    check(CLUSTER, "token: [s3cret]", "token of the kubeconfig must be a string");
}

#[test]
fn contexts_are_found_by_name() {
    let text = config(CLUSTER, "");
    let check = |text: &str, context: Option<&str>, expected: &str| {
        let result = Kubeconfig::parse(text.as_bytes(), Path::new("")).and_then(|read| read.access(context));
        let shown = match result {
            Ok(access) => access.server,
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expected), "{context:?}: {shown}");
    };
    check(&text, None, "https://authn.example.com/review");
    check(&text, Some("here"), "https://authn.example.com/review");
    check(&text, Some("there"), "names the cluster \"two\", but has none");
    check(&text, Some("nowhere"), "names the context \"nowhere\", but has none");
    check(&text.replace("current-context: here", ""), None, "current-context of the kubeconfig is missing");
    check(&text.replace("kind: Config", "kind: Pod"), None, "kubeconfig is not a v1 Config");
    check("[]", None, "kubeconfig is not a YAML object");
    check("", None, "kubeconfig is not a YAML object");
    check("a: [", None, "kubeconfig is not YAML");
    check("{clusters: 5, contexts: 5, current-context: a}", None, "contexts of the kubeconfig must be a list");
    check(&"[".repeat(500), None, "kubeconfig is not YAML");
    check(&format!("a: {}{}", "[".repeat(500), "]".repeat(500)), None, "kubeconfig is not");
}

#[test]
fn nothing_secret_is_printed() {
    let user = "client-certificate-data: Y2E=\nclient-key-data: czNjcmV0\ntoken: s3cret";
    let printed = format!("{:?}", access(CLUSTER, user).unwrap());
    assert!(!printed.contains("s3cret") && !printed.contains("115, 51"), "{printed}");
}

#[test]
fn files_are_relative_to_the_kubeconfig() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pki")).unwrap();
    std::fs::write(folder.path().join("pki/ca.crt"), "authority").unwrap();
    let path = folder.path().join("webhook.kubeconfig");
    std::fs::write(&path, config(&format!("{CLUSTER}\ncertificate-authority: pki/ca.crt"), "")).unwrap();
    let Trust::Authorities(pem) = Access::from_file(&path).unwrap().trust else { panic!("no authority") };
    assert_eq!(pem, b"authority");
    std::fs::write(&path, vec![b' '; 1 + usize::try_from(FILE_BYTES_MAX).unwrap()]).unwrap();
    assert!(matches!(Access::from_file(&path), Err(KubeconfigError::FileTooLong { .. })));
    let absent = Access::from_file(&folder.path().join("absent"));
    assert!(matches!(absent, Err(KubeconfigError::FileUnreadable { .. })));
}
