//! What a table shows of a service (upstream: `printService`).

use std::collections::BTreeSet;

use portcullis_model::tree::Tree;

use super::needs;
use crate::strategy::Cell;
use crate::views;
use crate::views::core_v1::{Service, ServicePort};

const NONE: &str = "<none>";

/// What stands in a column.
pub fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let service: Service<'_> = views::read(tree);
    let spec = service.spec();
    let or_none = |text: String| if text.is_empty() { NONE.to_owned() } else { text };
    Some(Cell::Text(match column {
        "Cluster-IP" => or_none(spec.cluster_ips().iter().next().unwrap_or_default().to_owned()),
        "External-IP" => outside(service),
        "Port(s)" => or_none(spec.ports().iter().map(port).collect::<Vec<_>>().join(",")),
        "Selector" => {
            let labels: Vec<String> = spec.selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
            or_none(labels.join(","))
        }
        _ => return None,
    }))
}

/// Where it is reached from outside of the cluster.
fn outside(service: Service<'_>) -> String {
    let spec = service.spec();
    let fixed = || spec.external_ips().iter();
    let (all, nothing): (Vec<&str>, &str) = match spec.type_() {
        needs::CLUSTER_IP | needs::NODE_PORT => (fixed().collect(), NONE),
        needs::LOAD_BALANCER => {
            let points = service.status().load_balancer().ingress();
            let shown = points.iter().map(|point| if point.ip().is_empty() { point.hostname() } else { point.ip() });
            let given: BTreeSet<&str> = shown.filter(|text| !text.is_empty()).collect();
            (given.into_iter().chain(fixed()).collect(), "<pending>")
        }
        needs::EXTERNAL_NAME => return spec.external_name().to_owned(),
        _ => return "<unknown>".to_owned(),
    };
    if all.is_empty() { nothing.to_owned() } else { all.join(",") }
}

fn port(port: ServicePort<'_>) -> String {
    match port.node_port() {
        node_port @ 1.. => format!("{}:{node_port}/{}", port.port(), port.protocol()),
        _ => format!("{}/{}", port.port(), port.protocol()),
    }
}
