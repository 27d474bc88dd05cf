//! Input that means harm: it gets a refusal, costs bounded memory, leaves nothing behind, and the server goes on.

use portcullis_tests::client::Client;
use portcullis_tests::program::Server;

const PATH: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// What the process may have held at its peak, after all of it: an unoptimised build needs 40 MiB to serve at all.
const MEMORY_KIB_MAX: u64 = 192 * 1024;
/// Bodies that are spoilt at random.
const SPOILT: u64 = 400;

/// Levels of mappings, each naming the one below nine times: 9^9 scalars when followed.
fn alias_bomb() -> String {
    let mut text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na0: &a0 x\n".to_owned();
    for level in 1..=9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

/// A configuration map of exactly this many bytes.
fn sized(len: usize) -> Vec<u8> {
    let mut body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"sized"}}"#.to_vec();
    body.resize(len, b' ');
    body
}

/// A generator that repeats itself for the same seed (PCG's multiplier, upper bits).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

fn nothing_is_left(server: &Server) {
    let list = server.admin().get(PATH);
    assert_eq!((list.status, &list.json()["items"]), (200, &serde_json::json!([])), "{}", list.text());
    let peak = server.memory_kib("VmHWM").unwrap();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB at the peak");
}

#[test]
fn hostile_bodies_are_refused_and_leave_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let client = server.admin();
    let check = |name: &str, media_type: &str, body: &[u8], status: u16| {
        let answer = client.send_content("POST", PATH, media_type, body).unwrap();
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(answer.json()["kind"], "Status", "{name}: {}", answer.text());
    };
    for text in ["", "{", "}", "{\"a\":", "[1", "nul", "\"", "{\"kind\":\"ConfigMap\"}{", "\u{0}", "{\"a\":1e99999}x"] {
        check(&format!("malformed {text:?}"), JSON, text.as_bytes(), 400);
    }
    let deep = 20_000;
    check("deep lists", JSON, "[".repeat(deep).as_bytes(), 400);
    check("deep maps", JSON, "{\"a\":".repeat(deep).as_bytes(), 400);
    let closed = |open: &str, close: &str| format!("{{\"metadata\":{}1{}}}", open.repeat(deep), close.repeat(deep));
    check("deep and closed lists", JSON, closed("[", "]").as_bytes(), 400);
    check("deep and closed maps", JSON, closed("{\"a\":", "}").as_bytes(), 400);
    check("deep YAML lists", YAML, "[".repeat(deep).as_bytes(), 400);
    check("deep YAML maps", YAML, "{a: ".repeat(deep).as_bytes(), 400);
    check("an alias bomb", YAML, alias_bomb().as_bytes(), 400);
    check("a tab in YAML", YAML, b"kind: ConfigMap\n\tmetadata: {}", 400);
    check("too large", JSON, &sized(BODY_BYTES_MAX + 1), 413);
    check("garbage protobuf", PROTOBUF, b"\x00\xff\x13\x37", 400);
    check("garbage after the prefix", PROTOBUF, b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 400);
    check("a length beyond the end", PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff\x07", 400);
    check("deep groups", PROTOBUF, &[b"k8s\0", &[0x0b; 20_000][..]].concat(), 400);
    nothing_is_left(&server);
    let whole = client.send_content("POST", PATH, JSON, &sized(BODY_BYTES_MAX)).unwrap();
    assert_eq!(whole.status, 201, "the limit itself is allowed: {}", whole.text());
}

#[test]
fn hostile_paths_are_refused_and_leave_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let client = server.admin();
    let check = |path: &str| {
        let body = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        for (method, body) in [("GET", None), ("PUT", Some(&body)), ("POST", Some(&body)), ("DELETE", None)] {
            let answer = client.send(method, path, body).unwrap();
            assert!((400..500).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        }
    };
    for name in ["..", ".", "%2e%2e", "%2E", "a%2Fb", "%2F", "a%00", "%00", "%zz", "%", "a%5Cb/../c", "%FF", "%0a"] {
        check(&format!("{PATH}/{name}"));
    }
    for path in ["/api/v1/namespaces/../configmaps/a", "/api/v1/namespaces/%2e%2e/configmaps/a", "/../../etc/passwd"] {
        check(path);
    }
    check("/api/v1/namespaces/default%2Fconfigmaps/a");
    check(&format!("{PATH}/{}", "a".repeat(8000)));
    nothing_is_left(&server);
}

fn spoil(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let mut spoilt = body.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(spoilt.len());
        match random.below(4) {
            0 => spoilt[at] = random.below(256) as u8,
            1 => spoilt.truncate(at.max(1)),
            2 => spoilt.insert(at, b"{}[]\",:\\&*!|>\0\xff"[random.below(15)]),
            _ => {
                let piece = spoilt[at..].to_vec();
                spoilt.extend_from_slice(&piece);
            }
        }
    }
    spoilt
}

#[test]
fn bodies_spoilt_at_random_get_an_answer_that_is_no_failure_of_the_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let client: Client = server.admin();
    let json = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"k":"v"}},"data":{"x":"y\u00e9"},"binaryData":{"b":"AAEC"}}"#;
    let yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &l {k: v}\n  annotations: *l\ndata:\n  x: |\n    y\n";
    let protobuf = b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x0f\n\x03\n\x01a\x12\x08\n\x01x\x12\x03abc\x1a\x00\"\x00";
    for seed in 0..SPOILT {
        let mut random = Random(seed);
        let (media_type, body) = [(JSON, &json[..]), (YAML, yaml), (PROTOBUF, protobuf)][random.below(3)];
        let body = spoil(&mut random, body);
        let answer = client.send_content("POST", &format!("{PATH}?dryRun=All"), media_type, &body);
        let answer = answer.unwrap_or_else(|error| panic!("seed {seed}: {media_type}: {error:#}"));
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!((200..500).contains(&answer.status), "seed {seed}: {media_type} {text:?}: {}", answer.text());
    }
    nothing_is_left(&server);
}
