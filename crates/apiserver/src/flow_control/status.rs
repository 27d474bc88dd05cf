//! Keeps the stored flow schemas and levels right while the server runs: what clusters begin with is put right as it is at start, and
//! each schema is told whether its level is there (upstream: `priority-and-fairness-config-producer` and
//! `priority-and-fairness-config-consumer`).
//!
//! Nothing that a request meets depends on it: the gate reads what is stored, and what must hold does without it.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::select;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::DecodeError;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::time::time_text;
use portcullis_store::{
    Commit, CommitError, Entry, Interest, Operation, ReadError, SubscribeError, Subscription, SubscriptionError,
};
use serde_json::{Value, json};
use thiserror::Error;

use super::{GROUP, LEVELS, SCHEMAS};
use crate::bootstrap::BootstrapError;
use crate::registry::Served;
use crate::registry::metadata::copy_top;
use crate::server::ApiServer;

/// Who says whether a schema has its level, in managed fields.
pub(crate) const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// The condition that says it.
const DANGLING: &str = "Dangling";
/// What happens within this time of a change is taken together with it. So two who disagree do not keep the store busy either.
const SETTLE: Duration = Duration::from_millis(50);
/// After it could not be done.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Why the objects could not be kept.
#[derive(Debug, Error)]
pub(super) enum KeepError {
    #[error("what clusters begin with cannot be put right: {0}")]
    Restore(#[from] BootstrapError),
    #[error("changes cannot be followed: {0}")]
    Subscribe(#[from] SubscribeError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the status of {name} cannot be written: {source}")]
    Write { name: String, source: CommitError },
    #[error("the status of {name} cannot be made: {source}")]
    Make { name: String, source: DecodeError },
}

/// The condition of a schema with this level.
pub(crate) fn condition(level: &str, is_there: bool, now_seconds: i64) -> Value {
    let (status, reason, rest) = match is_there {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let level = quoted(level);
    json!({
        "type": DANGLING, "status": status, "reason": reason,
        "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level} {rest}"),
        "lastTransitionTime": time_text(now_seconds),
    })
}

/// The conditions that a schema should have; none when it has them. Those of others stay.
fn told(held: &Value, levels: &HashSet<&str>, now_seconds: i64) -> Option<(Vec<Value>, Value)> {
    let level = held["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let wanted = condition(level, levels.contains(level), now_seconds);
    let mut conditions = held["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let same = |held: &Value| ["status", "reason", "message"].iter().all(|field| held[field] == wanted[field]);
    match conditions.iter_mut().find(|condition| condition["type"] == DANGLING) {
        Some(held) if same(held) => return None,
        Some(held) => held.clone_from(&wanted),
        None => conditions.push(wanted.clone()),
    }
    Some((conditions, wanted))
}

impl ApiServer {
    /// Keeps flow schemas and levels right until the store is closed. Dropping it ends it at any point.
    pub async fn keep_flow_control(&self) {
        loop {
            match self.follow_flow_control().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "flow schemas and levels are not kept right, it is tried again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// Ends well with the store.
    async fn follow_flow_control(&self) -> Result<(), KeepError> {
        let under = |resource| self.registry.find(GROUP, "v1", resource).and_then(Served::prefix);
        let (Some(levels_under), Some(schemas_under)) = (under(LEVELS), under(SCHEMAS)) else { return Ok(()) };
        loop {
            // Whatever happens from here on is seen, what is done here too: then there is nothing to do any more.
            let after = self.engine.newest().await?.revision();
            let mut of_levels = self.engine.subscribe(Interest::from(levels_under), after).await?;
            let mut of_schemas = self.engine.subscribe(Interest::from(schemas_under), after).await?;
            self.put_flow_control_right().await?;
            if !changed(&mut *of_levels, &mut *of_schemas).await {
                return Ok(());
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Makes and mends what clusters begin with, and tells each schema whether its level is there, where it does not say so
    /// already.
    pub(super) async fn put_flow_control_right(&self) -> Result<(), KeepError> {
        self.restore_flow_control().await?;
        let served = |resource| self.registry.find(GROUP, "v1", resource);
        let (Some(levels), Some(schemas)) = (served(LEVELS), served(SCHEMAS)) else { return Ok(()) };
        let (Some(levels_under), Some(under)) = (levels.prefix(), schemas.prefix()) else { return Ok(()) };
        let snapshot = self.engine.newest().await?;
        let levels: HashSet<&str> =
            snapshot.range(levels_under, None).filter_map(|(key, _)| key.strip_prefix(levels_under)).collect();
        let now = self.now_seconds();
        for (key, entry) in snapshot.range(under, None) {
            // One that cannot be read was logged by whom it matters to.
            let Ok(held) = serde_json::from_slice::<Value>(&entry.value) else { continue };
            let Some((conditions, wanted)) = told(&held, &levels, now) else { continue };
            let (_, name) = schemas.names(key);
            let Some(operation) = self.tell(schemas, key, entry, &conditions, &wanted)? else { continue };
            match self.engine.commit(Commit::from(operation)).await {
                // Somebody was first, which is a change, and that is waited for.
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(source) => return Err(KeepError::Write { name: name.to_owned(), source }),
            }
        }
        Ok(())
    }

    /// The write of a status; none for an object that cannot be read as its type.
    fn tell(
        &self,
        schemas: &Served,
        key: &str,
        entry: &Entry,
        conditions: &[Value],
        wanted: &Value,
    ) -> Result<Option<Operation>, KeepError> {
        let make = |source| KeepError::Make { name: schemas.names(key).1.to_owned(), source };
        let (Ok(mut tree), Some(number)) = (schemas.load(&entry.value), schemas.fields.status) else { return Ok(None) };
        let status = |conditions: Value| {
            let text = json!({"status": {"conditions": conditions}}).to_string().into_bytes();
            decode_json::decode(schemas.schema, schemas.resource.type_id, text, FieldValidation::Ignore)
        };
        let own = status(json!([wanted])).map_err(make)?.tree;
        self.account_status(schemas, &mut tree, &own, MANAGER);
        copy_top(&mut tree, &status(json!(conditions)).map_err(make)?.tree, number);
        let value = schemas.store(&mut tree).map_err(make)?;
        Ok(Some(Operation::update(key, entry.version, value)))
    }
}

/// Waits for a change of either; false when there will be none any more.
async fn changed(of_levels: &mut (dyn Subscription + 'static), of_schemas: &mut (dyn Subscription + 'static)) -> bool {
    let (of_levels, of_schemas) = (pin!(of_levels.next()), pin!(of_schemas.next()));
    let (change, _) = select(of_levels, of_schemas).await.factor_first();
    // Whoever is too slow looks again, as after any change.
    !matches!(change, Err(SubscriptionError::Closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_told_whether_its_level_is_there() {
        let levels = HashSet::from(["there"]);
        let message = |level: &str, rest: &str| {
            format!("This FlowSchema references the PriorityLevelConfiguration object named \"{level}\" {rest}")
        };
        let other = json!({"type": "Other", "status": "True"});
        let check = |level: &str, held: Value, expected: Option<(&str, &str, String, usize)>| {
            let schema = json!({
                "spec": {"priorityLevelConfiguration": {"name": level}}, "status": {"conditions": held},
            });
            let told = told(&schema, &levels, 0);
            let shown = told.as_ref().map(|(conditions, wanted)| {
                let text = |field: &str| wanted[field].as_str().unwrap_or_default();
                assert!(conditions.contains(wanted) && wanted["lastTransitionTime"] == "1970-01-01T00:00:00Z");
                (text("status"), text("reason"), text("message").to_owned(), conditions.len())
            });
            assert_eq!(shown, expected, "{schema}");
        };
        let found = message("there", "and it exists");
        let missing = message("absent", "but there is no such object");
        check("there", Value::Null, Some(("False", "Found", found.clone(), 1)));
        check("there", json!([other]), Some(("False", "Found", found, 2)));
        check("absent", json!([other, condition("absent", true, 7)]), Some(("True", "NotFound", missing, 2)));
        check("there", json!([condition("there", true, 7)]), None);
        check("absent", json!([condition("absent", false, 7), other]), None);
    }
}
