//! The API server as a component: its configuration from the command line, its store, its first objects.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{ApiServer, Cidr, Config, SystemEnv};
use portcullis_gate::{Handler, Permitted};
use portcullis_store::Engine;

use crate::arguments::Up;
use crate::version::BUILD;

/// Makes what every cluster has and returns what answers behind the gate.
pub(crate) async fn start(
    arguments: &Up,
    engine: Arc<dyn Engine>,
    registry: Arc<Registry>,
    listening: SocketAddr,
) -> Result<impl Handler> {
    let config = Config {
        service_cidr: Cidr::parse(&arguments.service_cluster_ip_range.to_string())?,
        secure_port: listening.port(),
        build_version: BUILD,
    };
    let server = ApiServer::new(engine, registry, config, Arc::new(SystemEnv));
    server.bootstrap().await.context("cannot make the objects that every cluster has")?;
    Ok(move |permitted: Permitted| {
        let server = Arc::clone(&server);
        async move { server.handle(permitted).await }
    })
}
