//! GET of a collection: a range of one snapshot, selected, in pages. What is answered are pointers; the body is made as it is sent.

use std::sync::Arc;

use portcullis_model::status::Status;
use portcullis_store::{Entry, Key, Snapshot};

use super::get::read_at;
use super::options::{self, ListOptions, ReadAt};
use super::select::Selection;
use crate::answer::{Answer, Failure, ListAnswer};
use crate::forms::{Item, Show};
use crate::list_body::item_bytes;
use crate::negotiate::{Accepted, Format, Shape};
use crate::pages::{Begin, ContinueToken};
use crate::past::View;
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;

/// Messages that are looked at, and made where nobody has asked for them, before others come first.
const MESSAGES_AT_ONCE_MAX: usize = 128;

/// Answers a GET of a collection.
pub async fn list(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    Ok(Answer::List(select(server, request, |_| ()).await?))
}

/// The objects that a request for a collection means, as an answer. `note` is told each one's key.
pub async fn select(
    server: &ApiServer,
    request: &Request<'_>,
    note: impl FnMut(&Key) + Send,
) -> Result<ListAnswer, Failure> {
    let options = options::list(request.query)?;
    let selection = Selection::parse(request.served, &options.label_selector, &options.field_selector)?;
    let Some(prefix) = request.served.key_prefix(request.namespace()) else {
        return Err(Box::new(Status::no_such_path()));
    };
    let (view, begin) = view_for(server, &options, &prefix).await?;
    let page = read_page(request.served, &view, request.namespace(), &selection, options.limit, &begin, note).await?;
    if let Some(snapshot) = view.snapshot().filter(|_| !page.next.is_empty()) {
        server.pages.keep(snapshot, server.env.now_micros());
    }
    server.metrics.count_list(request.served, !selection.terms().is_empty(), page.fetched, page.entries.len());
    let message_bytes = make_messages(request.served, request.accepted, &page.entries).await?;
    let Page { entries, next, remaining, .. } = page;
    let registry = Arc::clone(&server.registry);
    let (version, is_walk) = (view.revision(), selection.is_everything());
    Ok(ListAnswer { registry, entries, version, next, remaining, is_walk, message_bytes })
}

/// The state a list is read from, and where in it its page begins.
async fn view_for(server: &ApiServer, options: &ListOptions, prefix: &str) -> Result<(View, Begin), Failure> {
    let Some(token) = &options.continue_token else {
        return match options.at {
            ReadAt::Exact(version) => {
                let view = exactly(server, prefix, version).await?;
                let expired = || Box::new(Status::expired("The resourceVersion for the provided list is too old."));
                Ok((view.ok_or_else(expired)?, Begin::First))
            }
            at => Ok((View::of(read_at(server, at).await?), Begin::First)),
        };
    };
    let begin = token.begin(prefix);
    match token.revision {
        None => Ok((View::of(server.newest().await?), begin)),
        Some(revision) => match exactly(server, prefix, revision).await? {
            Some(view) => Ok((view, begin)),
            None => Err(continue_expired(token)),
        },
    }
}

/// The token is too old; another one is given for the rest of the list as it is at the newest version.
fn continue_expired(token: &ContinueToken) -> Failure {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
                   the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
                   Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
                   deleted between the time the first chunk was returned and now may show up in the list.";
    let token = ContinueToken { revision: None, start: token.start.clone() };
    Box::new(Status::expired(message).with_continue(token.encode()))
}

/// The state at a version; nothing when it is no longer known. A version that is not there yet is an error.
async fn exactly(server: &ApiServer, prefix: &str, version: u64) -> Result<Option<View>, Failure> {
    let newest: Snapshot = read_at(server, ReadAt::Exact(version)).await?;
    if newest.revision() == version {
        return Ok(Some(View::of(newest)));
    }
    if let Some(kept) = server.pages.at(version) {
        return Ok(Some(View::of(kept)));
    }
    let view = View::at(&*server.engine, newest, prefix, version).await;
    view.map_err(|error| Box::new(Status::service_unavailable(error.to_string())))
}

/// A part of a collection.
#[derive(Debug, Default)]
pub struct Page {
    /// The objects.
    pub entries: Vec<Entry>,
    /// The token of the next page; empty on the last.
    pub next: String,
    /// How many follow, when everything is meant.
    pub remaining: Option<u64>,
    /// How many objects were looked at.
    pub fetched: usize,
}

/// Reads at most `limit` (0: all) selected objects of a namespace (all when empty).
pub async fn read_page(
    served: &Served,
    view: &View,
    namespace: &str,
    selection: &Selection,
    limit: usize,
    begin: &Begin,
    mut note: impl FnMut(&Key) + Send,
) -> Result<Page, Failure> {
    let mut page = Page::default();
    let Some(prefix) = served.key_prefix(namespace) else { return Ok(page) };
    // One object by name needs no walk.
    if let Some(key) = selection.name().and_then(|name| served.key(namespace, name))
        && (!served.resource.namespaced || !namespace.is_empty())
    {
        page.fetched = 1;
        if let Some(entry) = view.get(&key)
            && selection.matches(served, &key, entry)?
        {
            note(&Key::from(key));
            page.entries.push(entry.clone());
        }
        return Ok(page);
    }
    let entries_max = if selection.is_everything() && limit != 0 { limit } else { usize::MAX };
    view.have_read(&prefix, begin.after(), entries_max).await;
    for (key, entry) in view.candidates(&prefix, begin.after(), selection.terms()) {
        if matches!(begin, Begin::At(first) if **key < **first) {
            continue;
        }
        page.fetched += 1;
        if !selection.matches(served, key, entry)? {
            continue;
        }
        note(key);
        page.entries.push(entry.clone());
        if limit != 0 && page.entries.len() == limit {
            finish_page(view, &prefix, selection, key, &mut page);
            break;
        }
    }
    Ok(page)
}

/// Says where a full page goes on. As upstream's, a page may follow that has nothing of what is selected.
fn finish_page(view: &View, prefix: &str, selection: &Selection, last: &Key, page: &mut Page) {
    let mut rest = view.range(prefix, Some(last));
    if rest.next().is_none() {
        return;
    }
    page.next = ContinueToken::after(view.revision(), last.strip_prefix(prefix).unwrap_or_default()).encode();
    if selection.is_everything() {
        page.remaining = Some(1 + rest.count() as u64);
    }
}

/// Makes what a body could otherwise find out to be impossible when half of it is sent, and what its first bytes must tell: how long
/// a protobuf list is. Nothing is made twice while there is room to keep it.
async fn make_messages(served: &Served, accepted: Accepted, entries: &[Entry]) -> Result<usize, Failure> {
    let is_protobuf = accepted.format == Format::Protobuf;
    if !is_protobuf && served.stored_as_served() {
        return Ok(0);
    }
    let show = if accepted.shape == Shape::Object { Show::Message } else { Show::PartialMessage };
    let mut bytes = 0;
    for entries in entries.chunks(MESSAGES_AT_ONCE_MAX) {
        for entry in entries {
            let item = Item::of(served, entry)?;
            if is_protobuf {
                bytes += item_bytes(item.message_of(show)?.len());
            } else {
                item.text()?;
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(bytes)
}
