//! The kubeconfig file format: whom to ask, how to know them, and as whom (upstream: `client-go` clientcmd, v1 `Config`). Webhook
//! configurations of authentication and authorisation are written in it, and so is what kubectl uses.
//!
//! Read: clusters, users, contexts, current-context, and of them what a verified HTTPS connection needs. What would run a
//! program, load a plugin, or send the traffic through somebody else is an error that names the field. The rest is ignored, as
//! upstream ignores what it does not know.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::yaml::{self, YamlError};
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::credential::Credential;
use crate::tls::{ClientCertificate, Trust};

/// Longest kubeconfig, and longest file that one names, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Fields of a user that are refused, and why.
const REFUSED_OF_USER: [(&str, &str); 6] = [
    ("exec", "no program is run for credentials: use a client certificate or tokenFile"),
    ("auth-provider", "plugins do not exist: use a client certificate or tokenFile"),
    ("as", "nobody is impersonated: use that user's own credentials"),
    ("as-uid", "nobody is impersonated: use that user's own credentials"),
    ("as-groups", "nobody is impersonated: use that user's own credentials"),
    ("as-user-extra", "nobody is impersonated: use that user's own credentials"),
];

/// Why a kubeconfig can not be used. No text holds a secret.
#[derive(Debug, Error)]
pub enum KubeconfigError {
    /// A file can not be read.
    #[error("{field} {} can not be read: {cause}", path.display())]
    FileUnreadable {
        /// What names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file is too long.
    #[error("{field} {} is longer than {FILE_BYTES_MAX} bytes", path.display())]
    FileTooLong {
        /// What names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The text is no YAML.
    #[error("kubeconfig is not YAML: {0}")]
    NotYaml(YamlError),
    /// The text is no object, or too deep.
    #[error("kubeconfig is not a {expected}")]
    NotConfig {
        /// What it should be.
        expected: &'static str,
    },
    /// A field has the wrong type.
    #[error("{field} of the kubeconfig must be {expected}")]
    WrongType {
        /// The field.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A field is needed.
    #[error("{field} of the kubeconfig is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// A name has nothing behind it.
    #[error("the kubeconfig names the {sort} \"{name}\", but has none of that name")]
    NameUnknown {
        /// What is named.
        sort: &'static str,
        /// The name.
        name: String,
    },
    /// A field asks for what is not done here.
    #[error("{field} of the kubeconfig is not supported: {instead}")]
    Unsupported {
        /// The field.
        field: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// Two fields contradict each other.
    #[error("{one} and {other} of the kubeconfig exclude each other: remove one")]
    Contradiction {
        /// A field.
        one: &'static str,
        /// Another one.
        other: &'static str,
    },
    /// A field is no base64.
    #[error("{field} of the kubeconfig is not base64")]
    NotBase64 {
        /// The field.
        field: String,
    },
}

/// Whom to ask, how to know them, and as whom. Secrets in it are never printed, and wiped when it is dropped.
#[derive(Clone, Debug)]
pub struct Access {
    /// `https://host:port/path`.
    pub server: String,
    /// The name that the server's certificate must have, when it is not the host's.
    pub server_name: Option<String>,
    /// Who vouches for the server.
    pub trust: Trust,
    /// The certificate that we show.
    pub client_certificate: Option<ClientCertificate>,
    /// The credential that we send.
    pub credential: Credential,
    /// The namespace of the context.
    pub namespace: Option<String>,
}

impl Access {
    /// Asks a server as nobody.
    pub fn anonymous(server: &str, trust: Trust) -> Self {
        Self {
            server: server.to_owned(),
            server_name: None,
            trust,
            client_certificate: None,
            credential: Credential::None,
            namespace: None,
        }
    }

    /// Reads what a file's current context says.
    ///
    /// # Errors
    /// The file, or a file it names, can not be used.
    pub fn from_file(path: &Path) -> Result<Self, KubeconfigError> {
        Kubeconfig::load(path)?.access(None)
    }
}

/// A kubeconfig that was read. Its texts are wiped when it is dropped.
pub struct Kubeconfig {
    config: Map<String, Value>,
    /// Where relative paths begin.
    folder: PathBuf,
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let mut left: Vec<Value> = std::mem::take(&mut self.config).into_iter().map(|(_, value)| value).collect();
        while let Some(value) = left.pop() {
            match value {
                Value::String(mut text) => text.zeroize(),
                Value::Array(items) => left.extend(items),
                Value::Object(fields) => left.extend(fields.into_iter().map(|(_, value)| value)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
}

impl Kubeconfig {
    /// Reads a file.
    ///
    /// # Errors
    /// It can not be read, or is no kubeconfig.
    pub fn load(path: &Path) -> Result<Self, KubeconfigError> {
        let text = file("kubeconfig", path)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a text, whose relative paths begin in `folder`.
    ///
    /// # Errors
    /// It is no kubeconfig.
    pub fn parse(text: &[u8], folder: &Path) -> Result<Self, KubeconfigError> {
        let json = Zeroizing::new(yaml::to_json(text).map_err(KubeconfigError::NotYaml)?.json);
        let Ok(Value::Object(config)) = serde_json::from_slice(&json) else {
            return Err(KubeconfigError::NotConfig { expected: "YAML object" });
        };
        let read = Self { config, folder: folder.to_owned() };
        for (field, expected) in [("kind", "Config"), ("apiVersion", "v1")] {
            if text_of(&read.config, "", field)?.is_some_and(|found| found != expected) {
                return Err(KubeconfigError::NotConfig { expected: "v1 Config" });
            }
        }
        Ok(read)
    }

    /// Returns what a context says: the current one, unless another is named.
    ///
    /// # Errors
    /// Something is missing, contradictory or not supported.
    pub fn access(&self, context: Option<&str>) -> Result<Access, KubeconfigError> {
        let missing = |field: &str| KubeconfigError::Missing { field: field.to_owned() };
        let current = match context {
            Some(context) => context,
            None => text_of(&self.config, "", "current-context")?.ok_or_else(|| missing("current-context"))?,
        };
        let context = self.named("contexts", "context", current)?;
        let cluster = text_of(context, "contexts[].context.", "cluster")?;
        let cluster = cluster.ok_or_else(|| missing("contexts[].context.cluster"))?;
        let cluster = self.named("clusters", "cluster", cluster)?;
        let none = Map::new();
        let user = match text_of(context, "contexts[].context.", "user")? {
            Some(user) => self.named("users", "user", user)?,
            None => &none,
        };
        let in_cluster = "clusters[].cluster.";
        if text_of(cluster, in_cluster, "proxy-url")?.is_some() {
            let field = format!("{in_cluster}proxy-url");
            let instead = "the address that was checked is the address that is dialled, so there can be no proxy";
            return Err(KubeconfigError::Unsupported { field, instead });
        }
        let server = text_of(cluster, in_cluster, "server")?.ok_or_else(|| missing("clusters[].cluster.server"))?;
        Ok(Access {
            server: server.to_owned(),
            server_name: text_of(cluster, in_cluster, "tls-server-name")?.map(str::to_owned),
            trust: self.trust(cluster, in_cluster)?,
            client_certificate: self.client_certificate(user)?,
            credential: self.credential(user)?,
            namespace: text_of(context, "contexts[].context.", "namespace")?.map(str::to_owned),
        })
    }

    /// Finds an entry of a list by its name; the first one counts.
    fn named(
        &self,
        list: &'static str,
        sort: &'static str,
        name: &str,
    ) -> Result<&Map<String, Value>, KubeconfigError> {
        let wrong = |expected| KubeconfigError::WrongType { field: list.to_owned(), expected };
        let entries = match self.config.get(list) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(entries)) => entries.as_slice(),
            Some(_) => return Err(wrong("a list")),
        };
        for entry in entries {
            let Value::Object(entry) = entry else { return Err(wrong("a list of objects")) };
            if text_of(entry, list, "name")? == Some(name) {
                return match entry.get(sort) {
                    Some(Value::Object(found)) => Ok(found),
                    _ => Err(KubeconfigError::Missing { field: format!("{list}[].{sort}") }),
                };
            }
        }
        Err(KubeconfigError::NameUnknown { sort, name: name.to_owned() })
    }

    fn trust(&self, cluster: &Map<String, Value>, within: &str) -> Result<Trust, KubeconfigError> {
        let authorities = self.pem(cluster, within, "certificate-authority-data", "certificate-authority")?;
        let is_unverified = match cluster.get("insecure-skip-tls-verify") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                let field = format!("{within}insecure-skip-tls-verify");
                return Err(KubeconfigError::WrongType { field, expected: "true or false" });
            }
        };
        match (authorities, is_unverified) {
            (Some(_), true) => {
                Err(KubeconfigError::Contradiction { one: "insecure-skip-tls-verify", other: "certificate-authority" })
            }
            (Some(pem), false) => Ok(Trust::Authorities(pem.to_vec())),
            (None, true) => Ok(Trust::Unverified),
            (None, false) => Ok(Trust::System),
        }
    }

    fn client_certificate(&self, user: &Map<String, Value>) -> Result<Option<ClientCertificate>, KubeconfigError> {
        let within = "users[].user.";
        let chain = self.pem(user, within, "client-certificate-data", "client-certificate")?;
        let key = self.pem(user, within, "client-key-data", "client-key")?;
        match (chain, key) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => Ok(Some(ClientCertificate { chain_pem: chain.to_vec(), key_pem: key })),
            (Some(_), None) => Err(KubeconfigError::Missing { field: format!("{within}client-key") }),
            (None, Some(_)) => Err(KubeconfigError::Missing { field: format!("{within}client-certificate") }),
        }
    }

    fn credential(&self, user: &Map<String, Value>) -> Result<Credential, KubeconfigError> {
        let within = "users[].user.";
        for (field, instead) in REFUSED_OF_USER {
            if user.get(field).is_some_and(|value| !value.is_null()) {
                return Err(KubeconfigError::Unsupported { field: format!("{within}{field}"), instead });
            }
        }
        let token = text_of(user, within, "token")?;
        let token_file = text_of(user, within, "tokenFile")?;
        let username = text_of(user, within, "username")?;
        let password = text_of(user, within, "password")?;
        let has_token = token.is_some() || token_file.is_some();
        if has_token && (username.is_some() || password.is_some()) {
            return Err(KubeconfigError::Contradiction { one: "token", other: "username" });
        }
        Ok(match (token_file, token, username) {
            // The file wins, as upstream, because it is the one that is renewed.
            (Some(path), _, _) => Credential::TokenFile(self.folder.join(path)),
            (None, Some(token), _) => Credential::Token(Zeroizing::new(token.to_owned())),
            (None, None, Some(username)) => Credential::Basic {
                username: username.to_owned(),
                password: Zeroizing::new(password.unwrap_or_default().to_owned()),
            },
            (None, None, None) if password.is_some() => {
                return Err(KubeconfigError::Missing { field: format!("{within}username") });
            }
            (None, None, None) => Credential::None,
        })
    }

    /// Reads what stands in a field, or in the file that another one names. The field wins, as upstream.
    fn pem(
        &self,
        object: &Map<String, Value>,
        within: &str,
        data: &'static str,
        path: &'static str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KubeconfigError> {
        if let Some(encoded) = text_of(object, within, data)? {
            // Long base64 is often folded.
            let encoded = Zeroizing::new(encoded.split_ascii_whitespace().collect::<String>());
            let decoded = STANDARD.decode(encoded.as_bytes());
            let decoded = decoded.map_err(|_| KubeconfigError::NotBase64 { field: format!("{within}{data}") })?;
            return Ok(Some(Zeroizing::new(decoded)));
        }
        match text_of(object, within, path)? {
            Some(name) => file(path, &self.folder.join(name)).map(Some),
            None => Ok(None),
        }
    }
}

/// Returns a field that is a text; nothing when it is absent, null or empty.
fn text_of<'a>(object: &'a Map<String, Value>, within: &str, field: &str) -> Result<Option<&'a str>, KubeconfigError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(KubeconfigError::WrongType { field: format!("{within}{field}"), expected: "a string" }),
    }
}

fn file(field: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
    let unreadable = |cause| KubeconfigError::FileUnreadable { field, path: path.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Room for all of it at once, so that no copy is left behind where it grew.
    let len = file.metadata().map_err(unreadable)?.len().min(FILE_BYTES_MAX);
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(KubeconfigError::FileTooLong { field, path: path.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
