//! What can be reached without credentials, and that nothing else listens.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use portcullis_tests::program::Server;

/// Sockets of a process that wait for connections, from what the kernel says: protocol file and port.
fn listening(id: u32) -> BTreeSet<(&'static str, u16)> {
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let own: BTreeSet<String> = links.filter_map(|link| link.to_str().map(str::to_owned)).collect();
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for row in fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap().lines().skip(1) {
            let fields: Vec<_> = row.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            // 0A waits for TCP connections; a UDP socket receives in any state.
            if own.contains(&format!("socket:[{inode}]")) && (state == "0A" || table.starts_with("udp")) {
                found.insert((table, u16::from_str_radix(local.rsplit(':').next().unwrap(), 16).unwrap()));
            }
        }
    }
    found
}

#[test]
fn l2_p1_the_tls_port_is_the_only_one() {
    let data = tempfile::tempdir().unwrap();
    for arguments in [&["--insecure-port=0"][..], &["--defaults", "upstream"]] {
        let server =
            Server::start_with(portcullis_tests::build::program(), data.path(), arguments).expect("the server starts");
        server.admin().get("/api/v1/namespaces");
        assert_eq!(listening(server.id()), BTreeSet::from([("tcp", server.address().port())]), "{arguments:?}");
    }
}

#[test]
fn a16_an_address_outside_of_the_ranges_gets_no_tls_handshake() {
    let data = tempfile::tempdir().unwrap();
    let program = portcullis_tests::build::program();
    let start =
        |ranges| Server::start_with(program, data.path(), &["--client-cidrs", ranges]).expect("the server starts");
    let server = start("192.0.2.0/24,2001:db8::/32");
    // An alert would answer this if TLS did.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let _ = stream.write_all(&client_hello(0x0303, &[0xc02b]));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    assert!(server.admin().send("GET", "/livez", None).is_err());
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let (status, _, log) = server.ended();
    assert!(status.success() && log.contains("AddressRange"), "{log}");
    let server = start("192.0.2.0/24,127.0.0.1");
    assert_eq!(server.admin().get("/livez").status, 200);
}

#[test]
fn l1_a1_four_paths_answer_without_credentials_and_every_other_is_401() {
    let data = tempfile::tempdir().unwrap();
    for defaults in ["locked", "upstream"] {
        let program = portcullis_tests::build::program();
        let server = Server::start_with(program, data.path(), &["--defaults", defaults]).expect("the server starts");
        let stranger = server.stranger();
        let check = |method: &str, path: &str, status: u16| {
            let answer = stranger.send(method, path, None).unwrap();
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
            if status == 401 && method != "HEAD" {
                assert_eq!(answer.json()["reason"], "Unauthorized", "{method} {path}: {}", answer.text());
            }
        };
        for path in ["/version", "/healthz", "/livez", "/readyz", "/healthz?verbose"] {
            check("GET", path, 200);
        }
        for path in
            ["/", "/api", "/api/", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/metrics"]
        {
            check("GET", path, 401);
        }
        for path in
            ["/healthz/", "/healthz/ping", "/livez/ping", "/readyz/etcd", "/version/", "/versions", "/logs", "/nowhere"]
        {
            check("GET", path, 401);
        }
        for path in [
            "/debug/pprof/",
            "/api/v1/secrets",
            "/api/v1/namespaces/kube-system/configmaps",
            "/.well-known/openid-configuration",
        ] {
            check("GET", path, 401);
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD"] {
            check(method, "/api/v1/namespaces/default/configmaps/one", 401);
        }
    }
}

#[test]
fn p11_the_api_without_credentials_is_401() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let answer = server.stranger().get("/api");
    assert_eq!(answer.status, 401);
    let body = answer.json();
    assert_eq!((&body["kind"], &body["message"]), (&"Status".into(), &"Unauthorized".into()));
}

#[test]
fn p12_health_and_version_without_credentials_are_200() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    assert_eq!(server.stranger().get("/healthz").text(), "ok");
    let version = server.stranger().get("/version").json();
    assert_eq!(version["major"], "1");
    assert_eq!(version["minor"], "36");
}

#[test]
fn a19_the_version_names_the_api_level_and_the_build() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let version = server.stranger().get("/version").json();
    let build = version["gitVersion"].as_str().unwrap().strip_prefix("v1.36.3+portcullis.").unwrap();
    assert_eq!(build.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{build}");
}

/// A ClientHello of TLS 1.2 or older with these cipher suites (RFC 5246, 7.4.1.2).
fn client_hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let extension = |kind: u16, list: &[u16]| {
        let list: Vec<u8> = list.iter().flat_map(|item| item.to_be_bytes()).collect();
        let len = list.len() as u16;
        [&kind.to_be_bytes()[..], &(len + 2).to_be_bytes(), &len.to_be_bytes(), &list].concat()
    };
    // Groups P-256 and X25519; signatures ECDSA P-256 and RSA.
    let extensions = [extension(10, &[0x0017, 0x001d]), extension(13, &[0x0403, 0x0804, 0x0401])].concat();
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &(suites.len() as u16).to_be_bytes(),
        &suites,
        &[1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    [&[22, 3, 1][..], &(handshake.len() as u16).to_be_bytes(), &handshake].concat()
}

#[test]
fn a22_old_versions_and_weak_suites_get_no_handshake() {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let check = |name: &str, version: u16, suites: &[u16], expected: u8| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&client_hello(version, suites)).unwrap();
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], expected, "{name}");
    };
    check("1.2, ECDHE ECDSA AES-128 GCM", 0x0303, &[0xc02b], HANDSHAKE);
    check("1.2, ECDHE ECDSA ChaCha20", 0x0303, &[0xcca9], HANDSHAKE);
    check("1.2, ECDHE ECDSA AES-128 CBC SHA", 0x0303, &[0xc009], ALERT);
    check("1.2, ECDHE ECDSA AES-128 CBC SHA-256", 0x0303, &[0xc023], ALERT);
    check("1.2, RSA AES-128 GCM", 0x0303, &[0x009c], ALERT);
    check("1.2, RSA AES-128 CBC", 0x0303, &[0x002f], ALERT);
    check("1.2, ECDHE ECDSA NULL", 0x0303, &[0xc006], ALERT);
    check("1.1, ECDHE ECDSA AES-128 CBC SHA", 0x0302, &[0xc009], ALERT);
    check("1.0, ECDHE ECDSA AES-128 GCM", 0x0301, &[0xc02b], ALERT);
}
