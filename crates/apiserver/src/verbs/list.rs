//! GET of a collection: a range of one snapshot, selected, in pages.

use portcullis_model::status::Status;
use portcullis_store::Snapshot;

use super::get::read_at;
use super::options::{self, ListOptions, ReadAt};
use super::select::Selection;
use crate::answer::{Answer, Failure, ListAnswer, unreadable};
use crate::pages::ContinueToken;
use crate::past::View;
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;

/// Answers a GET of a collection.
pub async fn list(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    let options = options::list(request.query)?;
    let selection = Selection::parse(request.served, &options.label_selector, &options.field_selector)?;
    let Some(prefix) = request.served.key_prefix(request.namespace()) else {
        return Err(Box::new(Status::no_such_path()));
    };
    let (view, after) = view_for(server, &options, &prefix).await?;
    let page = read_page(request.served, &view, request.namespace(), &selection, options.limit, &after)?;
    if let Some(snapshot) = view.snapshot().filter(|_| !page.next.is_empty()) {
        server.pages.keep(snapshot, server.env.now_micros());
    }
    Ok(Answer::List(page))
}

/// The state a list is read from, and the key after which its page begins.
async fn view_for(server: &ApiServer, options: &ListOptions, prefix: &str) -> Result<(View, String), Failure> {
    if options.continue_token.is_empty() {
        return match options.at {
            ReadAt::Exact(version) => {
                let newest = read_at(server, ReadAt::Exact(version)).await?;
                let view = exactly(server, newest, prefix, version).await?;
                let expired = || {
                    let why = format!("The resourceVersion for the provided list is too old: {version}");
                    Box::new(Status::expired(why))
                };
                Ok((view.ok_or_else(expired)?, String::new()))
            }
            at => Ok((View::of(read_at(server, at).await?), String::new())),
        };
    }
    let token = ContinueToken::decode(&options.continue_token)?;
    let newest = read_at(server, ReadAt::Exact(token.revision)).await?;
    let view = exactly(server, newest, prefix, token.revision).await?.ok_or_else(|| {
        let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
                   without the continue parameter.";
        Box::new(Status::expired(why))
    })?;
    Ok((view, token.after))
}

/// The state at a version that is not newer than the newest; nothing when it is no longer known.
async fn exactly(server: &ApiServer, newest: Snapshot, prefix: &str, version: u64) -> Result<Option<View>, Failure> {
    if newest.revision() == version {
        return Ok(Some(View::of(newest)));
    }
    if let Some(kept) = server.pages.at(version) {
        return Ok(Some(View::of(kept)));
    }
    let view = View::at(&*server.engine, newest, prefix, version).await;
    view.map_err(|error| Box::new(Status::service_unavailable(error.to_string())))
}

/// Reads at most `limit` (0: all) selected objects of a namespace (all when empty) whose keys come after `after`.
pub fn read_page(
    served: &Served,
    view: &View,
    namespace: &str,
    selection: &Selection,
    limit: usize,
    after: &str,
) -> Result<ListAnswer, Failure> {
    let mut page = ListAnswer { items: Vec::new(), version: view.revision(), next: String::new(), remaining: None };
    let Some(prefix) = served.key_prefix(namespace) else { return Ok(page) };
    // One object by name needs no walk.
    if let Some(key) = selection.name().and_then(|name| served.key(namespace, name))
        && (!served.resource.namespaced || !namespace.is_empty())
    {
        if let Some(entry) = view.get(&key)
            && selection.matches(served, &key, &entry.value)?
        {
            page.items.push((served.serve(&entry.value).map_err(unreadable)?, entry.version));
        }
        return Ok(page);
    }
    let begin = (!after.is_empty()).then(|| format!("{prefix}{after}"));
    let mut last = String::new();
    let mut rest = view.range(&prefix, begin.as_deref());
    while let Some((key, entry)) = rest.next() {
        if !selection.matches(served, key, &entry.value)? {
            continue;
        }
        if limit != 0 && page.items.len() == limit {
            page.next = ContinueToken { revision: view.revision(), after: last }.encode();
            if selection.is_everything() {
                page.remaining = Some(1 + rest.count() as u64);
            }
            break;
        }
        page.items.push((served.serve(&entry.value).map_err(unreadable)?, entry.version));
        key.strip_prefix(&prefix).unwrap_or_default().clone_into(&mut last);
    }
    Ok(page)
}
