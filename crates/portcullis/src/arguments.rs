//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use portcullis_apiserver::PortRange;
use portcullis_client::DialRule;
use portcullis_model::cidr::{Cidr, CidrError};

use crate::admission::AdmissionArguments;
use crate::audit::AuditArguments;
use crate::audit_log::AuditLogArguments;
use crate::audit_log::verify::AuditLog;
use crate::audit_webhook::AuditWebhook;
use crate::authentication::Authentication;
use crate::authorization::Authorization;
use crate::configuration::{Component, Defaults, ServiceRanges, default_data_dir};
use crate::connections::ConnectionArguments;
use crate::explain::Explain;
use crate::fairness::FairnessArguments;
use crate::local_etcd::program::EtcdChild;
use crate::rbac_from_audit::FromAudit;
use crate::refused::NoneRefused;
use crate::sealing::SealingArguments;
use crate::service_accounts::ServiceAccountArguments;
use crate::storage::Storage;
use crate::store_commands::Store;
use crate::tracing_config::TracingArguments;
use crate::version::VERSION;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A Kubernetes in one program, locked down by default.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version = VERSION, styles = STYLES, max_term_width = 100)]
#[command(
    after_help = "First steps:\n  portcullis up\n  export KUBECONFIG=...    as `up` prints it\n  kubectl get namespaces"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Subcommands,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    Up(Box<Up>),
    /// Certificates of the cluster
    #[command(subcommand)]
    Pki(Pki),
    Explain(Box<Explain>),
    /// Roles of the cluster
    #[command(subcommand)]
    Rbac(Rbac),
    /// The audit log: whether it is as its server wrote it
    #[command(subcommand)]
    AuditLog(AuditLog),
    #[command(subcommand)]
    Store(Store),
    #[command(hide = true)]
    EtcdChild(EtcdChild),
    /// Print the version
    Version,
}

/// Start a cluster on this machine
///
/// Makes what is missing (certificates, an empty store, a kubeconfig) and serves until Ctrl-C or SIGTERM. The same data
/// directory gives the same cluster again.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// The address to listen on; 0.0.0.0 is all of IPv4, :: is all
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// The TLS port; 0 chooses a free one. There is no other
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub(crate) secure_port: u16,
    /// What to run, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "apiserver")]
    pub(crate) components: Vec<Component>,
    /// The addresses that Services get: a range, or one of each family, separated by a comma
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: ServiceRanges,
    /// The ports of the nodes that Services get, both ends included
    #[arg(long, value_name = "PORTS", default_value_t = PortRange::UPSTREAM)]
    pub(crate) service_node_port_range: PortRange,
    /// MiB of memory that stored objects, what is made of them for readers, and history may take [default: half of the machine's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..))]
    pub(crate) memory_budget: Option<u32>,
    /// Which defaults are in force
    #[arg(long, value_name = "PROFILE", value_enum, default_value = "locked")]
    pub(crate) defaults: Defaults,
    /// What to log, to the standard error: error, warn, info, debug, trace, or filters [default: RUST_LOG, or info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    #[command(flatten)]
    pub(crate) storage: Storage,
    #[command(flatten)]
    pub(crate) sealing: SealingArguments,
    #[command(flatten)]
    pub(crate) authentication: Authentication,
    #[command(flatten)]
    pub(crate) service_accounts: ServiceAccountArguments,
    #[command(flatten)]
    pub(crate) authorization: Authorization,
    #[command(flatten)]
    pub(crate) admission: AdmissionArguments,
    #[command(flatten)]
    pub(crate) audit: AuditArguments,
    #[command(flatten)]
    pub(crate) audit_log: AuditLogArguments,
    #[command(flatten)]
    pub(crate) audit_webhook: AuditWebhook,
    #[command(flatten)]
    pub(crate) fairness: FairnessArguments,
    #[command(flatten)]
    pub(crate) connections: ConnectionArguments,
    #[command(flatten)]
    pub(crate) tracing: TracingArguments,
    #[command(flatten)]
    pub(crate) dial: Dialled,
    #[command(flatten)]
    pub(crate) _none_refused: NoneRefused,
}

/// Certificates of the cluster
#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Give a user a client certificate
    ///
    /// Writes PREFIX.crt and PREFIX.key, signed by the cluster's authority. Only D/pki is read: a server may be running.
    Issue(Issue),
}

/// Roles of the cluster
#[derive(Debug, Subcommand)]
pub(crate) enum Rbac {
    FromAudit(Box<FromAudit>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// The user's name
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// A group that the user is in; can be given again
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Where to write: PREFIX.crt and PREFIX.key
    #[arg(long, value_name = "PREFIX")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dialled {
    /// Addresses that webhooks and issuers may have although they lead back here: loopback, link-local, this server's own (A26);
    /// separated by commas
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = addresses)]
    allow_dial: Vec<Cidr>,
}

/// Reads a range; an address alone is a range of one.
pub(crate) fn addresses(text: &str) -> Result<Cidr, CidrError> {
    text.parse::<IpAddr>().map(Cidr::from).or_else(|_| text.parse())
}

impl Dialled {
    /// Whom a server that listens there may ask.
    pub(crate) fn rule(&self, own: Vec<SocketAddr>, defaults: Defaults) -> DialRule {
        let loopback_allowed = defaults == Defaults::Upstream;
        DialRule { allowed: self.allow_dial.clone(), own, loopback_allowed }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DataDir {
    /// Where everything is kept [default: /var/lib/portcullis for root, else ~/.local/share/portcullis]
    #[arg(id = "data_dir", long = "data-dir", value_name = "DIR")]
    given: Option<PathBuf>,
}

impl DataDir {
    /// The directory that was given, or else the default one.
    pub(crate) fn path(&self) -> Result<PathBuf, clap::Error> {
        let path = self.given.clone().or_else(default_data_dir);
        path.filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
            let message = "there is no home directory to keep data in: give --data-dir\n";
            clap::Error::raw(ErrorKind::MissingRequiredArgument, message)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_said_is_taken() {
        let line = "portcullis up --data-dir /d --secure-port 0 --defaults upstream --allow-dial 127.0.0.1,10.0.0.0/8";
        let Subcommands::Up(up) = parse(line).unwrap().command else {
            panic!("not up");
        };
        assert_eq!(up.data_dir.path().unwrap(), PathBuf::from("/d"));
        assert_eq!((up.secure_port, up.bind_address, up.defaults), (0, [0, 0, 0, 0].into(), Defaults::Upstream));
        assert_eq!(up.components, [Component::ApiServer]);
        assert_eq!(up.service_cluster_ip_range.primary.to_string(), "10.96.0.0/12");
        let allowed: Vec<_> = up.dial.allow_dial.iter().map(ToString::to_string).collect();
        assert_eq!(allowed, ["127.0.0.1/32", "10.0.0.0/8"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let check = |line: &str, part: &str| {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        };
        check("portcullis", "Usage");
        check("portcullis down", "unrecognized subcommand 'down'");
        check("portcullis up --secure-port 65536", "65536 is not in 0..=65535");
        check("portcullis up --secure-port https", "invalid digit");
        check("portcullis up --components apiserver,scheduler", "no such component in this build");
        check("portcullis up --service-cluster-ip-range 10.96.0.1/12", "did you mean 10.96.0.0/12");
        check("portcullis up --allow-dial 10.0.0.0/8,10.0.0.0/33", "\"10.0.0.0/33\" is not an address range");
        check("portcullis up --bind-address localhost", "invalid IP address");
        check("portcullis up --defaults open", "possible values: locked, upstream");
        check("portcullis pki issue --out x", "--user");
    }

    #[test]
    fn a2_a3_a4_a6_flags_that_do_not_exist_say_what_to_use() {
        let check = |given: &str, part: &str| {
            let error = parse(&format!("portcullis up {given} --data-dir /d")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{given}");
            let message = error.to_string();
            assert!(message.contains("does not exist here") && message.contains(part), "{given}: {message}");
        };
        check("--token-auth-file tokens.csv", "service account tokens");
        check("--token-auth-file=tokens.csv", "service account tokens");
        check("--token-auth-file", "service account tokens");
        check("--basic-auth-file users.csv", "client certificates");
        check("--insecure-allow-any-token", "client certificates");
        check("--insecure-allow-any-token=true", "client certificates");
        check("--insecure-port 8080", "--secure-port");
        check("--insecure-port", "--secure-port");
        check("--insecure-port=0 --insecure-port=8080", "--secure-port");
        check("--insecure-bind-address 127.0.0.1", "--bind-address");
        check("--repair-malformed-updates", "400 or 422");
        check("--repair-malformed-updates=true", "400 or 422");
        parse("portcullis up --insecure-port=0 --data-dir /d").unwrap();
        parse("portcullis up --insecure-port 0 --data-dir /d").unwrap();
        parse("portcullis up --repair-malformed-updates=false").unwrap();
    }

    #[test]
    fn help_lists_no_flag_that_does_not_exist() {
        let help = Arguments::command().find_subcommand_mut("up").unwrap().render_long_help().to_string();
        assert!(help.contains("--secure-port") && !help.contains("insecure") && !help.contains("auth-file"), "{help}");
    }
}
