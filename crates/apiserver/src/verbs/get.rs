//! GET of one object: a look into the newest snapshot and a copy.

use std::time::Duration;

use http::StatusCode;
use portcullis_model::status::{Status, StatusCause};
use portcullis_store::{Entry, Snapshot};
use tokio::time::{Instant, sleep};

use super::options::{self, ReadAt};
use crate::answer::{Answer, Failure, ObjectAnswer, unreadable};
use crate::request::Request;
use crate::server::ApiServer;

/// How long a read waits for a version that is not there yet (upstream's `blockTimeout`).
const VERSION_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often it looks. Versions of all resources count, and no subscription is to all of them.
const VERSION_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Seconds after which a client that asked for a version that is not there yet should come back.
const RETRY_AFTER_SECONDS: i32 = 1;

/// Answers a GET of an object or of its status.
pub async fn get(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Entry(read(server, request).await?))
}

/// The same object by its text, for who makes something else of it.
pub async fn text(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    let entry = read(server, request).await?;
    let text = request.served.serve(&entry.value).map_err(unreadable)?;
    Ok(Answer::Object(ObjectAnswer { text, version: entry.version, code: StatusCode::OK }))
}

async fn read(server: &ApiServer, request: &Request<'_>) -> Result<Entry, Failure> {
    let served = request.served;
    let snapshot = read_at(server, options::get(request.query)?).await?;
    let key = served.key(request.namespace(), request.path_name());
    let entry = key.and_then(|key| snapshot.get(&key).cloned());
    entry.ok_or_else(|| Box::new(Status::not_found(served.resource.group, served.resource.name, request.path_name())))
}

/// The newest snapshot, if it is as new as was asked for. One that may become so is waited for.
pub async fn read_at(server: &ApiServer, at: ReadAt) -> Result<Snapshot, Failure> {
    match at {
        ReadAt::Any => Ok(server.engine.snapshot()),
        ReadAt::Newest => server.newest().await,
        ReadAt::Exact(version) => {
            let snapshot = server.newest().await?;
            if version > snapshot.revision() {
                return Err(too_large_for(version, snapshot.revision(), 0));
            }
            Ok(snapshot)
        }
        ReadAt::NotOlderThan(version) => {
            let deadline = Instant::now() + VERSION_WAIT_MAX;
            loop {
                let snapshot = server.newest().await?;
                if version <= snapshot.revision() {
                    return Ok(snapshot);
                }
                if Instant::now() >= deadline {
                    return Err(too_large(version, snapshot.revision()));
                }
                sleep(VERSION_LOOK_INTERVAL).await;
            }
        }
    }
}

/// A version that was not given out yet.
pub fn too_large(version: u64, current: u64) -> Failure {
    too_large_for(version, current, RETRY_AFTER_SECONDS)
}

fn too_large_for(version: u64, current: u64, retry_after_seconds: i32) -> Failure {
    let message = format!("Too large resource version: {version}, current: {current}");
    let status = Status::timeout(&message, retry_after_seconds);
    Box::new(status.with_cause(StatusCause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    }))
}
