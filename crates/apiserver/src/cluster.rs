//! What the gate asks about stored objects, answered from the newest state in memory (upstream: the token getter, which reads
//! through informers and the API).
//!
//! Nothing is decoded to find a uid: it stands in the metadata of the stored text, which is read up to there. A secret is decoded,
//! because its data are asked for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_gate::{Cluster, Held, Holder, StoredSecret};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::Secret;
use portcullis_model::time::parse_time;
use portcullis_store::{Engine, Entry};
use zeroize::Zeroizing;

use crate::registry::{Registry, Served};
use crate::scan::{BEGIN, Members};

/// The objects of a store, as the gate sees them.
pub struct StoredCluster {
    engine: Arc<dyn Engine>,
    registry: Arc<Registry>,
}

impl StoredCluster {
    /// Looks into a store that was opened with the catalog of this registry.
    pub fn new(engine: Arc<dyn Engine>, registry: Arc<Registry>) -> Self {
        Self { engine, registry }
    }

    fn served(&self, resource: &str) -> Option<&Served> {
        self.registry.find("", "v1", resource)
    }
}

impl Cluster for StoredCluster {
    fn find(&self, holder: Holder, namespace: &str, name: &str) -> Option<Held> {
        let served = self.served(match holder {
            Holder::ServiceAccount => "serviceaccounts",
            Holder::Pod => "pods",
            Holder::Secret => "secrets",
            Holder::Node => "nodes",
        })?;
        if !is_one_name(name) || served.resource.namespaced && !is_one_name(namespace) {
            return None;
        }
        held(self.engine.snapshot().get(&served.key(namespace, name)?)?)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<StoredSecret> {
        let served = self.served("secrets")?;
        if !is_one_name(name) || !is_one_name(namespace) {
            return None;
        }
        let snapshot = self.engine.snapshot();
        let entry = snapshot.get(&served.key(namespace, name)?)?;
        let held = held(entry)?;
        let tree = served.load(&entry.value).ok()?;
        let secret: Secret<'_> = views::read(&tree);
        let metadata = secret.metadata();
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut data = std::collections::BTreeMap::new();
        for (key, value) in secret.data().iter() {
            data.insert(key.to_owned(), Zeroizing::new(STANDARD.decode(value).ok()?));
        }
        Some(StoredSecret {
            held,
            kind: secret.type_().to_owned(),
            labels: metadata.labels().iter().map(owned).collect(),
            annotations: metadata.annotations().iter().map(owned).collect(),
            data,
        })
    }
}

/// A name from a token must not lead to another place of the store.
fn is_one_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// Reads what counts out of a stored object; nothing when it can not be followed, which ends what is bound to it.
fn held(entry: &Entry) -> Option<Held> {
    if entry.index().is_unreadable() {
        return None;
    }
    let text = &*entry.value;
    let mut members = Members { text, at: BEGIN.len() };
    let (mut uid, mut deletion_timestamp) = (None, None);
    let is_deleting = entry.index().is_deleting();
    while uid.is_none() || is_deleting && deletion_timestamp.is_none() {
        let (name, value) = members.next()??;
        let unquoted = || std::str::from_utf8(text.get(value.start + 1..value.end - 1)?).ok();
        match text.get(name)? {
            b"uid" => uid = Some(unquoted()?.to_owned()),
            b"deletionTimestamp" => deletion_timestamp = Some(parse_time(unquoted()?).ok()?),
            _ => {}
        }
    }
    Some(Held { uid: uid?, deletion_timestamp })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_store::embedded::{Embedded, Options};
    use portcullis_store::{Commit, Operation};

    use super::*;
    use crate::Catalog;

    async fn cluster(objects: &[(&str, &str)]) -> (StoredCluster, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let engine =
            Arc::new(Embedded::open(Options { catalog, ..Options::new(folder.path().join("store")) }).unwrap());
        for (key, value) in objects {
            let value = value.as_bytes().to_vec().into();
            engine.commit(Commit::from(Operation::create(*key, value))).await.unwrap();
        }
        (StoredCluster::new(engine, registry), folder)
    }

    #[tokio::test]
    async fn objects_are_found_by_name() {
        let (cluster, _folder) = cluster(&[
            ("/registry/serviceaccounts/harbor/robot", r#"{"metadata":{"name":"robot","namespace":"harbor","uid":"u-1","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"uid":"no"}}}"#),
            ("/registry/pods/harbor/web", r#"{"metadata":{"name":"web","namespace":"harbor","uid":"u-2","creationTimestamp":"2026-01-02T03:04:05Z","deletionTimestamp":"2026-01-02T03:04:35Z"},"spec":{"containers":null},"status":{}}"#),
            ("/registry/minions/n1", r#"{"metadata":{"name":"n1","uid":"u-3"},"spec":{},"status":{}}"#),
        ])
        .await;
        let check = |holder: Holder, namespace: &str, name: &str, expected: Option<(&str, Option<&str>)>| {
            let expected = expected.map(|(uid, deleted)| Held {
                uid: uid.to_owned(),
                deletion_timestamp: deleted.map(|text| parse_time(text).unwrap()),
            });
            assert_eq!(cluster.find(holder, namespace, name), expected, "{holder:?} {namespace}/{name}");
        };
        check(Holder::ServiceAccount, "harbor", "robot", Some(("u-1", None)));
        check(Holder::Pod, "harbor", "web", Some(("u-2", Some("2026-01-02T03:04:35Z"))));
        check(Holder::Node, "", "n1", Some(("u-3", None)));
        check(Holder::ServiceAccount, "harbor", "web", None);
        check(Holder::ServiceAccount, "other", "robot", None);
        check(Holder::ServiceAccount, "", "harbor/robot", None);
        check(Holder::ServiceAccount, "harbor/robot", "", None);
        check(Holder::ServiceAccount, "", "", None);
        check(Holder::Secret, "harbor", "robot", None);
        check(Holder::Node, "", "", None);
    }

    #[tokio::test]
    async fn a_secret_is_read_whole() {
        let (cluster, _folder) = cluster(&[(
            "/registry/secrets/kube-system/s",
            r#"{"metadata":{"name":"s","namespace":"kube-system","uid":"u","labels":{"a":"b"},"annotations":{"c":"d"}},"data":{"token":"aGVsbG8="},"type":"Opaque"}"#,
        )])
        .await;
        let secret = cluster.secret("kube-system", "s").unwrap();
        assert_eq!((secret.held.uid.as_str(), secret.kind.as_str()), ("u", "Opaque"));
        assert_eq!(secret.data["token"].as_slice(), b"hello");
        assert_eq!((secret.labels["a"].as_str(), secret.annotations["c"].as_str()), ("b", "d"));
        assert!(cluster.secret("kube-system", "t").is_none());
        assert!(cluster.secret("", "kube-system/s").is_none());
    }
}
