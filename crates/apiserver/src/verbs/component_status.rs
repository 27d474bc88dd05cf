//! `componentstatuses`: how the scheduler, the controller manager and the store are doing, asked when a client asks (upstream:
//! `pkg/registry/core/componentstatus`; deprecated since 1.19, and what `kubectl get cs` shows).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{ComponentStatusEdit, ComponentStatusList, ComponentStatusListEdit};
use portcullis_model::go_text::push_json_string;
use portcullis_model::selectors::{FieldSelector, Selector};
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use tokio::net::TcpStream;

use super::options;
use super::select::Selection;
use crate::answer::{Answer, Failure, Made, to_yaml_if, typed};
use crate::negotiate::{Accepted, Include, Shape};
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;
use crate::table;

/// How long a component may take to answer the door.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The condition that every component has.
const HEALTHY: &str = "Healthy";
const API_VERSION: &str = "v1";
const WARNING: &str = "v1 ComponentStatus is deprecated in v1.19+";

/// Where health is asked.
#[derive(Clone, Copy)]
enum Door {
    /// A port of this machine.
    Port(u16),
    /// The store behind this server.
    Store,
}

/// The components, by name.
const COMPONENTS: [(&str, Door); 3] =
    [("controller-manager", Door::Port(10257)), ("etcd-0", Door::Store), ("scheduler", Door::Port(10259))];

/// What is known of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Health {
    name: &'static str,
    /// The condition's `True`, `False` or `Unknown`.
    status: &'static str,
    message: String,
    error: String,
}

/// Answers a GET of one component.
pub async fn get(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let name = request.path_name();
    let Some((name, door)) = COMPONENTS.into_iter().find(|(held, _)| *held == name) else {
        return Err(Box::new(Status::unexpected(format!("Component not found: {name}"))));
    };
    request.warnings.push(WARNING.to_owned());
    let health = ask(server, name, door).await;
    if request.accepted.shape == Shape::Table {
        return in_table(request.served, request.accepted, &[health]);
    }
    let mut tree = Tree::new(request.served.resource.type_id);
    write(views::write(&mut tree), &health);
    Ok(made(tree, "ComponentStatus"))
}

/// Answers a GET of all of them.
pub async fn list(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let options = options::list(request.query)?;
    // Refuses what is no selector here, in the words of every other list.
    Selection::parse(request.served, &options.label_selector, &options.field_selector)?;
    request.warnings.push(WARNING.to_owned());
    let [one, two, three] = COMPONENTS.map(|(name, door)| ask(server, name, door));
    let (one, two, three) = tokio::join!(one, two, three);
    let mut healths = vec![one, two, three];
    healths.retain(|health| is_meant(&options.label_selector, &options.field_selector, health.name));
    if request.accepted.shape == Shape::Table {
        return in_table(request.served, request.accepted, &healths);
    }
    let mut tree = Tree::new(ComponentStatusList::TYPE);
    {
        let mut list: ComponentStatusListEdit<'_> = views::write(&mut tree);
        list.metadata_mut();
        list.items_mut();
        for health in &healths {
            let mut items = list.items_mut();
            write(items.push(), health);
        }
    }
    Ok(made(tree, "ComponentStatusList"))
}

/// Whether selectors, which were checked, mean this component. It has a name and no labels.
fn is_meant(labels: &str, fields: &str, name: &str) -> bool {
    let by_label = Selector::parse(labels).is_ok_and(|selector| selector.matches(|_| None));
    let by_field = FieldSelector::parse(fields)
        .is_ok_and(|selector| selector.matches(|field| if field == "metadata.name" { name } else { "" }));
    by_label && by_field
}

async fn ask(server: &ApiServer, name: &'static str, door: Door) -> Health {
    let health = |status, message: String, error: String| Health { name, status, message, error };
    let port = match door {
        Door::Port(port) => port,
        Door::Store => {
            return match server.newest().await {
                Ok(_) => health("True", "ok".to_owned(), String::new()),
                Err(failure) => health("False", failure.message.into_owned(), String::new()),
            };
        }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let dialed = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await;
    let why = match dialed {
        // The component is not one of this program; who it is would have to be proved before its word is passed on.
        Ok(Ok(_)) => {
            return health("Unknown", String::new(), format!("{address} is open, but its health is not asked"));
        }
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        Ok(Err(error)) => format!("connect: {error}"),
        Err(_) => "i/o timeout".to_owned(),
    };
    health("False", format!("Get \"https://{address}/healthz\": dial tcp {address}: {why}"), String::new())
}

fn made(tree: Tree, kind: &str) -> Answer {
    Answer::Made(Made { tree, api_version: API_VERSION.to_owned(), kind: kind.to_owned(), code: StatusCode::OK })
}

fn write(mut component: ComponentStatusEdit<'_>, health: &Health) {
    component.metadata_mut().set_name(health.name);
    let mut conditions = component.conditions_mut();
    let mut condition = conditions.push();
    condition.set_type(HEALTHY);
    condition.set_status(health.status);
    if !health.message.is_empty() {
        condition.set_message(&health.message);
    }
    if !health.error.is_empty() {
        condition.set_error(&health.error);
    }
}

/// The table. Components have no version and no uid, so the rows are made here.
fn in_table(served: &Served, accepted: Accepted, healths: &[Health]) -> Result<Answer, Failure> {
    let meta_version = accepted.meta_version.api_version();
    let mut json = format!(r#"{{"kind":"Table","apiVersion":"{meta_version}","metadata":{{}}"#).into_bytes();
    table::push_columns(served, true, &mut json);
    for (at, health) in healths.iter().enumerate() {
        json.extend_from_slice(if at == 0 { br#"{"cells":["# } else { br#",{"cells":["# });
        let shown = if health.status == "True" { "Healthy" } else { "Unhealthy" };
        for (at, cell) in [health.name, shown, &health.message, &health.error].into_iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            push_json_string(&mut json, cell);
        }
        let metadata = format!(r#""metadata":{{"name":"{}"}}"#, health.name);
        let object = match accepted.include {
            Include::Nothing | Include::Unknown => "null".to_owned(),
            Include::Metadata => {
                format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"{meta_version}",{metadata}}}"#)
            }
            Include::Object => {
                let mut tree = Tree::new(served.resource.type_id);
                write(views::write(&mut tree), health);
                let object = portcullis_model::schema::encode_json::to_vec(served.schema, &tree);
                let rest = String::from_utf8(object).unwrap_or_default();
                let rest = rest.strip_prefix('{').unwrap_or("}");
                format!(r#"{{"kind":"ComponentStatus","apiVersion":"{API_VERSION}",{rest}"#)
            }
        };
        json.extend_from_slice(format!(r#"],"object":{object}}}"#).as_bytes());
    }
    json.extend_from_slice(b"]}");
    let text = to_yaml_if(accepted.format, json)?;
    Ok(Answer::Ready(typed(StatusCode::OK, accepted, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_mean_components() {
        let check = |labels: &str, fields: &str, expected: &[&str]| {
            let meant = COMPONENTS.iter().map(|(name, _)| *name).filter(|name| is_meant(labels, fields, name));
            assert_eq!(meant.collect::<Vec<_>>(), expected, "{labels} {fields}");
        };
        check("", "", &["controller-manager", "etcd-0", "scheduler"]);
        check("", "metadata.name=etcd-0", &["etcd-0"]);
        check("", "metadata.name!=etcd-0", &["controller-manager", "scheduler"]);
        check("a=b", "", &[]);
        check("!a", "metadata.name=scheduler", &["scheduler"]);
    }
}
