//! The API server as a component: its configuration from the command line, its store, its first objects.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{ApiServer, Cidr, Config, SystemEnv};
use portcullis_gate::{Handler, Permitted, Profile};
use portcullis_store::Engine;

use crate::arguments::Up;
use crate::version::BUILD;

/// Makes the server and what every cluster has.
pub(crate) async fn start(
    arguments: &Up,
    engine: Arc<dyn Engine>,
    registry: Arc<Registry>,
    listening: SocketAddr,
    profile: Profile,
) -> Result<Arc<ApiServer>> {
    let config = Config {
        service_cidr: Cidr::parse(&arguments.service_cluster_ip_range.to_string())?,
        secure_port: listening.port(),
        build_version: BUILD,
        profile,
        admission: arguments.admission.selection()?,
        ..Config::default()
    };
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
