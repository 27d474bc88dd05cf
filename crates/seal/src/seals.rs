//! Which providers a resource has, and the two operations. What is in force is one value, swapped while it is in use: a value that
//! is being sealed is sealed by the old configuration or by the new one, never by half of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::chain::{Chain, Keys, NamedKey, Provider};
use crate::cipher::{AesCbc, AesGcm, Cipher, Secretbox};
use crate::configuration::{Algorithm, EncryptionConfiguration, KeySetting, ProviderSetting, Rule};
use crate::kms::{Kms, KmsHealth, KmsObserver, Observer};
use crate::{ConfigurationError, KeyFile, OpenError, SealError};

/// What is sealed when nobody says otherwise, of the core group.
pub const DEFAULT_RESOURCES: [&str; 1] = ["secrets"];
/// How often a value's key is fetched before it must open: between fetch and use a key may have made room for others.
const FETCHES_MAX: usize = 3;
/// How long a new configuration may take until all its KMS have said that they are well.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A resource as it is stored: of `events.k8s.io` those are `events` of the core group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its API group; empty for the core group.
    pub group: &'a str,
    /// Its name, in the plural.
    pub resource: &'a str,
}

/// A value that was opened.
#[derive(Clone)]
pub struct Opened {
    /// What was sealed.
    pub plain: Bytes,
    /// It was written under another provider or key than the one that would seal it now: writing it again seals it anew.
    pub is_stale: bool,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} bytes, is_stale: {})", self.plain.len(), self.is_stale)
    }
}

/// Why a new configuration is not taken. What was in force still is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It is no configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A KMS of it can not be spoken to at all.
    #[error("the socket of KMS provider {provider:?} can not be used")]
    Socket {
        /// Its name.
        provider: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// A new KMS of it is not well, so what is in force stays, as upstream's does.
    #[error("KMS provider {provider:?} is not well: {reason}")]
    Unwell {
        /// Its name.
        provider: String,
        /// Why.
        reason: String,
    },
}

/// What a reload led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealsChange {
    /// The configuration says what the last one said.
    Unchanged,
    /// These rules have other providers now, in the order of their names.
    Replaced(Vec<ChangedResource>),
}

/// A rule whose providers changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedResource {
    /// As it stands in the file: `secrets`, `*.apps`.
    pub rule: String,
    /// Whether something else seals now, so that what is stored should be written again.
    pub writes_change: bool,
}

/// What seals and opens. Shared; everything can be called from many threads.
pub struct Seals {
    live: ArcSwap<Rules>,
    key_file: Option<Arc<KeyFile>>,
    /// One reload at a time. Nobody who seals or opens waits for it.
    reloading: tokio::sync::Mutex<()>,
    /// Told when there are other KMS to look after.
    replaced: Notify,
    observer: Observer,
}

impl Seals {
    /// Seals what should not be readable ([`DEFAULT_RESOURCES`]) under the key file, and still reads what was not sealed.
    pub fn by_default(key_file: Arc<KeyFile>) -> Self {
        let provider = Arc::new(Provider::KeyFile(Arc::clone(&key_file)));
        let chain = Arc::new(Chain::new(vec![provider, Arc::new(Provider::Identity)]));
        let mut rules = Rules::new(Some(&key_file));
        for resource in DEFAULT_RESOURCES {
            let rule = Rule { group: String::new(), resource: resource.to_owned() };
            rules.insert(rule, Arc::clone(&chain), Shape::default());
        }
        Self::of(rules, Some(key_file))
    }

    /// Seals nothing. What a key file sealed is still opened.
    pub fn none(key_file: Option<Arc<KeyFile>>) -> Self {
        Self::of(Rules::new(key_file.as_ref()), key_file)
    }

    /// Seals as a configuration says. What the key file sealed before there was one is still opened. KMS are not asked yet. Needs
    /// a running runtime.
    ///
    /// # Errors
    /// A KMS has a socket that can not be used.
    pub fn configured(
        configuration: &EncryptionConfiguration,
        key_file: Option<Arc<KeyFile>>,
    ) -> Result<Self, ReloadError> {
        let observer = Observer::default();
        let rules = Rules::compile(configuration, key_file.as_ref(), &[], &observer)?;
        Ok(Self { observer, ..Self::of(rules, key_file) })
    }

    fn of(rules: Rules, key_file: Option<Arc<KeyFile>>) -> Self {
        Self {
            live: ArcSwap::from_pointee(rules),
            key_file,
            reloading: tokio::sync::Mutex::default(),
            replaced: Notify::new(),
            observer: Observer::default(),
        }
    }

    /// Has somebody told of the calls of all KMS, also of those that come with other configurations. The first one stays.
    pub fn observe_kms(&self, observer: Arc<dyn KmsObserver>) {
        drop(self.observer.set(observer));
    }

    /// The key file, if there is one.
    pub fn key_file(&self) -> Option<&Arc<KeyFile>> {
        self.key_file.as_ref()
    }

    /// Whether anything is sealed under the key file, and not only opened.
    pub fn writes_under_key_file(&self) -> bool {
        let resources = DEFAULT_RESOURCES.into_iter();
        let live = self.live.load();
        resources
            .map(|resource| Resource { group: "", resource })
            .any(|resource| live.chain(resource).seals_under_key_file())
    }

    /// Whether what is written of a resource is sealed.
    pub fn is_sealed(&self, resource: Resource<'_>) -> bool {
        self.live.load().chain(resource).seals()
    }

    /// Returns what is to be stored under this key path. Does not wait, but for a sync of the key file in 65,536 values.
    ///
    /// # Errors
    /// It can not be sealed now. It must not be stored then.
    pub fn seal(&self, resource: Resource<'_>, key_path: &str, plain: &Bytes) -> Result<Bytes, SealError> {
        self.live.load().chain(resource).seal(key_path.as_bytes(), plain)
    }

    /// Returns what was stored under this key path. Does not wait.
    ///
    /// # Errors
    /// It is not what was stored there, or its key is not here.
    pub fn open(&self, resource: Resource<'_>, key_path: &str, stored: &Bytes) -> Result<Opened, OpenError> {
        let (plain, is_stale) = self.live.load().chain(resource).open(key_path.as_bytes(), stored)?;
        Ok(Opened { plain, is_stale })
    }

    /// Returns what was stored under this key path, and asks its KMS for the key if that is not here.
    ///
    /// # Errors
    /// It is not what was stored there, or the KMS did not give its key.
    pub async fn open_fetching(
        &self,
        resource: Resource<'_>,
        key_path: &str,
        stored: &Bytes,
    ) -> Result<Opened, OpenError> {
        for _ in 0..FETCHES_MAX {
            match self.open(resource, key_path, stored) {
                Err(OpenError::KeyNotHere { .. }) => {}
                opened => return opened,
            }
            let chain = self.live.load().chain(resource);
            if let Some((kms, envelope)) = chain.kms_of(stored) {
                kms.fetch(envelope).await?;
            }
        }
        self.open(resource, key_path, stored)
    }

    /// Takes another configuration, if it can be used and its new KMS are well. KMS that are in both keep their keys.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn reload(&self, configuration: &EncryptionConfiguration) -> Result<SealsChange, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let before = self.live.load_full();
        let rules = Rules::compile(configuration, self.key_file.as_ref(), &before.kms, &self.observer)?;
        let changed = rules.changes_since(&before);
        if changed.is_empty() {
            return Ok(SealsChange::Unchanged);
        }
        let known = |kms: &Arc<Kms>| before.kms.iter().any(|known| Arc::ptr_eq(known, kms));
        let new: Vec<_> = rules.kms.iter().filter(|kms| !known(kms)).cloned().collect();
        if tokio::time::timeout(RELOAD_TIMEOUT, check_all(&new)).await.is_err() {
            tracing::warn!("KMS providers of a new encryption configuration did not answer in time");
        }
        for kms in &new {
            if let Some(failure) = kms.health().failure {
                return Err(ReloadError::Unwell { provider: kms.name().to_owned(), reason: failure.to_string() });
            }
        }
        self.live.store(Arc::new(rules));
        self.replaced.notify_one();
        Ok(SealsChange::Replaced(changed))
    }

    /// Asks every KMS for its status once. At the start of a server this lets most values open at once.
    pub async fn check_kms(&self) -> Vec<KmsHealth> {
        let rules = self.live.load_full();
        check_all(&rules.kms).await;
        self.kms_health()
    }

    /// How each KMS is, by what is known of it.
    pub fn kms_health(&self) -> Vec<KmsHealth> {
        self.live.load().kms.iter().map(|kms| kms.health()).collect()
    }

    /// Whether readyz may be well, with upstream's words when it may not.
    ///
    /// # Errors
    /// Which KMS are not well.
    pub fn ready(&self) -> Result<(), String> {
        let unwell = |health: KmsHealth| {
            let failure = health.failure?;
            Some(format!("kmsv2 Provider {} is not healthy, error: {failure}", health.name))
        };
        let unwell: Vec<String> = self.kms_health().into_iter().filter_map(unwell).collect();
        if unwell.is_empty() { Ok(()) } else { Err(portcullis_model::status::aggregate(&unwell)) }
    }

    /// Looks after the KMS for as long as it is polled. One task of the program does.
    pub async fn tend(&self) {
        loop {
            let replaced = self.replaced.notified();
            let rules = self.live.load_full();
            // Dropping the set ends its tasks.
            let mut tended = JoinSet::new();
            for kms in &rules.kms {
                let kms = Arc::clone(kms);
                tended.spawn(async move { kms.tend().await });
            }
            drop(rules);
            replaced.await;
        }
    }
}

async fn check_all(all: &[Arc<Kms>]) {
    let mut checks = JoinSet::new();
    for kms in all {
        let kms = Arc::clone(kms);
        checks.spawn(async move { kms.check().await.ok() });
    }
    while checks.join_next().await.is_some() {}
}

/// The configuration, compiled.
struct Rules {
    /// By group, then by resource; a wildcard is `*`.
    chains: HashMap<String, HashMap<String, Arc<Chain>>>,
    /// For what no rule names: nothing is sealed, and what the key file sealed is opened.
    fallback: Arc<Chain>,
    kms: Vec<Arc<Kms>>,
    /// What the providers of each rule are, to find what a reload changed.
    shapes: BTreeMap<Rule, Shape>,
}

/// What the providers of a rule are, without their keys.
#[derive(Default, PartialEq, Eq)]
struct Shape {
    providers: Vec<Fingerprint>,
    /// The provider and the one key that seal.
    writer: Option<Fingerprint>,
}

impl Shape {
    fn add(&mut self, setting: &ProviderSetting) {
        self.providers.push(fingerprint(setting, usize::MAX));
        self.writer.get_or_insert_with(|| fingerprint(setting, 1));
    }
}

/// What a provider is, as a digest.
type Fingerprint = [u8; digest::SHA256_OUTPUT_LEN];

impl Rules {
    fn new(key_file: Option<&Arc<KeyFile>>) -> Self {
        let identity = Arc::new(Provider::Identity);
        let fallback = std::iter::once(identity).chain(key_file.map(of_key_file)).collect();
        Self {
            chains: HashMap::new(),
            fallback: Arc::new(Chain::new(fallback)),
            kms: Vec::new(),
            shapes: BTreeMap::new(),
        }
    }

    fn compile(
        configuration: &EncryptionConfiguration,
        key_file: Option<&Arc<KeyFile>>,
        known: &[Arc<Kms>],
        observer: &Observer,
    ) -> Result<Self, ReloadError> {
        let mut rules = Self::new(key_file);
        // A resource that has its own rule twice has the providers of both.
        let mut by_rule: BTreeMap<&Rule, Vec<Arc<Provider>>> = BTreeMap::new();
        let mut shapes: BTreeMap<&Rule, Shape> = BTreeMap::new();
        for entry in &configuration.entries {
            let mut providers = Vec::new();
            for setting in &entry.providers {
                providers.push(Arc::new(rules.provider(setting, known, observer)?));
            }
            for rule in &entry.resources {
                by_rule.entry(rule).or_default().extend(providers.iter().cloned());
                let shape = shapes.entry(rule).or_default();
                entry.providers.iter().for_each(|setting| shape.add(setting));
            }
        }
        for (rule, mut providers) in by_rule {
            providers.extend(key_file.map(of_key_file));
            let shape = shapes.remove(rule).unwrap_or_default();
            rules.insert(rule.clone(), Arc::new(Chain::new(providers)), shape);
        }
        Ok(rules)
    }

    fn insert(&mut self, rule: Rule, chain: Arc<Chain>, shape: Shape) {
        self.chains.entry(rule.group.clone()).or_default().insert(rule.resource.clone(), chain);
        self.shapes.insert(rule, shape);
    }

    fn provider(
        &mut self,
        setting: &ProviderSetting,
        known: &[Arc<Kms>],
        observer: &Observer,
    ) -> Result<Provider, ReloadError> {
        match setting {
            ProviderSetting::Identity => Ok(Provider::Identity),
            ProviderSetting::Keys(algorithm, keys) => Ok(Provider::Keys(keys_of(*algorithm, keys))),
            ProviderSetting::Kms(settings) => {
                let kms = match known.iter().find(|kms| kms.settings() == settings) {
                    Some(kms) => Arc::clone(kms),
                    None => Arc::new(
                        Kms::new(settings.clone(), Arc::clone(observer))
                            .map_err(|source| ReloadError::Socket { provider: settings.name.clone(), source })?,
                    ),
                };
                self.kms.push(Arc::clone(&kms));
                Ok(Provider::Kms(kms))
            }
        }
    }

    /// The resource's own rule, its group's, that for everything: what says most.
    fn chain(&self, resource: Resource<'_>) -> Arc<Chain> {
        let find = |group: &str, resource: &str| self.chains.get(group)?.get(resource);
        let found =
            find(resource.group, resource.resource).or_else(|| find(resource.group, "*")).or_else(|| find("*", "*"));
        Arc::clone(found.unwrap_or(&self.fallback))
    }

    fn changes_since(&self, before: &Rules) -> Vec<ChangedResource> {
        let names: BTreeSet<&Rule> = self.shapes.keys().chain(before.shapes.keys()).collect();
        let mut changed = Vec::new();
        for rule in names {
            let (old, new) = (before.shapes.get(rule), self.shapes.get(rule));
            if old != new {
                let writes_change = old.map(|old| &old.writer) != new.map(|new| &new.writer);
                changed.push(ChangedResource { rule: rule.to_string(), writes_change });
            }
        }
        changed
    }
}

fn of_key_file(key_file: &Arc<KeyFile>) -> Arc<Provider> {
    Arc::new(Provider::KeyFile(Arc::clone(key_file)))
}

fn keys_of(algorithm: Algorithm, keys: &[KeySetting]) -> Keys {
    let (word, prefix) = match algorithm {
        Algorithm::AesGcm => ("AES", "k8s:enc:aesgcm:v1:"),
        Algorithm::AesCbc => ("AES", "k8s:enc:aescbc:v1:"),
        Algorithm::Secretbox => ("Secretbox", "k8s:enc:secretbox:v1:"),
    };
    let cipher = |key: &[u8]| match algorithm {
        Algorithm::AesGcm => AesGcm::new(key).map(Cipher::AesGcm),
        Algorithm::AesCbc => AesCbc::new(key).map(|cipher| Cipher::AesCbc(Box::new(cipher))),
        Algorithm::Secretbox => Secretbox::new(key).map(Cipher::Secretbox),
    };
    // Lengths were looked at when the file was read.
    let named = |key: &KeySetting| Some(NamedKey { name: key.name.clone(), cipher: cipher(&key.secret)? });
    Keys { word, prefix, keys: keys.iter().map(named).collect::<Option<_>>().unwrap_or_default() }
}

/// What a provider is, of its keys only so many: kind, names and keys as a digest, so that keys are not kept for it.
fn fingerprint(setting: &ProviderSetting, keys_max: usize) -> Fingerprint {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    match setting {
        ProviderSetting::Identity => part(b"identity"),
        ProviderSetting::Kms(settings) => {
            part(b"kms");
            part(settings.name.as_bytes());
            part(settings.socket.as_bytes());
            part(&settings.timeout.as_nanos().to_be_bytes());
        }
        ProviderSetting::Keys(algorithm, keys) => {
            part(algorithm.name().as_bytes());
            for key in keys.iter().take(keys_max) {
                part(key.name.as_bytes());
                part(&key.secret);
            }
        }
    }
    let mut fingerprint = [0; digest::SHA256_OUTPUT_LEN];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    fingerprint
}

#[cfg(test)]
mod tests;
