//! DELETE of a collection: each listed object as by itself; the answer is the list of them, as they were found.
//!
//! Which objects are meant, and from which moment, is a list's to say, page by page when there is a limit. Each deletion is a commit of its
//! own, so that each has a version of its own and a watcher that breaks off between two misses none; many are on their way at once, so
//! that one sync serves many (upstream: `store.DeleteCollection`, `--delete-collection-workers`).

use std::future::{Future, poll_fn};
use std::task::Poll;

use portcullis_store::Key;

use super::delete::{self, delete_one};
use super::list;
use super::options::DeleteOptions;
use crate::answer::{Answer, Failure};
use crate::request::Request;
use crate::server::ApiServer;

/// Deletions on their way at once.
const AT_ONCE_MAX: usize = 64;

/// Answers a DELETE of a collection.
pub async fn delete_collection(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let options = delete::read_options(request)?;
    let mut keys = Vec::new();
    let found = list::select(server, request, |key| keys.push(key.clone())).await?;
    for keys in keys.chunks(AT_ONCE_MAX) {
        delete_all(server, request, keys, &options).await?;
    }
    Ok(Answer::List(found))
}

/// Deletes objects side by side and waits for all of them, then gives the first failure. What is gone meanwhile is gone.
async fn delete_all(
    server: &ApiServer,
    request: &Request<'_>,
    keys: &[Key],
    options: &DeleteOptions,
) -> Result<(), Failure> {
    let mut running: Vec<_> =
        keys.iter().map(|key| Some(Box::pin(delete_one(server, request, key, options)))).collect();
    let mut failure = None;
    poll_fn(|context| {
        for slot in &mut running {
            let Some(future) = slot else { continue };
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                *slot = None;
                failure = failure.take().or(result.err());
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    failure.map_or(Ok(()), Err)
}
