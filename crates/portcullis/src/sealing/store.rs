//! What the store asks for each value, and what is done for it when keys change or come back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use portcullis_seal::{OpenError, Resource, SEALED_PREFIX, Seals};
use portcullis_store::engine::{BoxFuture, Source};
use portcullis_store::{Catalog, Engine, Opened, Sealing};
use tokio::sync::watch;

use super::metrics::Metrics;

/// How often it is looked whether a KMS is back.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// After so many looks values are tried again although their KMS were well all along: it may have refused a key.
const LOOKS_BETWEEN_TRIES: u32 = 30;
/// How long a start waits for values to be opened whose keys are with a KMS.
const OPEN_AT_START: Duration = Duration::from_secs(10);

/// Seals and opens values for the store.
pub(crate) struct StoreSealing {
    /// Knows the resource of a key.
    catalog: Arc<dyn Catalog>,
    /// Nothing until it is known whether the store can do without the seal key that is missing; nothing is written before.
    seals: OnceLock<Seals>,
    /// A value was met that is sealed, and nobody could open it.
    met_sealed: AtomicBool,
    metrics: Arc<Metrics>,
    /// Told when keys are others: values may have to be opened or written anew, and there may be a KMS where there was none.
    changed: watch::Sender<()>,
    /// Has seen nothing of that: what changes before [`StoreSealing::tend`] begins is not lost.
    unseen: watch::Receiver<()>,
}

impl StoreSealing {
    pub(super) fn new(catalog: Arc<dyn Catalog>, seals: Option<Seals>) -> Self {
        let decided = OnceLock::new();
        seals.into_iter().for_each(|seals| drop(decided.set(seals)));
        let metrics = Metrics::new(Arc::clone(&catalog));
        let (changed, unseen) = watch::channel(());
        Self { catalog, seals: decided, metrics, met_sealed: AtomicBool::new(false), changed, unseen }
    }

    /// What seals, once that is decided.
    pub(crate) fn seals(&self) -> Option<&Seals> {
        self.seals.get()
    }

    /// What is counted of it.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(super) fn decide(&self, seals: Seals) {
        // It is decided once, by the start.
        drop(self.seals.set(seals));
    }

    pub(super) fn has_met_sealed(&self) -> bool {
        self.met_sealed.load(Ordering::Relaxed)
    }

    /// Where the seal key is, if there is one.
    pub(crate) fn key_path(&self) -> Option<PathBuf> {
        Some(self.seals()?.key_file()?.path().to_owned())
    }

    pub(super) fn keys_changed(&self) {
        self.changed.send_replace(());
    }

    /// Whether all KMS are well, for readyz.
    pub(crate) fn is_ready(&self) -> bool {
        self.seals().is_none_or(|seals| seals.ready().is_ok())
    }

    /// Opens what the store could not open while it was read, since its keys are with a KMS.
    pub(crate) async fn open_at_start(&self, store: &dyn Engine) {
        if !self.has_met_sealed() {
            return;
        }
        match tokio::time::timeout(OPEN_AT_START, store.reopen()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(unopened)) => {
                tracing::error!(unopened, "stored values cannot be opened: asking for them is answered with 500")
            }
            Ok(Err(error)) => tracing::error!(%error, "stored values cannot be opened"),
            Err(_) => {
                tracing::error!("KMS providers do not answer in time: what is sealed under them cannot be opened yet")
            }
        }
    }

    /// Looks after the KMS, opens what could not be opened once they are back, and has values written anew when there are new keys,
    /// for as long as it is polled. `at_once` has that done at the start, too.
    pub(crate) async fn tend(self: Arc<Self>, store: Arc<dyn Engine>, at_once: bool) {
        let Some(seals) = self.seals() else { return };
        let (mut keys, kms) = (self.unseen.clone(), self.unseen.clone());
        if at_once {
            keys.mark_changed();
        }
        tokio::join!(seals.tend(), self.follow_keys(&*store, keys), self.follow_kms(&*store, seals, kms));
    }

    async fn follow_keys(&self, store: &dyn Engine, mut changed: watch::Receiver<()>) {
        // The other end is in `self`.
        while changed.changed().await.is_ok() {
            let unopened = store.reopen().await;
            match store.reseal().await {
                Ok(resealed) if resealed.rewritten > 0 || resealed.unopened > 0 => {
                    let (rewritten, not_opened) = (resealed.rewritten, resealed.unopened);
                    tracing::info!(rewritten, not_opened, "values were sealed anew");
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, ?unopened, "values were not sealed anew"),
            }
        }
    }

    async fn follow_kms(&self, store: &dyn Engine, seals: &Seals, mut changed: watch::Receiver<()>) {
        // As if it had not been well: a key may have been refused at the start.
        let mut looks_since = LOOKS_BETWEEN_TRIES;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            changed.mark_unchanged();
            let health = seals.kms_health();
            if health.is_empty() {
                // The other end is in `self`.
                let _ = changed.changed().await;
                continue;
            }
            let are_well = health.iter().all(|kms| kms.failure.is_none());
            looks_since = if are_well { looks_since + 1 } else { LOOKS_BETWEEN_TRIES };
            if !are_well || looks_since < LOOKS_BETWEEN_TRIES {
                continue;
            }
            looks_since = 0;
            match store.reopen().await {
                Ok(0) => {}
                Ok(unopened) => tracing::warn!(unopened, "values that are sealed under a KMS were not opened"),
                Err(error) => tracing::error!(%error, "values that are sealed under a KMS were not opened"),
            }
        }
    }

    /// The resource of a key, as an EncryptionConfiguration names it.
    fn resource(&self, key: &str) -> Resource<'_> {
        let name = self.catalog.ring_name(self.catalog.ring(key));
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        Resource { group, resource }
    }
}

impl Sealing for StoreSealing {
    fn seal(&self, key: &str, plain: &Bytes) -> Result<Bytes, Source> {
        let seals = self.seals().ok_or("it is not decided yet how values are sealed")?;
        match seals.seal(self.resource(key), key, plain) {
            Ok(kept) => {
                self.metrics.sealed(key, &kept);
                Ok(kept)
            }
            Err(error) => {
                self.metrics.not_sealed(key, &error);
                Err(error.into())
            }
        }
    }

    fn open(&self, key: &str, kept: &Bytes) -> Result<Opened, Source> {
        let opened = match self.seals() {
            Some(seals) => seals.open(self.resource(key), key, kept),
            None if kept.starts_with(SEALED_PREFIX) => Err(OpenError::NoProvider),
            None => return Ok(Opened { plain: kept.clone(), is_stale: false }),
        };
        match opened {
            Ok(portcullis_seal::Opened { plain, is_stale }) => {
                self.metrics.opened(key, kept, is_stale);
                Ok(Opened { plain, is_stale })
            }
            Err(error) => {
                self.metrics.not_opened(key, kept, &error);
                self.met_sealed.store(true, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    fn fetch<'a>(&'a self, key: &'a str, kept: &'a Bytes) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(seals) = self.seals() else { return false };
            let resource = self.resource(key);
            let Err(OpenError::KeyNotHere { provider }) = seals.open(resource, key, kept) else { return false };
            // One that is known not to be well is not waited for.
            let is_well = |kms: &portcullis_seal::KmsHealth| kms.name == provider && kms.failure.is_none();
            if !seals.kms_health().iter().any(is_well) {
                return false;
            }
            let fetched = seals.open_fetching(resource, key, kept).await;
            fetched.inspect_err(|error| self.metrics.not_opened(key, kept, error)).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_apiserver::registry::Registry;
    use portcullis_seal::{EncryptionConfiguration, KeyFile, Missing};

    use super::*;

    fn sealing(seals: Option<Seals>) -> StoreSealing {
        let catalog = portcullis_apiserver::Catalog::new(Arc::new(Registry::new()));
        StoreSealing::new(Arc::new(catalog), seals)
    }

    /// Keys have the names of an EncryptionConfiguration, also where upstream stores them under another name.
    #[test]
    fn resources_of_keys() {
        let sealing = sealing(None);
        let check = |key: &str, group: &str, resource: &str| {
            assert_eq!(sealing.resource(key), Resource { group, resource }, "{key}");
        };
        check("/registry/secrets/default/a", "", "secrets");
        check("/registry/configmaps/default/a", "", "configmaps");
        check("/registry/minions/a", "", "nodes");
        check("/registry/services/endpoints/default/a", "", "endpoints");
        check("/registry/services/specs/default/a", "", "services");
        check("/registry/events/default/a", "", "events");
        check("/registry/deployments/default/a", "apps", "deployments");
        check("/registry/leases/default/a", "coordination.k8s.io", "leases");
        check("/registry/ingress/default/a", "networking.k8s.io", "ingresses");
    }

    #[test]
    fn a17_secrets_are_sealed_by_default_and_for_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::open(&directory.path().join("keys/seal-key"), None, Missing::Create).unwrap();
        let sealing = sealing(Some(Seals::by_default(Arc::new(file))));
        let plain = Bytes::from_static(b"{\"password\":1}");
        let kept = sealing.seal("/registry/secrets/default/a", &plain).unwrap();
        assert!(kept.starts_with(b"k8s:enc:aesgcm:v1:seal-"));
        let opened = sealing.open("/registry/secrets/default/a", &kept).unwrap();
        assert!(opened.plain == plain && !opened.is_stale);
        assert!(sealing.open("/registry/secrets/default/b", &kept).is_err());
        // From before there was sealing.
        assert!(sealing.open("/registry/secrets/default/a", &plain).unwrap().is_stale);
        assert_eq!(sealing.seal("/registry/configmaps/default/a", &plain).unwrap(), plain);
    }

    #[test]
    fn before_it_is_decided_nothing_is_written_and_what_is_sealed_is_noticed() {
        let sealing = sealing(None);
        let plain = Bytes::from_static(b"{}");
        let key = "/registry/secrets/default/a";
        assert!(sealing.seal(key, &plain).is_err());
        assert!(sealing.open(key, &plain).unwrap().plain == plain && !sealing.has_met_sealed());
        assert!(sealing.open(key, &Bytes::from_static(b"k8s:enc:aesgcm:v1:seal-1:x")).is_err());
        assert!(sealing.has_met_sealed());
    }

    #[test]
    fn the_configuration_names_resources_as_upstream_does() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
            - resources: [leases.coordination.k8s.io, '*.apps', events]\n  providers:\n  - secretbox:\n      keys:\n\
            \x20     - {name: k, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}\n  - identity: {}\n";
        let configuration = EncryptionConfiguration::parse(text.as_bytes()).unwrap();
        let sealing = sealing(Some(Seals::configured(&configuration, None).unwrap()));
        let check = |key: &str, is_sealed: bool| {
            let kept = sealing.seal(key, &Bytes::from_static(b"{}")).unwrap();
            assert_eq!(kept.starts_with(b"k8s:enc:secretbox:v1:k:"), is_sealed, "{key}");
        };
        check("/registry/leases/default/a", true);
        check("/registry/deployments/default/a", true);
        check("/registry/controllerrevisions/default/a", true);
        check("/registry/events/default/a", true);
        check("/registry/secrets/default/a", false);
    }
}
