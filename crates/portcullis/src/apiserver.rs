//! The API server as a component: its configuration from the command line, its store, its first objects.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{ApiServer, Config, ReadyCheck, SystemEnv};
use portcullis_gate::{Handler, Permitted};
use portcullis_store::Engine;

use crate::arguments::Up;
use crate::sealing::StoreSealing;
use crate::version::BUILD;

/// What flags of its own say.
pub(crate) fn config(arguments: &Up, listening: SocketAddr) -> Config {
    Config {
        service_cidr: arguments.service_cluster_ip_range.primary,
        service_cidr_secondary: arguments.service_cluster_ip_range.secondary,
        service_node_ports: arguments.service_node_port_range,
        secure_port: listening.port(),
        build_version: BUILD,
        ..Config::default()
    }
}

/// Whether all KMS are well.
pub(crate) fn kms_providers(sealing: &Arc<StoreSealing>) -> ReadyCheck {
    let sealing = Arc::clone(sealing);
    ReadyCheck::new(move || sealing.is_ready())
}

/// Makes the server and what every cluster has.
pub(crate) async fn start(config: Config, engine: Arc<dyn Engine>, registry: Arc<Registry>) -> Result<Arc<ApiServer>> {
    let server = ApiServer::new(engine, registry, config, Arc::new(SystemEnv));
    server.bootstrap().await.context("cannot make the objects that every cluster has")?;
    Ok(server)
}

/// What answers behind the gate.
pub(crate) fn handler(server: Arc<ApiServer>) -> impl Handler {
    move |permitted: Permitted| {
        let server = Arc::clone(&server);
        async move { server.handle(permitted).await }
    }
}
