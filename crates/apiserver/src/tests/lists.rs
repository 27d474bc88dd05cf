//! Lists in every encoding, shape and coding against what single GETs say, and the rules about versions and pages.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use portcullis_model::yaml;
use portcullis_store::{Change, Condition, Operation};

use super::*;
use crate::list_body::PLAIN_BYTES_MAX;
use crate::pages::ContinueToken;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const TABLE_YAML: &str = "application/yaml;as=Table;v=v1;g=meta.k8s.io";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn partial(format: &str, kind: &str, version: &str) -> String {
    format!("{format};as=PartialObjectMetadata{kind};v={version};g=meta.k8s.io")
}

/// An answer, plain, and whether it came as gzip.
struct Got {
    code: u16,
    is_gzip: bool,
    plain: Vec<u8>,
}

impl Cluster {
    async fn read(&self, path: &str, accept: &str, encoding: &str) -> Got {
        let request = Request::get(path).header("accept", accept).header("accept-encoding", encoding);
        let response = self.gate.handle(&self.admin, request.body(RequestBody::from_bytes("")).unwrap()).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (code, is_gzip) = (response.status().as_u16(), header("content-encoding").as_deref() == Some("gzip"));
        assert_eq!(header("vary").as_deref() == Some("Accept-Encoding"), is_gzip, "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut plain = Vec::new();
        if is_gzip {
            GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        } else {
            plain.extend_from_slice(&body);
        }
        Got { code, is_gzip, plain }
    }
}

/// The fields of a protobuf message that have bytes, by number.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let end = message.iter().position(|byte| byte & 128 == 0).unwrap() + 1;
        let (digits, rest) = message.split_at(end);
        *message = rest;
        digits.iter().rev().fold(0, |value, digit| value << 7 | u64::from(digit & 127))
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = varint(&mut message);
        if key & 7 == 2 {
            let (held, rest) = message.split_at(usize::try_from(value).unwrap());
            fields.push((key >> 3, held));
            message = rest;
        }
    }
    fields
}

/// The message in an envelope, and what the envelope says about it.
fn opened(body: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let fields = fields(body.strip_prefix(b"k8s\0").unwrap());
    let of = |number: u64| fields.iter().find(|(held, _)| *held == number).unwrap().1;
    (self::fields(of(1)).into_iter().map(|(_, text)| text).collect(), of(2))
}

/// Each object of a list as a value that can be compared with [`single`]'s, and the token of the next page.
fn several(accept: &str, body: &[u8]) -> (Vec<Value>, String) {
    if accept.starts_with(PROTOBUF) {
        let (_, list) = opened(body);
        let fields_of_list = fields(list);
        let meta = fields(fields_of_list[0].1);
        let next = meta.iter().find(|(number, _)| *number == 3).unwrap().1;
        let items = fields_of_list.iter().filter(|(number, _)| *number == 2).map(|(_, item)| json!(item)).collect();
        return (items, String::from_utf8(next.to_vec()).unwrap());
    }
    let list = json_of(accept, body);
    let next = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let items = if list["kind"] == "Table" { &list["rows"] } else { &list["items"] };
    (items.as_array().unwrap().clone(), next)
}

fn single(accept: &str, body: &[u8]) -> Value {
    if accept.starts_with(PROTOBUF) {
        return json!(opened(body).1);
    }
    let mut object = json_of(accept, body);
    if object["kind"] == "Table" {
        return object["rows"][0].take();
    }
    if object["kind"] != "PartialObjectMetadata" {
        // Items of a list of built-in kinds do not say what they are.
        object.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
    }
    object
}

fn json_of(accept: &str, body: &[u8]) -> Value {
    if accept.starts_with(YAML) {
        return serde_json::from_slice(&yaml::to_json(body).unwrap().json).unwrap();
    }
    serde_json::from_slice(body).unwrap()
}

/// Objects of many sizes: enough that their metadata alone is long, and some that are sent from where they are.
async fn many(cluster: &Cluster) -> Vec<String> {
    let mut names = Vec::new();
    for number in 0..60 {
        let name = format!("m-{number:02}");
        let size = [10, 900, 17_000, 10, 10][number % 5].max(if number % 30 == 7 { 140_000 } else { 0 });
        let note = format!("{number} <&> \u{2028} line\nline ").repeat(150);
        let metadata =
            json!({"name": name, "labels": {"third": format!("{}", number % 3)}, "annotations": {"note": note}});
        let text: String = (0..size).map(|at: u64| char::from(b'a' + (at * at / 7 % 26) as u8)).collect();
        let said = cluster.post(CONFIG_MAPS, json!({"metadata": metadata, "data": {"text": text}})).await;
        assert_eq!(said.code, 201, "{}", said.message());
        names.push(name);
    }
    names
}

async fn compare(cluster: &Cluster, collection: &str, names: &[String], accept: &str, limits: &[usize]) {
    // One that has no forms yet, and one that finds them.
    for encoding in ["identity", "gzip", "gzip"] {
        let mut singles = Vec::new();
        for name in names {
            let of_one = accept.replace("MetadataList", "Metadata");
            let one = cluster.read(&format!("{collection}/{name}"), &of_one, encoding).await;
            assert_eq!(one.code, 200, "{name} {accept}");
            assert_eq!(one.is_gzip, encoding == "gzip" && one.plain.len() > PLAIN_BYTES_MAX, "{name} {accept}");
            singles.push(single(accept, &one.plain));
        }
        for limit in limits {
            let (mut items, mut next) = (Vec::new(), String::new());
            loop {
                let path = format!("{collection}?limit={limit}&continue={next}");
                let page = cluster.read(&path, accept, encoding).await;
                assert_eq!(page.code, 200, "{path} {accept}");
                let is_long = page.plain.len() > PLAIN_BYTES_MAX;
                assert_eq!(page.is_gzip, encoding == "gzip" && is_long, "{path} {accept} {}", page.plain.len());
                let (more, token) = several(accept, &page.plain);
                assert!(*limit == 0 || more.len() <= *limit);
                items.extend(more);
                next = token;
                if next.is_empty() {
                    break;
                }
            }
            assert_eq!(items.len(), singles.len(), "{accept} {limit} {encoding}");
            for ((item, single), name) in items.iter().zip(&singles).zip(names) {
                assert!(item == single, "{name} {accept} {limit} {encoding}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_says_what_gets_say() {
    let cluster = Cluster::new().await;
    let names = many(&cluster).await;
    let accepts = [
        JSON.to_owned(),
        PROTOBUF.to_owned(),
        YAML.to_owned(),
        TABLE.to_owned(),
        TABLE_YAML.to_owned(),
        partial(JSON, "List", "v1"),
        partial(JSON, "List", "v1beta1"),
        partial(PROTOBUF, "List", "v1"),
        partial(PROTOBUF, "List", "v1beta1"),
        partial(YAML, "List", "v1"),
        format!("{JSON};pretty=1"),
    ];
    for accept in &accepts {
        compare(&cluster, CONFIG_MAPS, &names, accept, &[0, 7, 45]).await;
    }
}

#[tokio::test]
async fn a_version_that_is_not_stored_has_forms_of_its_own() {
    let cluster = Cluster::new().await;
    let mut names = Vec::new();
    for number in 0..20 {
        let name = format!("e-{number:02}");
        let regarding = json!({"kind": "Pod", "namespace": "default", "name": "p"});
        let event = json!({"metadata": {"name": name, "annotations": {"note": "x".repeat(20_000)}}, "regarding": regarding, "note": "told",
            "eventTime": "2027-01-01T00:00:00.000000Z", "reason": "Because", "action": "Tell", "type": "Normal",
            "reportingController": "example.com/c", "reportingInstance": "c-1"});
        let said = cluster.post(EVENTS, event).await;
        assert_eq!(said.code, 201, "{}", said.message());
        names.push(name);
    }
    for accept in [JSON, PROTOBUF, TABLE, YAML, &partial(JSON, "List", "v1"), &partial(PROTOBUF, "List", "v1")] {
        compare(&cluster, EVENTS, &names, accept, &[0, 9]).await;
        compare(&cluster, "/api/v1/namespaces/default/events", &names, accept, &[0, 9]).await;
    }
    let new = cluster.read(EVENTS, JSON, "gzip").await.plain;
    let old = cluster.read("/api/v1/namespaces/default/events", JSON, "gzip").await.plain;
    assert_eq!(several(JSON, &new).0[0]["note"], several(JSON, &old).0[0]["message"]);
}

#[tokio::test]
async fn a_list_of_nothing_is_one() {
    let cluster = Cluster::new().await;
    let empty = "/api/v1/namespaces/default/pods";
    for accept in
        [JSON, YAML, PROTOBUF, TABLE, TABLE_YAML, &partial(JSON, "List", "v1"), &partial(PROTOBUF, "List", "v1")]
    {
        let got = cluster.read(empty, accept, "gzip").await;
        assert_eq!(several(accept, &got.plain), (Vec::new(), String::new()), "{accept}");
    }
    let said = cluster.read(empty, YAML, "").await.plain;
    assert!(String::from_utf8(said).unwrap().starts_with("apiVersion: v1\nitems: []\nkind: PodList\nmetadata:\n"));
}

#[tokio::test]
async fn a_streamed_yaml_list_is_the_yaml_of_the_list() {
    let cluster = Cluster::new().await;
    many(&cluster).await;
    for (yaml_accept, json_accept) in [(YAML, JSON), (TABLE_YAML, TABLE)] {
        let yaml_text = cluster.read(CONFIG_MAPS, yaml_accept, "gzip").await.plain;
        let json_text = cluster.read(CONFIG_MAPS, json_accept, "").await.plain;
        let whole = yaml::from_json(json_text.trim_ascii_end()).unwrap();
        assert!(String::from_utf8(yaml_text).unwrap() == whole, "{yaml_accept}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_before_the_first_byte() {
    let cluster = Cluster::new().await;
    many(&cluster).await;
    let broken = r#"{"metadata":{"name":"m-99","namespace":"default"}}"#;
    let key = "/registry/configmaps/default/m-99";
    cluster.engine.commit(Operation::create(key, Bytes::from_static(broken.as_bytes())).into()).await.unwrap();
    for accept in [JSON, PROTOBUF, TABLE] {
        assert_eq!(cluster.read(CONFIG_MAPS, accept, "gzip").await.code, 500, "{accept}");
        assert_eq!(cluster.read(&format!("{CONFIG_MAPS}/m-99"), accept, "").await.code, 500, "{accept}");
        assert_eq!(cluster.read(&format!("{CONFIG_MAPS}/m-01"), accept, "").await.code, 200, "{accept}");
    }
}

/// Rewrites an object until nobody remembers what was before.
async fn forget_history(cluster: &Cluster) {
    let text = "x".repeat(3_000_000);
    let value = Bytes::from(format!(
        r#"{{"metadata":{{"name":"big","namespace":"default","uid":"u"}},"data":{{"a":"{text}"}}}}"#
    ));
    for _ in 0..14 {
        let key = "/registry/configmaps/default/zz-big".into();
        let operation = Operation { key, condition: Condition::Any, change: Change::Put(value.clone()) };
        cluster.engine.commit(operation.into()).await.unwrap();
    }
    cluster.env.micros.fetch_add(10 * 60 * 1_000_000, Ordering::Relaxed);
}

#[tokio::test]
async fn an_old_token_gives_a_new_one() {
    let cluster = Cluster::new().await;
    for name in ["a", "b", "c", "d"] {
        cluster.config_map(name, json!({})).await;
    }
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    let token = first.at("/metadata/continue").as_str().unwrap().to_owned();
    assert_eq!(
        (names(&first), first.at("/metadata/remainingItemCount")),
        (vec!["a".to_owned(), "b".to_owned()], json!(2))
    );
    cluster.config_map("bb", json!({})).await;
    // All pages are of one moment.
    let second = cluster.get(&format!("{CONFIG_MAPS}?continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second.at("/metadata/resourceVersion"), first.at("/metadata/resourceVersion"));
    forget_history(&cluster).await;
    let path = format!("{CONFIG_MAPS}?limit=2&continue={token}");
    let expired = cluster.get(&path).await;
    assert_eq!((expired.code, expired.at("/reason")), (410, json!("Expired")));
    assert!(expired.message().contains("use the continue token in this response"));
    let new = expired.at("/metadata/continue").as_str().unwrap().to_owned();
    assert_eq!(ContinueToken::decode(&new).unwrap().revision, None);
    let protobuf = cluster.read(&path, PROTOBUF, "").await;
    assert_eq!(fields(fields(opened(&protobuf.plain).1)[0].1)[2].1, new.as_bytes());
    // The rest as it is now, and all further pages of that moment.
    let rest = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={new}")).await;
    assert_eq!(names(&rest), ["bb", "c"]);
    let token = rest.at("/metadata/continue").as_str().unwrap().to_owned();
    let revision = rest.at("/metadata/resourceVersion").as_str().unwrap().parse().unwrap();
    assert_eq!(ContinueToken::decode(&token).unwrap(), ContinueToken::after(revision, "c"));
    let exact = cluster.get(&format!("{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion=5")).await;
    assert_eq!(
        (exact.code, exact.message()),
        (410, "The resourceVersion for the provided list is too old.".to_owned())
    );
}

#[tokio::test]
async fn versions_and_limits() {
    let cluster = Cluster::new().await;
    let mut versions = Vec::new();
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")] {
        let said = cluster.config_map(name, json!({"l": label})).await;
        versions.push(said.at("/metadata/resourceVersion").as_str().unwrap().to_owned());
    }
    let check = async |query: &str, expected: &[&str], continues: bool, remaining: Value| {
        let said = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(said.code, 200, "{query} {}", said.message());
        assert_eq!(names(&said), expected, "{query}");
        assert_eq!(said.at("/metadata/continue") != Value::Null, continues, "{query}");
        assert_eq!(said.at("/metadata/remainingItemCount"), remaining, "{query}");
    };
    let all = ["a", "b", "c", "d"];
    check("", &all, false, Value::Null).await;
    check("limit=4", &all, false, Value::Null).await;
    check("limit=3", &all[..3], true, json!(1)).await;
    // Whatever is at hand comes whole.
    check("limit=3&resourceVersion=0", &all, false, Value::Null).await;
    check("limit=3&resourceVersion=0&resourceVersionMatch=NotOlderThan", &all, false, Value::Null).await;
    let second = &versions[1];
    check(&format!("resourceVersion={second}"), &all, false, Value::Null).await;
    check(&format!("resourceVersion={second}&resourceVersionMatch=Exact"), &all[..2], false, Value::Null).await;
    check(&format!("resourceVersion={second}&limit=1"), &all[..1], true, json!(1)).await;
    check(&format!("resourceVersion={second}&limit=1&resourceVersionMatch=NotOlderThan"), &all[..1], true, json!(3))
        .await;
    // With a selector nobody counts, and a page may be the last without being known to be.
    check("limit=1&labelSelector=l%3Dx", &["a"], true, Value::Null).await;
    check("limit=2&labelSelector=l%3Dx", &["a", "c"], true, Value::Null).await;
    check("limit=2&labelSelector=l%3Dy", &["b", "d"], false, Value::Null).await;
    check("fieldSelector=metadata.name%3Db&limit=1", &["b"], false, Value::Null).await;
}

#[tokio::test]
async fn a_version_ahead_is_waited_for() {
    let cluster = Cluster::new().await;
    let made = cluster.config_map("a", json!({})).await;
    let version: u64 = made.at("/metadata/resourceVersion").as_str().unwrap().parse().unwrap();
    let (path, list) = (
        format!("{CONFIG_MAPS}/a?resourceVersion={}", version + 1),
        format!("{CONFIG_MAPS}?resourceVersion={}", version + 1),
    );
    let (got, listed, _) = tokio::join!(cluster.get(&path), cluster.get(&list), cluster.config_map("b", json!({})));
    assert_eq!((got.code, listed.code, names(&listed).len()), (200, 200, 2));
    tokio::time::pause();
    let check = async |path: &str, retry: Value| {
        let said = cluster.get(path).await;
        let current = version + 1;
        assert_eq!(
            (said.code, said.message()),
            (504, format!("Timeout: Too large resource version: 999999, current: {current}"))
        );
        assert_eq!(said.at("/details/causes/0/reason"), "ResourceVersionTooLarge", "{path}");
        assert_eq!(said.at("/details/retryAfterSeconds"), retry, "{path}");
    };
    check(&format!("{CONFIG_MAPS}/a?resourceVersion=999999"), json!(1)).await;
    check(&format!("{CONFIG_MAPS}?resourceVersion=999999"), json!(1)).await;
    // An exact version is not waited for.
    check(&format!("{CONFIG_MAPS}?resourceVersion=999999&resourceVersionMatch=Exact"), Value::Null).await;
    check(&format!("{CONFIG_MAPS}?continue={}", ContinueToken::after(999_999, "a").encode()), Value::Null).await;
}

#[tokio::test]
async fn metrics_tell_about_the_store() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({"l": "x"})).await;
    cluster.get(&format!("{CONFIG_MAPS}?labelSelector=l%3Dx")).await;
    cluster.read(CONFIG_MAPS, PROTOBUF, "").await;
    let text = String::from_utf8(cluster.get("/metrics").await.body).unwrap();
    for line in [
        "apiserver_storage_objects{resource=\"configmaps\"} 1\n",
        "apiserver_cache_list_total{group=\"\",index=\"words\",resource=\"configmaps\"} 1\n",
        "apiserver_cache_list_returned_objects_total{group=\"\",resource=\"configmaps\"} 2\n",
        "portcullis_store_forms_made_total 1\n",
        "portcullis_store_history_commits{resource=\"configmaps\"} 1\n",
        "portcullis_store_writes_refused_total 0\n",
        "portcullis_store_kept_snapshots 0\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn bookmarks_show_what_upstream_writes_of_nothing() {
    let cluster = Cluster::new().await;
    tokio::time::pause();
    let check = async |path: &str, accept: &str, expected: [Value; 2]| {
        let query = "watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                     &allowWatchBookmarks=true";
        let said = cluster.send("GET", &format!("/{path}?{query}"), &[("accept", accept)], "").await;
        let lines = said.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        let bookmark = events.iter().find(|event| event["type"] == "BOOKMARK").unwrap();
        let found = ["/object/metadata/annotations", "/object/spec/replicas"].map(|at| bookmark.pointer(at).cloned());
        assert_eq!(found.map(Option::unwrap_or_default), expected, "{path} {accept}");
    };
    let (json, metadata) = ("application/json", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let end = || json!({"k8s.io/initial-events-end": "true"});
    for resource in ["deployments", "replicasets", "statefulsets"] {
        check(&format!("apis/apps/v1/{resource}"), json, [end(), json!(0)]).await;
        check(&format!("apis/apps/v1/{resource}"), metadata, [end(), Value::Null]).await;
    }
    check("api/v1/replicationcontrollers", json, [end(), Value::Null]).await;
    let counted = json!({"deprecated.daemonset.template.generation": "0", "k8s.io/initial-events-end": "true"});
    check("apis/apps/v1/daemonsets", json, [counted, Value::Null]).await;
    check("apis/apps/v1/daemonsets", metadata, [end(), Value::Null]).await;
}
