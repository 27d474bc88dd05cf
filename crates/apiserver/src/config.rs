//! What an operator decides about the API server itself: addresses it hands out and how it is reached.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portcullis_gate::{Profile, ServiceAccountIssuer};
use portcullis_kinds::core::service::families::Family;
use portcullis_model::cidr::Cidr;

use crate::admission::Selection;
use crate::services::PortRange;

/// Where cluster IPs come from unless it is said: upstream's range.
const SERVICE_CIDR: Cidr = Cidr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), 12).expect("a prefix of 12 bits");

/// How service account tokens are issued.
#[derive(Clone)]
pub struct ServiceAccounts {
    /// Who signs them.
    pub issuer: Arc<ServiceAccountIssuer>,
    /// Whom a token is meant for when its request does not say.
    pub api_audiences: Vec<String>,
    /// Seconds that a token may last; a longer one is shortened, with a warning.
    pub max_expiration_seconds: Option<i64>,
    /// Whether the token of a pod's own mount lasts a year instead of the hour that was asked for, and is only warned about after
    /// that hour (upstream's default, for clients that never read the file again). A11: not in the locked profile, where a token
    /// lasts as long as its request says and clients are expected to read the file again.
    pub extend_expiration: bool,
    /// Where the discovery document says that the keys are.
    pub jwks_uri: String,
}

impl std::fmt::Debug for ServiceAccounts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ServiceAccounts").field("issuer", &self.issuer.name()).finish_non_exhaustive()
    }
}

/// The decisions of an operator about the API server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where cluster IPs come from.
    pub service_cidr: Cidr,
    /// Where those of the other family come from, in a cluster that has both.
    pub service_cidr_secondary: Option<Cidr>,
    /// Which ports of the nodes Services get.
    pub service_node_ports: PortRange,
    /// The port that the Service `kubernetes` leads to.
    pub secure_port: u16,
    /// The version of this build, as in `v1.36.3+portcullis.<version>`.
    pub build_version: &'static str,
    /// Which defaults are in force.
    pub profile: Profile,
    /// The admission plugins that are on.
    pub admission: Selection,
    /// How service account tokens are issued; without it nobody is given one here.
    pub service_accounts: Option<ServiceAccounts>,
    /// What extension servers are told about recognising clients; nothing where nobody is recognised.
    pub extension_authentication: Option<ExtensionAuthentication>,
    /// What everybody else counts, for `/metrics`.
    pub metrics: prometheus::Registry,
    /// Whether all KMS are well, where stored objects are sealed as a configuration says.
    pub kms_providers: Option<ReadyCheck>,
}

/// Somebody else's answer to whether the server is ready. It does not wait.
#[derive(Clone)]
pub struct ReadyCheck(Arc<dyn Fn() -> bool + Send + Sync>);

impl ReadyCheck {
    /// Asks this.
    pub fn new(passes: impl Fn() -> bool + Send + Sync + 'static) -> ReadyCheck {
        ReadyCheck(Arc::new(passes))
    }

    /// Asks it.
    pub(crate) fn passes(&self) -> bool {
        (self.0)()
    }
}

impl std::fmt::Debug for ReadyCheck {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ReadyCheck")
    }
}

/// How extension servers recognise the clients that this server recognises: the ConfigMap `kube-system/extension-apiserver-authentication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionAuthentication {
    /// Authorities of client certificates, as PEM; empty for none.
    pub client_ca_pem: String,
    /// The front proxy whose word on a user is taken.
    pub request_header: Option<RequestHeader>,
}

/// The front proxy, as the `--requestheader-*` flags describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// Authorities of its certificate, as PEM.
    pub client_ca_pem: String,
    /// Common names that its certificate may have; any for an empty list.
    pub allowed_names: Vec<String>,
    /// Headers of the user's name.
    pub username_headers: Vec<String>,
    /// Headers of the user's uid.
    pub uid_headers: Vec<String>,
    /// Headers of the user's groups.
    pub group_headers: Vec<String>,
    /// What headers of the user's extra fields begin with.
    pub extra_header_prefixes: Vec<String>,
}

impl Config {
    /// The ranges of addresses of Services, the primary one first.
    pub(crate) fn service_cidrs(&self) -> impl Iterator<Item = Cidr> {
        [Some(self.service_cidr), self.service_cidr_secondary].into_iter().flatten()
    }

    /// The families of addresses that Services can have, the primary one first.
    pub(crate) fn service_families(&self) -> Vec<Family> {
        self.service_cidrs().filter_map(|range| Family::named(range.family())).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            service_cidr: SERVICE_CIDR,
            service_cidr_secondary: None,
            service_node_ports: PortRange::UPSTREAM,
            secure_port: 6443,
            build_version: env!("CARGO_PKG_VERSION"),
            profile: Profile::default(),
            admission: Selection::default(),
            service_accounts: None,
            extension_authentication: None,
            metrics: prometheus::Registry::new(),
            kms_providers: None,
        }
    }
}
