//! Lists as gzip, whose segments refer to the object before: the same bytes as without, whatever was written in between, and nothing
//! is compressed again that can be used again.

use std::io::Read;

use flate2::read::GzDecoder;
use portcullis_store::Engine;

use super::*;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PARTIAL: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const PARTIAL_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];
const ALL: &str = "/api/v1/configmaps";

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    /// Something that objects share, and something that they do not.
    fn text(&mut self, len: usize) -> String {
        let own: String = (0..len / 8).map(|_| format!("{:04x}", self.below(1 << 16))).collect();
        "what all of them say, ".repeat(len / 44) + &own
    }

    fn config_map(&mut self, name: &str) -> Value {
        let len = [0, 10, 3_000, 9_000, 9_000, 40_000, 90_000][self.below(7)];
        let label = ["x", "y"][self.below(2)];
        json!({
            "metadata": {"name": name, "labels": {"l": label}, "annotations": {"note": self.text(7_000)}},
            "data": {"text": self.text(len)},
        })
    }
}

impl Cluster {
    /// The bytes of an answer as it was before it was compressed, and whether it was.
    async fn plain(&self, path: &str, accept: &str, encoding: &str) -> (Vec<u8>, bool) {
        let request = Request::get(path).header("accept", accept).header("accept-encoding", encoding);
        let response = self.gate.handle(&self.admin, request.body(RequestBody::from_bytes("")).unwrap()).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let is_gzip = response.headers().contains_key("content-encoding");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut plain = Vec::new();
        if is_gzip {
            GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        } else {
            plain.extend_from_slice(&body);
        }
        (plain, is_gzip)
    }

    async fn compare(&self, path: &str, accept: &str, seed: u64) -> bool {
        let (expected, _) = self.plain(path, accept, "identity").await;
        let (read, is_gzip) = self.plain(path, accept, "gzip").await;
        assert!(read == expected, "seed {seed}: {path} as {accept}");
        is_gzip
    }

    /// Forms that a list makes.
    async fn made(&self, path: &str, accept: &str) -> u64 {
        let before = self.engine.stats().forms_made;
        assert!(self.plain(path, accept, "gzip").await.1, "{path} is long");
        self.engine.stats().forms_made - before
    }
}

fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// Creates, replaces or deletes one of a few objects.
async fn write(cluster: &Cluster, random: &mut Random) {
    let (collection, name) = (collection(NAMESPACES[random.below(3)]), format!("m-{:02}", random.below(16)));
    let path = format!("{collection}/{name}");
    let object = random.config_map(&name);
    let code = match random.below(4) {
        0 => cluster.delete(&path, Value::Null).await.code,
        _ => match cluster.post(&collection, object.clone()).await.code {
            409 => cluster.put(&path, object).await.code,
            code => code,
        },
    };
    assert!(matches!(code, 200 | 201 | 404), "{code}");
}

#[tokio::test]
async fn gzip_says_the_same_whatever_is_written() {
    for seed in 1..=3u64 {
        let mut random = Random(seed * 0x9E37_79B9);
        let cluster = Cluster::new().await;
        for _ in 0..50 {
            write(&cluster, &mut random).await;
        }
        for _ in 0..12 {
            for _ in 0..random.below(4) {
                write(&cluster, &mut random).await;
            }
            let namespace = collection(NAMESPACES[random.below(3)]);
            let first = cluster.get(&format!("{ALL}?limit={}", 5 + random.below(20))).await;
            let token = first.at("/metadata/continue").as_str().unwrap_or_default().to_owned();
            let accepts = [JSON, PROTOBUF, PARTIAL, PARTIAL_PROTOBUF];
            let accept = accepts[random.below(4)];
            // The rest of a list is of the moment of its beginning, which is not that of the others.
            write(&cluster, &mut random).await;
            for path in [
                ALL.to_owned(),
                format!("{ALL}?labelSelector=l%3Dx"),
                format!("{ALL}?fieldSelector=metadata.namespace%3Ddefault"),
                format!("{ALL}?limit={}", 1 + random.below(30)),
                format!("{ALL}?continue={token}"),
                format!("{ALL}?limit=9&continue={token}"),
                namespace.clone(),
                format!("{namespace}?limit=6"),
            ] {
                cluster.compare(&path, accept, seed).await;
            }
            assert!(cluster.compare(ALL, JSON, seed).await && cluster.compare(ALL, PROTOBUF, seed).await);
        }
    }
}

#[tokio::test]
async fn what_was_compressed_is_used_again() {
    let cluster = Cluster::new().await;
    let mut random = Random(7);
    for namespace in ["default", "kube-public"] {
        for number in 0..30 {
            let object = random.config_map(&format!("m-{number:02}0"));
            assert_eq!(cluster.post(&collection(namespace), object).await.code, 201);
        }
    }
    for accept in [JSON, PARTIAL] {
        // Whatever the cluster brings along is there, too.
        let count = cluster.get(ALL).await.at("/items").as_array().unwrap().len() as u64;
        let check = async |what: &str, path: &str, expected: u64| {
            assert_eq!(cluster.made(path, accept).await, expected, "{accept}: {what}");
            assert_eq!(cluster.made(path, accept).await, 0, "{accept}: {what}, again");
        };
        let merge = async |name: &str| {
            let change = json!({"metadata": {"annotations": {"for": accept}}});
            assert_eq!(cluster.merge(&format!("{}/{name}", collection("default")), change).await.code, 200);
        };
        check("all", ALL, count).await;
        check("all but the first have the same neighbours", &collection("kube-public"), 1).await;
        check("a selector has others", &format!("{ALL}?labelSelector=l"), 60 - 2).await;
        check("and takes nothing away", ALL, 0).await;
        check("the first of a page has none", &format!("{ALL}?limit=50"), 0).await;
        merge("m-100").await;
        check("a change, and what is behind it", ALL, 2).await;
        let object = random.config_map("m-105");
        assert_eq!(cluster.post(&collection("default"), object).await.code, 201);
        check("an insertion, and what is behind it", ALL, 2).await;
        assert_eq!(cluster.delete(&format!("{}/m-105", collection("default")), Value::Null).await.code, 200);
        check("what was behind the deleted", ALL, 1).await;
    }
}
