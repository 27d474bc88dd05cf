//! GET of one object: a look into the newest snapshot and a copy.

use http::StatusCode;
use portcullis_model::status::{Status, StatusCause};
use portcullis_store::Snapshot;

use super::options::{self, ReadAt};
use crate::answer::{Answer, Failure, ObjectAnswer, unreadable};
use crate::request::Request;
use crate::server::ApiServer;

/// Answers a GET of an object or of its status.
pub async fn get(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    let served = request.served;
    let at = options::get(request.query)?;
    let snapshot = read_at(server, at).await?;
    let missing = || Box::new(Status::not_found(served.resource.group, served.resource.name, request.path_name()));
    let key = served.key(request.namespace(), request.path_name()).ok_or_else(missing)?;
    let entry = snapshot.get(&key).ok_or_else(missing)?;
    let text = served.serve(&entry.value).map_err(unreadable)?;
    Ok(Answer::Object(ObjectAnswer { text, version: entry.version, code: StatusCode::OK }))
}

/// The newest snapshot, if it is as new as was asked for.
pub async fn read_at(server: &ApiServer, at: ReadAt) -> Result<Snapshot, Failure> {
    if at == ReadAt::Any {
        return Ok(server.engine.snapshot());
    }
    let snapshot = server.newest().await?;
    match at {
        ReadAt::NotOlderThan(version) | ReadAt::Exact(version) if version > snapshot.revision() => {
            Err(too_large(version, snapshot.revision()))
        }
        _ => Ok(snapshot),
    }
}

/// A version that was never given out.
pub fn too_large(version: u64, current: u64) -> Failure {
    let status = Status::timeout(&format!("Too large resource version: {version}, current: {current}"), 1);
    Box::new(status.with_cause(StatusCause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    }))
}
