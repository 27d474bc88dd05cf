//! What the store keeps of the audit log (A25), and the path that tells it to whoever checks the log of a running server.
//!
//! The key is no resource's: no list, watch or discovery shows it, and nothing but this server writes it. Who may read the path is
//! asked of the authorisers as of any other; it names no request and no file.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use portcullis_audit::BoxFuture;
use portcullis_audit::log::{HeadStore, HeadStoreError, Heads};
use portcullis_gate::{Body, not_found};
use portcullis_store::{Change, Commit, Condition, Engine, Operation};

use crate::server::ApiServer;

/// Where the heads are told.
pub const PATH: &str = "/debug/audit-log/head";
/// Where the heads of the one server are that a store of its own has.
pub const KEY: &str = "/registry/portcullis.io/audit-log/self";

/// The heads of a server's audit log in its store.
#[derive(Clone)]
pub struct StoredHeads {
    engine: Arc<dyn Engine>,
}

impl StoredHeads {
    /// Those in this store.
    pub fn new(engine: Arc<dyn Engine>) -> StoredHeads {
        StoredHeads { engine }
    }

    async fn read(&self) -> Result<Option<Heads>, HeadStoreError> {
        let snapshot = self.engine.newest().await.map_err(failed)?;
        let entry = snapshot.get(KEY);
        entry.map(|entry| Heads::from_json(&entry.value)).transpose().map_err(failed)
    }

    async fn write(&self, heads: Heads) -> Result<(), HeadStoreError> {
        let change = Change::Put(Bytes::from(heads.to_json()));
        let operation = Operation { key: KEY.into(), condition: Condition::Any, change };
        self.engine.commit(Commit::from(operation)).await.map_err(failed)?;
        Ok(())
    }
}

fn failed(error: impl std::error::Error) -> HeadStoreError {
    HeadStoreError { reason: error.to_string() }
}

impl HeadStore for StoredHeads {
    fn kept(&self) -> BoxFuture<'_, Result<Option<Heads>, HeadStoreError>> {
        Box::pin(self.read())
    }

    fn keep(&self, heads: Heads) -> BoxFuture<'_, Result<(), HeadStoreError>> {
        Box::pin(self.write(heads))
    }
}

/// Answers [`PATH`] with what is kept; where there is no log, nothing is there.
pub(crate) fn answer(server: &ApiServer) -> Response<Body> {
    let snapshot = server.engine.snapshot();
    let Some(entry) = snapshot.get(KEY) else { return not_found() };
    let mut response = Response::new(Body::from(entry.value.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_audit::log::{ChainHead, Hash, Head};
    use portcullis_store::embedded::{Embedded, Options};

    use super::*;
    use crate::Catalog;
    use crate::registry::Registry;

    #[tokio::test]
    async fn a25_heads_are_kept_where_no_resource_is() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Arc::new(Catalog::new(Arc::new(Registry::new())));
        let open = || Embedded::open(Options { catalog: catalog.clone(), ..Options::new(directory.path()) }).unwrap();
        let head = Head { sequence: 3, hash: Hash::of(b"a") };
        let heads = Heads { log: ChainHead { head, ..ChainHead::NONE }, strangers: ChainHead::NONE, is_closed: false };
        let engine = Arc::new(open());
        let stored = StoredHeads::new(engine.clone());
        assert_eq!(stored.kept().await.unwrap(), None);
        stored.keep(heads).await.unwrap();
        stored.keep(Heads { is_closed: true, ..heads }).await.unwrap();
        drop((stored, engine));
        let stored = StoredHeads::new(Arc::new(open()));
        assert_eq!(stored.kept().await.unwrap(), Some(Heads { is_closed: true, ..heads }));
        for served in Registry::new().all() {
            assert!(served.prefix().is_none_or(|prefix| !KEY.starts_with(prefix)), "{}", served.full_name());
        }
    }
}
