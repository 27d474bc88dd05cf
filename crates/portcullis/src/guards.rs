//! Who judges requests: the authenticators and authorisers that the flags ask for, over one store.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use portcullis_apiserver::metrics::resource_names;
use portcullis_apiserver::node_graph::node_authorizer;
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{ApiServer, StoredCluster, StoredFlowControl};
use portcullis_client::DialRule;
use portcullis_gate::rbac::Rbac;
use portcullis_gate::{Authorizer, Cluster, FileFollower, Guards, Metrics, NodesRefused, Tls, WebhookAuthorizer};
use portcullis_store::Engine;

use crate::arguments::Up;
use crate::extension_authentication::Publisher;
use crate::service_accounts::TokenParts;
use crate::{audit, authentication, authorization};

/// What guards are made of.
pub(crate) struct Materials<'a> {
    /// What was said.
    pub(crate) arguments: &'a Up,
    /// Where objects are that credentials are bound to, and pods with what they use.
    pub(crate) engine: Arc<dyn Engine>,
    /// The resources of the store.
    pub(crate) registry: Arc<Registry>,
    /// Who has the roles and bindings.
    pub(crate) server: Arc<ApiServer>,
    /// Whose certificates count.
    pub(crate) trust: authentication::Trust,
    /// Who judges the cluster's own tokens.
    pub(crate) tokens: TokenParts,
    /// The listener's TLS.
    pub(crate) tls: Arc<Tls>,
    /// Whom this server may ask.
    pub(crate) dial: DialRule,
    /// Who writes down what is asked and decided.
    pub(crate) audit: audit::Built,
    /// What everything that is made here is counted in.
    pub(crate) metrics: &'a prometheus::Registry,
}

/// Makes the guards, and what must be followed for as long as they judge ([`portcullis_gate::keep_fresh`]).
pub(crate) fn guards(materials: Materials<'_>) -> Result<(Guards, Vec<Arc<dyn FileFollower>>)> {
    let Materials { arguments, engine, registry, server, trust, tokens, tls, dial, audit, metrics } = materials;
    let counts = Metrics::new(&resource_names(&registry));
    let cluster: Arc<dyn Cluster> = Arc::new(StoredCluster::new(Arc::clone(&engine), Arc::clone(&registry)));
    let pieces = authentication::Pieces {
        api_audiences: tokens.api_audiences().to_vec(),
        own_issuers: tokens.service_accounts().issuer.names().to_vec(),
        own_tokens: tokens.authenticators(&cluster),
        dial: dial.clone(),
        tls,
        defaults: arguments.defaults,
    };
    let fairness = arguments.fairness.build(StoredFlowControl::new(Arc::clone(&engine), Arc::clone(&registry)));
    if let Some(dispatcher) = fairness.dispatcher {
        dispatcher.register(metrics).context("metrics")?;
        server.show_flows(dispatcher);
    }
    let at_start = arguments.authentication.published(&trust);
    let authentication::Built { authenticators, mut followers, trust } =
        arguments.authentication.build(trust, pieces)?;
    followers.push(Arc::new(tokens.follower()));
    followers.extend(audit.file);
    // After the CAs, so that new ones are published in the same round.
    followers.push(Arc::new(Publisher { server: Arc::clone(&server), trust, at_start }));
    let chain = arguments.authorization.chain(authorization::Pieces {
        node: Arc::new(node_authorizer(engine, registry).context("the role of nodes")?),
        nodes_refused: Arc::new(NodesRefused::default()),
        are_nodes_restricted: arguments.admission.restricts_nodes()?,
        rbac: Arc::new(Rbac::new(server.policy())),
        webhook: Box::new(move |setting| {
            let webhook = WebhookAuthorizer::new(setting, &dial)?;
            Ok(Arc::new(webhook) as Arc<dyn Authorizer>)
        }),
    })?;
    followers.extend(chain.file.map(|file| file as Arc<dyn FileFollower>));
    let guards = Guards {
        authenticators,
        authorizers: chain.authorizers,
        auditor: audit.auditor,
        fairness: Some(fairness.fairness),
        metrics: counts,
    };
    guards.register(metrics).context("metrics")?;
    guards.auditor.register(metrics).context("metrics")?;
    Ok((guards, followers))
}
