//! What the record of everything costs: the same requests with the standard policy, and with one that records nothing.

use std::path::Path;

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::Figure;
use super::fortress::Fortress;
use crate::bench::client::{Call, JSON};

/// Rounds, in which both servers take turns; the least of each counts, since nothing makes a request cheaper than it is.
const ROUNDS: usize = 8;
const READS: u64 = 40_000;
const WRITES: u64 = 5_000;
/// Microseconds of processor time that the record of a request may cost.
const AUDIT_MAX: f64 = 10.0;

/// Measures.
pub async fn run(program: &Path) -> Result<Vec<Figure>> {
    let directory = crate::bench::directory()?;
    let silent = directory.path().join("policy.yaml");
    std::fs::write(&silent, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n")?;
    let silent = silent.display().to_string();
    let without = Fortress::start(program, &["--audit-policy-file", &silent])?;
    let with = Fortress::start(program, &[])?;
    let mut least = [[f64::INFINITY; 2]; 2];
    for round in 0..ROUNDS {
        for (server, least) in [&without, &with].into_iter().zip(&mut least) {
            least[0] = least[0].min(reads(server).await?);
            least[1] = least[1].min(writes(server, round).await?);
        }
    }
    let mut figures = Vec::new();
    let [without, with] = least;
    for (what, without, with) in [("GET a ConfigMap", without[0], with[0]), ("POST a ConfigMap", without[1], with[1])] {
        figures.push(Figure::told(format!("{what}, nothing recorded"), without, "us"));
        figures.push(Figure::told(format!("{what}, recorded"), with, "us"));
        figures.push(Figure::at_most(format!("{what}: the record"), with - without, "us", AUDIT_MAX));
    }
    Ok(figures)
}

const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

async fn reads(server: &Fortress) -> Result<f64> {
    server.cost_of(READS, |_| Call::get(PATH)).await
}

/// Each write is an object of its own: one that is written by several at once would be refused now and then.
async fn writes(server: &Fortress, round: usize) -> Result<f64> {
    let write = move |number: u64| {
        let name = format!("written-{round}-{number}");
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "b" } });
        Call::send(Method::POST, "/api/v1/namespaces/default/configmaps", JSON, object.to_string().into())
    };
    server.cost_of(WRITES, write).await
}
