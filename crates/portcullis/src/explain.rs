//! `portcullis explain`: why somebody may do something, or the smallest thing that is between them and it.
//!
//! It reads roles and bindings from a running server as whoever the kubeconfig says, and decides by the code that the server decides by.
//! Other authorisers than RBAC (nodes, webhooks) only the server can ask: it is asked, too, and what it says is said when it differs.

mod resources;
mod server;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use portcullis_gate::rbac::explain::{Explanation, explain};
use portcullis_gate::{
    ANONYMOUS, Attributes, GROUP_AUTHENTICATED, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED, Identity,
    SERVICE_ACCOUNT_PREFIX, Selection, Target,
};

use self::resources::Named;
use self::server::Server;
use crate::arguments::DataDir;

const DEFAULT_NAMESPACE: &str = "default";

/// Say why a user may do something, or what is missing
///
/// Names the binding and the role that allow it, or the rules that came closest and the smallest role that would be enough. Ends with 0
/// when it is allowed and with 1 when it is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis explain --as ana list secrets -n shop
  portcullis explain --as ana create pods/exec web-0 -n shop
  portcullis explain --as system:serviceaccount:shop:cart get deploy.apps/web -n shop
  portcullis explain --as ana get /metrics")]
pub(crate) struct Explain {
    /// Who: a user, or system:serviceaccount:NAMESPACE:NAME
    #[arg(long = "as", value_name = "USER")]
    user: String,
    /// A group that the user is in; can be given again. Those that a login gives anyway need not be named
    #[arg(long = "as-group", value_name = "GROUP")]
    groups: Vec<String>,
    /// What is done: get, list, watch, create, update, patch, delete, or another verb
    #[arg(value_name = "VERB")]
    verb: String,
    /// To what: a resource by any of its names, RESOURCE/NAME, RESOURCE/SUBRESOURCE, or a path that begins with /
    #[arg(value_name = "RESOURCE")]
    resource: String,
    /// The object
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The namespace [default: the kubeconfig's, or default]
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// In all namespaces at once
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// The subresource, as log or exec
    #[arg(long, value_name = "SUBRESOURCE")]
    subresource: Option<String>,
    /// Which server, and as whom roles are read [default: KUBECONFIG, or admin.kubeconfig of the data directory]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDir,
}

/// Reads, decides and says.
pub(crate) fn run(arguments: &Explain) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(answer(arguments))
}

async fn answer(arguments: &Explain) -> Result<ExitCode> {
    let server = Server::of(&kubeconfig(arguments)?)?;
    let user = identity(&arguments.user, &arguments.groups);
    let asked = if arguments.resource.starts_with('/') {
        Asked { verb: arguments.verb.clone(), what: What::Path(arguments.resource.clone()) }
    } else {
        let known = server.resources().await?;
        let namespace = arguments.namespace.clone().or_else(|| server.namespace.clone());
        resource(arguments, &known, namespace.as_deref())?
    };
    let policy = server.policy().await?;
    let attributes = asked.attributes(&user);
    let explanation = explain(&policy, &attributes);
    let decided = server.decide(&attributes).await?;
    print!("{}", text::explanation(&attributes, &explanation, decided.as_ref()));
    let allowed = decided.map_or(matches!(explanation, Explanation::Allowed(_)), |decided| decided.allowed);
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kubeconfig(arguments: &Explain) -> Result<PathBuf> {
    if let Some(given) = &arguments.kubeconfig {
        return Ok(given.clone());
    }
    match std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => Ok(arguments.data_dir.path()?.join("admin.kubeconfig")),
    }
}

/// The user with the groups that every login of theirs has.
fn identity(name: &str, groups: &[String]) -> Identity {
    let mut groups = groups.to_vec();
    let mut join = |group: String| {
        if !groups.contains(&group) {
            groups.push(group);
        }
    };
    if let Some((namespace, _)) = name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':')) {
        join(GROUP_SERVICE_ACCOUNTS.to_owned());
        join(format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}"));
    }
    let everyone = if name == ANONYMOUS { GROUP_UNAUTHENTICATED } else { GROUP_AUTHENTICATED };
    join(everyone.to_owned());
    Identity { name: name.to_owned(), groups, ..Identity::default() }
}

/// The question, without the user.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    verb: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Path(String),
    Resource { group: String, version: String, namespace: String, resource: String, subresource: String, name: String },
}

impl Asked {
    fn attributes<'a>(&'a self, user: &'a Identity) -> Attributes<'a> {
        let target = match &self.what {
            What::Path(path) => Target::Path(path),
            What::Resource { group, version, namespace, resource, subresource, name } => {
                Target::Resource { group, version, namespace, resource, subresource, name, selectors: Selection::ALL }
            }
        };
        Attributes { user, verb: &self.verb, target }
    }
}

/// The question as a server would put it to its authorisers.
fn resource(arguments: &Explain, known: &[resources::Resource], namespace: Option<&str>) -> Result<Asked> {
    let Named { resource, subresource, name } =
        resources::find(known, &arguments.resource, arguments.subresource.as_deref(), arguments.name.as_deref())?;
    let namespace = match () {
        // A namespace is authorised as what is in it.
        () if resource.group.is_empty() && resource.name == "namespaces" => name.clone(),
        () if !resource.namespaced || arguments.all_namespaces => String::new(),
        () => namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
    };
    let (group, version, resource) = (resource.group.clone(), resource.version.clone(), resource.name.clone());
    let what = What::Resource { group, version, namespace, resource, subresource, name };
    Ok(Asked { verb: arguments.verb.clone(), what })
}

#[cfg(test)]
mod tests;
