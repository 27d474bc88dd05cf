//! Where the cluster is kept: in the data directory, or in an etcd that is spoken to with mutual TLS and in no other way (A9): one that
//! the operator has, or one that is started here (`local_etcd`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use portcullis_store::embedded::{Embedded, Lock, Options};
use portcullis_store::etcd::{self, Etcd, MutualTls, Security};
use portcullis_store::{Catalog, Engine, Sealing};

use crate::commits::Attended;
use crate::etcd_requests::EtcdRequests;
use crate::flags::{conflict, span};
use crate::local_etcd::{LocalEtcd, LocalEtcdArguments};

/// How the cluster is kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Storage {
    /// Keep the cluster in this etcd and not in the data directory: https URLs of its members, separated by commas
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// The authority that signed the certificates of etcd's members
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    etcd_cafile: Option<PathBuf>,
    /// The client certificate that etcd is shown
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    etcd_keyfile: Option<PathBuf>,
    /// How often etcd is told to forget what is older; 0 is never
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "5m")]
    etcd_compaction_interval: Duration,
    #[command(flatten)]
    local: LocalEtcdArguments,
}

/// What the cluster is kept in.
pub(crate) struct Opened {
    /// The engine.
    pub(crate) engine: Arc<dyn Engine>,
    /// The same, when it is the embedded one.
    pub(crate) embedded: Option<Arc<Embedded>>,
    /// What is asked of etcd, when it is kept there.
    pub(crate) requests: Option<Arc<EtcdRequests>>,
    /// The etcd that was started for it.
    pub(crate) local: Option<LocalEtcd>,
    /// What was written, for a person to read.
    pub(crate) made: Vec<String>,
    /// No second server has this data directory while this is held. The embedded engine has its own.
    pub(crate) lock: Option<Lock>,
}

impl Storage {
    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        self.local.check()?;
        if self.etcd_servers.is_empty() {
            return Ok(());
        }
        let files = [
            ("--etcd-cafile", &self.etcd_cafile),
            ("--etcd-certfile", &self.etcd_certfile),
            ("--etcd-keyfile", &self.etcd_keyfile),
        ];
        match files.iter().find(|(_, file)| file.is_none()) {
            Some((flag, _)) => {
                Err(conflict(&format!("--etcd-servers needs {flag}: etcd is spoken to with mutual TLS only")))
            }
            None => Ok(()),
        }
    }

    /// Whether it is kept where other servers may be keeping it, too.
    pub(crate) fn is_shared(&self) -> bool {
        !self.etcd_servers.is_empty()
    }

    /// Opens what the cluster is kept in; memory for it is in bytes.
    pub(crate) async fn open(
        &self,
        data_dir: &Path,
        catalog: Arc<dyn Catalog>,
        sealing: Arc<dyn Sealing>,
        memory_bytes_max: usize,
    ) -> Result<Opened> {
        let mut made = Vec::new();
        let store_dir = data_dir.join("store");
        if !self.local.is_wanted() && self.etcd_servers.is_empty() {
            let callers_may_write = std::thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
            let options = Options { catalog, sealing, memory_bytes_max, callers_may_write, ..Options::new(store_dir) };
            let embedded = Arc::new(Embedded::open(options)?);
            let engine = embedded.clone();
            return Ok(Opened { engine, embedded: Some(embedded), requests: None, local: None, made, lock: None });
        }
        // Certificates and the audit log are in the data directory whatever the cluster is kept in.
        let lock = Some(Lock::acquire(&store_dir)?);
        let mut local = None;
        if self.local.is_wanted() {
            local = Some(self.local.start(data_dir, &mut made).await?);
        }
        let (endpoints, tls) = match local.as_mut().and_then(|local| Some((local.endpoint.clone(), local.tls.take()?)))
        {
            Some((endpoint, tls)) => (vec![endpoint], tls),
            None => (self.etcd_servers.clone(), self.given_tls()?),
        };
        let requests = EtcdRequests::new(Arc::clone(&catalog));
        let options = etcd::Options {
            endpoints,
            security: Security::MutualTls(tls),
            catalog,
            sealing,
            memory_bytes_max,
            compaction_interval: Some(self.etcd_compaction_interval).filter(|interval| !interval.is_zero()),
        };
        let etcd = Arc::new(Etcd::connect(options).await?);
        let engine = Arc::new(Attended(etcd, Arc::clone(&requests)));
        Ok(Opened { engine, embedded: None, requests: Some(requests), local, made, lock })
    }

    fn given_tls(&self) -> Result<MutualTls> {
        mutual_tls([
            ("--etcd-cafile", self.etcd_cafile.as_deref()),
            ("--etcd-certfile", self.etcd_certfile.as_deref()),
            ("--etcd-keyfile", self.etcd_keyfile.as_deref()),
        ])
    }
}

/// Reads what mutual TLS takes: the authority, the certificate and its key, each with the flag that names its file.
pub(crate) fn mutual_tls(files: [(&'static str, Option<&Path>); 3]) -> Result<MutualTls> {
    let [ca, certificate, key] = files.map(|(flag, file)| {
        let file = file.with_context(|| format!("{flag} is missing: etcd is spoken to with mutual TLS only"))?;
        std::fs::read(file).with_context(|| format!("{flag} {file:?}"))
    });
    Ok(MutualTls { ca: ca?, certificate: certificate?, key: key? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::flags::parse;

    #[test]
    fn a9_mutual_tls_or_no_start() {
        let check = |flags: &str, part: &str| {
            let error = parse::<Storage>(flags).and_then(|given| given.check()).unwrap_err().to_string();
            assert!(error.contains(part), "{flags}: {error}");
        };
        check("--etcd-servers https://e:2379", "--etcd-cafile");
        check("--etcd-servers https://e:2379 --etcd-cafile ca", "--etcd-certfile");
        check("--etcd-servers https://e:2379 --etcd-cafile ca --etcd-certfile c", "--etcd-keyfile");
        check("--etcd-cafile ca", "--etcd-servers");
        parse::<Storage>("").unwrap().check().unwrap();
        let whole = "--etcd-servers https://e:2379,https://f:2379 --etcd-cafile ca --etcd-certfile c --etcd-keyfile k";
        parse::<Storage>(whole).unwrap().check().unwrap();
    }
}
