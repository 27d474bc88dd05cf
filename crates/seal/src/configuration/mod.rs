//! EncryptionConfiguration of `apiserver.config.k8s.io/v1`: which resources are sealed, by which providers.
//!
//! A file is read strictly and checked as a whole, with upstream's paths and words.

mod validation;

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::status::{FieldError, aggregate};
use portcullis_model::strict::{Document, Fields, Nanoseconds, StrictError};

use crate::kms::KmsSettings;
use crate::secret::Secret;

/// The API group of the file.
const GROUP: &str = "apiserver.config.k8s.io";
const VERSIONS: [&str; 1] = ["v1"];
const KIND: &str = "EncryptionConfiguration";
/// Upstream's defaults of a KMS.
const KMS_TIMEOUT: Nanoseconds = Nanoseconds(3_000_000_000);
const KMS_VERSION: &str = "v1";
/// Letters of a word that is repeated in an error: the shortest key has 22 in base64.
const WORD_LEN_MAX: usize = 20;
/// Upstream's word for the resources of the core group, in messages.
const CORE_WILDCARD: &str = "*.";

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is no such object, or has a field that there is not. What of its text could be a key is left out.
    #[error("{0}")]
    Strict(String),
    /// Values of it are not right.
    #[error("{}", aggregate(.0))]
    Invalid(Vec<FieldError>),
    /// An earlier wildcard has the resource already.
    #[error("resource {resource:?} is masked by earlier rule {rule:?}")]
    Masked {
        /// The resource.
        resource: String,
        /// The rule.
        rule: String,
    },
    /// A provider that there is not any more.
    #[error(
        "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead: it is the only one here"
    )]
    KmsV1,
}

/// Which resources are sealed, by which providers. It holds keys: no Debug.
#[derive(Clone)]
pub struct EncryptionConfiguration {
    pub(crate) entries: Vec<Entry>,
}

/// Resources, and the providers that all of them have.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) resources: Vec<Rule>,
    pub(crate) providers: Vec<ProviderSetting>,
}

/// A resource, or a wildcard: `*` in both is all there is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rule {
    pub(crate) group: String,
    pub(crate) resource: String,
}

impl Rule {
    /// Reads `secrets`, `deployments.apps`, `*.`, `*.apps`, `*.*`.
    fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Rule { group: group.to_owned(), resource: resource.to_owned() }
    }

    fn wildcard(group: &str) -> Self {
        Rule { group: group.to_owned(), resource: "*".to_owned() }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.resource.as_str(), self.group.as_str()) {
            ("*", "") => f.write_str(CORE_WILDCARD),
            (resource, "") => f.write_str(resource),
            (resource, group) => write!(f, "{resource}.{group}"),
        }
    }
}

/// A provider, with its keys.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ProviderSetting {
    Keys(Algorithm, Vec<KeySetting>),
    Kms(KmsSettings),
    Identity,
}

/// The algorithms whose keys stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Algorithm {
    /// Its field, and its part of the prefix.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::AesGcm => "aesgcm",
            Algorithm::AesCbc => "aescbc",
            Algorithm::Secretbox => "secretbox",
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeySetting {
    pub(crate) name: String,
    pub(crate) secret: Secret<Vec<u8>>,
}

/// The file as it is written.
struct Written {
    resources: Vec<WrittenEntry>,
}

struct WrittenEntry {
    resources: Vec<String>,
    providers: Vec<WrittenProvider>,
}

struct WrittenProvider {
    /// In the order in which upstream looks at them.
    kms: Option<WrittenKms>,
    aesgcm: Option<Vec<WrittenKey>>,
    aescbc: Option<Vec<WrittenKey>>,
    secretbox: Option<Vec<WrittenKey>>,
    identity: bool,
}

struct WrittenKey {
    name: String,
    secret: Secret<String>,
}

struct WrittenKms {
    version: String,
    name: String,
    cache_size: Option<i64>,
    endpoint: String,
    timeout: Nanoseconds,
}

impl EncryptionConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigurationError> {
        let document = Document::parse(text).map_err(unreadable)?;
        document.expect(GROUP, &VERSIONS, KIND).map_err(unreadable)?;
        let read = document.read(|fields| Written { resources: fields.objects("resources", WrittenEntry::read) });
        let written = read.map_err(unreadable)?;
        let errors = validation::errors(&written);
        if !errors.is_empty() {
            return Err(ConfigurationError::Invalid(errors));
        }
        let entries = written.resources.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
        refuse_masked(&entries)?;
        Ok(Self { entries })
    }

    /// Returns what an operator should know, in the order of the file.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for entry in &self.entries {
            let names = || entry.resources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            match entry.providers.first() {
                Some(ProviderSetting::Identity) => warnings.push(Warning::NotSealed(names())),
                Some(ProviderSetting::Keys(Algorithm::AesCbc, _)) => warnings.push(Warning::NotAuthenticated(names())),
                Some(ProviderSetting::Keys(Algorithm::Secretbox, _)) => warnings.push(Warning::NotBound(names())),
                Some(ProviderSetting::Keys(Algorithm::AesGcm, _)) => warnings.push(Warning::NotCounted(names())),
                Some(ProviderSetting::Kms(settings)) if settings.socket.starts_with('@') => {
                    warnings.push(Warning::AbstractSocket(settings.name.clone()));
                }
                Some(ProviderSetting::Kms(_)) | None => {}
            }
        }
        warnings
    }
}

/// What an operator should know of a configuration that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The first provider is identity.
    #[error("{0}: identity is the first provider, so what is written is not sealed")]
    NotSealed(String),
    /// The first provider is aescbc.
    #[error(
        "{0}: aescbc neither notices a change nor binds a value to its key path, so who can write to the store can change and move \
         what it can not read: use aesgcm, KMS v2 or the seal key"
    )]
    NotAuthenticated(String),
    /// The first provider is secretbox.
    #[error(
        "{0}: secretbox does not bind a value to its key path, so who can write to the store can move what it can not read: use \
         aesgcm, KMS v2 or the seal key"
    )]
    NotBound(String),
    /// The first provider is aesgcm with keys of the file.
    #[error(
        "{0}: nobody counts what an aesgcm key of a configuration seals, so give it a successor before 2^32 writes"
    )]
    NotCounted(String),
    /// A socket without a file.
    #[error("KMS provider {0:?} has an abstract socket: any process of the host can take its name")]
    AbstractSocket(String),
}

impl WrittenEntry {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { resources: fields.strings("resources"), providers: fields.objects("providers", WrittenProvider::read) }
    }
}

impl WrittenProvider {
    fn read(fields: &mut Fields<'_>) -> Self {
        let mut keys = |name| fields.object(name, |provider| provider.objects("keys", WrittenKey::read));
        let (aesgcm, aescbc, secretbox) = (keys("aesgcm"), keys("aescbc"), keys("secretbox"));
        let identity = fields.object("identity", |_| ()).is_some();
        Self { kms: fields.object("kms", WrittenKms::read), aesgcm, aescbc, secretbox, identity }
    }
}

impl WrittenKey {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { name: fields.string("name"), secret: Secret::new(fields.string("secret")) }
    }
}

impl WrittenKms {
    fn read(fields: &mut Fields<'_>) -> Self {
        let version = fields.string("apiVersion");
        Self {
            version: if version.is_empty() { KMS_VERSION.to_owned() } else { version },
            name: fields.string("name"),
            cache_size: fields.integer("cachesize"),
            endpoint: fields.string("endpoint"),
            timeout: if fields.has("timeout") { fields.duration("timeout") } else { KMS_TIMEOUT },
        }
    }
}

impl Entry {
    /// Takes what was found right.
    fn of(written: &WrittenEntry) -> Result<Self, ConfigurationError> {
        let resources = written.resources.iter().map(|text| Rule::parse(text)).collect();
        let providers = written.providers.iter().map(setting).collect::<Result<_, _>>()?;
        Ok(Self { resources, providers })
    }
}

fn setting(written: &WrittenProvider) -> Result<ProviderSetting, ConfigurationError> {
    if let Some(kms) = &written.kms {
        if kms.version == KMS_VERSION {
            return Err(ConfigurationError::KmsV1);
        }
        let socket = validation::socket_of(&kms.endpoint).unwrap_or_default();
        return Ok(ProviderSetting::Kms(KmsSettings { name: kms.name.clone(), socket, timeout: kms.timeout.into() }));
    }
    let by_algorithm = [
        (Algorithm::AesGcm, &written.aesgcm),
        (Algorithm::AesCbc, &written.aescbc),
        (Algorithm::Secretbox, &written.secretbox),
    ];
    for (algorithm, keys) in by_algorithm {
        if let Some(keys) = keys {
            let key = |key: &WrittenKey| KeySetting {
                name: key.name.clone(),
                secret: Secret::new(STANDARD.decode(&*key.secret).unwrap_or_default()),
            };
            return Ok(ProviderSetting::Keys(algorithm, keys.iter().map(key).collect()));
        }
    }
    Ok(ProviderSetting::Identity)
}

/// What is wrong with a text that is not understood, which quotes it: a key may stand where a field should, for want of a colon.
fn unreadable(error: StrictError) -> ConfigurationError {
    let is_of_key = |letter: char| letter.is_ascii_alphanumeric() || "+/=-_".contains(letter);
    let text = error.to_string();
    let mut said = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let word = rest.find(|letter| !is_of_key(letter)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(word);
        said.push_str(if word.len() < WORD_LEN_MAX || word == KIND { word } else { validation::REDACTED });
        let other = behind.find(is_of_key).unwrap_or(behind.len());
        let (other, behind) = behind.split_at(other);
        said.push_str(other);
        rest = behind;
    }
    ConfigurationError::Strict(said)
}

/// A rule that an earlier wildcard hides is a mistake, and not the smaller of two rules.
fn refuse_masked(entries: &[Entry]) -> Result<(), ConfigurationError> {
    let mut seen: BTreeSet<&Rule> = BTreeSet::new();
    for rule in entries.iter().flat_map(|entry| &entry.resources) {
        for wildcard in [Rule::wildcard(&rule.group), Rule::wildcard("*")] {
            if seen.contains(&wildcard) {
                return Err(ConfigurationError::Masked { resource: rule.to_string(), rule: wildcard.to_string() });
            }
        }
        seen.insert(rule);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
