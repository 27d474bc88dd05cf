//! Who judges requests: the authenticators and authorisers that the flags ask for, over one store.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use portcullis_apiserver::ApiServer;
use portcullis_apiserver::node_graph::node_authorizer;
use portcullis_apiserver::registry::Registry;
use portcullis_client::DialRule;
use portcullis_gate::rbac::Rbac;
use portcullis_gate::{Authenticators, Authorizer, Guards, NodesRefused, Tokens, WebhookAuthorizer};
use portcullis_store::Engine;

use crate::arguments::Up;
use crate::authorization::Pieces;

/// What guards are made of.
pub(crate) struct Materials<'a> {
    /// What was said.
    pub(crate) arguments: &'a Up,
    /// Where pods and what they use are.
    pub(crate) engine: Arc<dyn Engine>,
    /// The resources of the store.
    pub(crate) registry: Arc<Registry>,
    /// Who has the roles and bindings.
    pub(crate) server: &'a ApiServer,
    /// Whom this server may ask.
    pub(crate) dial: DialRule,
}

/// Makes the guards. What follows files begins with the first answer and ends with the program.
pub(crate) fn guards(materials: Materials<'_>) -> Result<Guards> {
    let Materials { arguments, engine, registry, server, dial } = materials;
    let node = node_authorizer(engine, registry).context("the role of nodes")?;
    let pieces = Pieces {
        node: Arc::new(node),
        nodes_refused: Arc::new(NodesRefused::default()),
        rbac: Arc::new(Rbac::new(server.policy())),
        webhook: Box::new(move |setting| {
            let webhook = WebhookAuthorizer::new(setting, &dial)?;
            Ok(Arc::new(webhook) as Arc<dyn Authorizer>)
        }),
    };
    let chain = arguments.authorization.chain(pieces)?;
    if let Some(file) = chain.file {
        tokio::spawn(file.follow());
    }
    Ok(Guards { authenticators: Authenticators::new(Tokens::default()), authorizers: chain.authorizers })
}
