//! DELETE of a collection: each selected object as by itself; the answer is the list of them.
//!
//! Each deletion is a commit of its own, so that each has a version of its own and a watcher that breaks off between two misses
//! none; many are on their way at once, so that one sync serves many (upstream: `--delete-collection-workers`).

use std::future::{Future, poll_fn};
use std::task::Poll;

use portcullis_store::Key;

use super::delete::{self, Deleted, delete_one};
use super::get::read_at;
use super::options::{self, DeleteOptions};
use super::select::Selection;
use crate::answer::{Answer, Failure, ListAnswer, unreadable};
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;

/// Deletions on their way at once.
const AT_ONCE_MAX: usize = 64;

/// Answers a DELETE of a collection.
pub async fn delete_collection(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let list = options::list(request.query)?;
    let options = delete::read_options(request)?;
    let served = request.served;
    let selection = Selection::parse(served, &list.label_selector, &list.field_selector)?;
    let snapshot = read_at(server, list.at).await?;
    let prefix = served.key_prefix(request.namespace()).unwrap_or_default();
    let mut keys = Vec::new();
    for (key, entry) in snapshot.range(&prefix, None).filter(|_| !prefix.is_empty()) {
        if selection.matches(served, key, &entry.value)? {
            keys.push(Key::clone(key));
        }
    }
    let mut answer =
        ListAnswer { items: Vec::new(), version: snapshot.revision(), next: String::new(), remaining: None };
    for keys in keys.chunks(AT_ONCE_MAX) {
        for deleted in delete_all(server, served, keys, &options).await {
            // Gone meanwhile is gone.
            if let Some(deleted) = deleted? {
                answer.items.push((served.serve(&deleted.value).map_err(unreadable)?, deleted.version));
            }
        }
    }
    Ok(Answer::List(answer))
}

/// Deletes objects side by side and waits for all of them.
async fn delete_all(
    server: &ApiServer,
    served: &Served,
    keys: &[Key],
    options: &DeleteOptions,
) -> Vec<Result<Option<Deleted>, Failure>> {
    let mut running: Vec<_> = keys.iter().map(|key| Box::pin(delete_one(server, served, key, options))).collect();
    let mut done: Vec<Option<Result<Option<Deleted>, Failure>>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
