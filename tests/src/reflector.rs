//! A reader that does what an informer does: it lists and watches, or has the watch send the state; goes on from its last version when
//! a watch ends, and begins anew when it is told 410. It writes down everything that it saw.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use crate::object::{self, Seen};
use crate::session::{Asking, Connector, Protocol};
use crate::watch::{Event, Form, WatchStream};

/// Rounds of list and watch of one reader; more than any test needs.
const ROUNDS_MAX: usize = 100_000;
/// What ends the state that a watch began with.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// "No longer kept".
const GONE: u16 = 410;

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Of the collection.
    pub path: String,
    /// Selectors, or nothing.
    pub query: String,
    /// What to ask for.
    pub form: Form,
    /// How to speak.
    pub protocol: Protocol,
    /// A version at which nothing was there: the first watch goes on from it, and there is no list.
    pub from: Option<u64>,
    /// Whether the watch sends the state, so that there is no list.
    pub is_initial: bool,
    /// Whether to ask for bookmarks.
    pub has_bookmarks: bool,
    /// When the server shall end a watch.
    pub timeout_seconds: Option<u64>,
    /// How many objects the reader can see: it is done when it has seen the end mark on so many.
    pub keys: usize,
    /// When to stop reading for a while, and how long.
    pub rests: Option<Rests>,
}

/// A reader's pauses.
#[derive(Clone, Copy, Debug)]
pub struct Rests {
    /// After so many events,
    pub events: usize,
    /// until so many writes more were acknowledged.
    pub writes: u64,
}

/// What a reader saw, in order.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The answer to a list.
    Listed {
        /// The version of the list.
        version: u64,
        /// Its items.
        items: Vec<Seen>,
    },
    /// A watch was answered that sends the state first.
    Began,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    Event {
        /// Which of them.
        kind: String,
        /// The object.
        object: Seen,
    },
    /// A bookmark.
    Bookmark {
        /// Its version.
        version: u64,
        /// Whether it ends the state.
        ends_state: bool,
    },
    /// 410, as status or as event.
    Expired,
    /// The watch ended otherwise.
    Closed {
        /// The start of the server that had answered it.
        start: u64,
    },
}

/// Where readers read.
#[derive(Clone)]
pub struct Source {
    /// The server.
    pub connector: Connector,
    /// Writes acknowledged so far; nothing when a reader does not rest.
    pub progress: Option<Receiver<u64>>,
    /// How often the server was started; nothing when it is started once, and a broken connection is an error.
    pub starts: Option<Receiver<u64>>,
}

/// Reads until all end marks were seen.
pub async fn run(spec: &Spec, source: &Source) -> Result<Vec<Entry>> {
    let mut reader = Reader::new(spec, source);
    for _ in 0..ROUNDS_MAX {
        let start = source.starts.as_ref().map_or(1, |starts| *starts.borrow());
        let round = reader.round().await;
        if reader.is_done() {
            return Ok(reader.log);
        }
        if matches!(reader.log.last(), Some(Entry::Expired)) && round.is_ok() {
            continue;
        }
        reader.log.push(Entry::Closed { start });
        match (round, &source.starts) {
            (Ok(()), _) => {}
            (Err(error), None) => return Err(error.context(format!("{spec:?}"))),
            (Err(_), Some(starts)) => {
                starts.clone().wait_for(|newest| *newest > start).await.context("no server again")?;
            }
        }
    }
    bail!("{ROUNDS_MAX} rounds and no end: {spec:?}");
}

struct Reader<'a> {
    spec: &'a Spec,
    source: &'a Source,
    log: Vec<Entry>,
    /// The version to go on from; nothing before the state is known.
    from: Option<u64>,
    marked: BTreeSet<String>,
    events: usize,
}

impl<'a> Reader<'a> {
    fn new(spec: &'a Spec, source: &'a Source) -> Self {
        let nothing = |version| Entry::Listed { version, items: Vec::new() };
        let log = spec.from.map(nothing).into_iter().collect();
        Self { spec, source, log, from: spec.from, marked: BTreeSet::new(), events: 0 }
    }

    fn is_done(&self) -> bool {
        self.marked.len() >= self.spec.keys && self.from.is_some()
    }

    /// A list when there is no state, then one watch to its end.
    async fn round(&mut self) -> Result<()> {
        let spec = self.spec;
        let mut session = self.source.connector.open(spec.protocol).await?;
        if self.from.is_none() && !spec.is_initial {
            let form = if spec.form == Form::Protobuf { Form::Json } else { spec.form };
            let asking = Asking { accept: spec.form.list_accept(), ..Asking::GET };
            let (status, list) = session.ask(&format!("{}?{}", spec.path, spec.query), asking).await?;
            ensure!(status == 200, "a list: {list}");
            self.listed(list, form)?;
            if self.is_done() {
                return Ok(());
            }
        }
        let asking = Asking { accept: spec.form.accept(), ..Asking::GET };
        let answer = session.open(&self.watch_path(), asking).await?;
        if answer.status() == GONE {
            self.expired();
            return Ok(());
        }
        ensure!(answer.status() == 200, "a watch: {}", answer.status());
        if self.from.is_none() {
            self.marked.clear();
            self.log.push(Entry::Began);
        }
        let mut stream = WatchStream::new(answer.into_body(), spec.form);
        while let Some(event) = stream.next().await? {
            if !self.take(event)? || self.is_done() {
                return Ok(());
            }
            self.rest().await;
        }
        Ok(())
    }

    fn watch_path(&self) -> String {
        let Spec { path, query, .. } = self.spec;
        let mut path = format!("{path}?watch=true&{query}");
        match self.from {
            Some(version) => path.push_str(&format!("&resourceVersion={version}")),
            None => path.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
        }
        if self.spec.has_bookmarks || self.spec.is_initial {
            path.push_str("&allowWatchBookmarks=true");
        }
        if let Some(seconds) = self.spec.timeout_seconds {
            path.push_str(&format!("&timeoutSeconds={seconds}"));
        }
        path
    }

    fn listed(&mut self, mut list: Value, form: Form) -> Result<()> {
        let version = object::version(&list)?;
        let part = self.spec.form.part();
        let items = form.items(&mut list).into_iter().map(|item| Seen::of(item, part)).collect::<Result<Vec<_>>>()?;
        self.marked = items.iter().filter(|item| item.is_marked).map(|item| item.key.clone()).collect();
        self.from = Some(version);
        self.log.push(Entry::Listed { version, items });
        Ok(())
    }

    fn expired(&mut self) {
        self.from = None;
        self.marked.clear();
        self.log.push(Entry::Expired);
    }

    /// Writes an event down; says whether the watch goes on.
    fn take(&mut self, event: Event) -> Result<bool> {
        let Event { kind, object } = event;
        match kind.as_str() {
            "ERROR" if object["code"] == GONE => {
                self.expired();
                return Ok(false);
            }
            "BOOKMARK" => {
                let version = object::version(&object)?;
                let ends_state = object["metadata"]["annotations"][INITIAL_EVENTS_END] == "true";
                if self.from.is_some() || ends_state {
                    self.from = Some(version);
                }
                self.log.push(Entry::Bookmark { version, ends_state });
            }
            "ADDED" | "MODIFIED" | "DELETED" => {
                let object = Seen::of(object, self.spec.form.part())?;
                if object.is_marked && kind != "DELETED" {
                    self.marked.insert(object.key.clone());
                }
                if self.from.is_some() {
                    self.from = Some(object.version);
                }
                self.events += 1;
                self.log.push(Entry::Event { kind, object });
            }
            _ => bail!("an event of type {kind:?}: {object}"),
        }
        Ok(true)
    }

    /// Does not read until others have written.
    async fn rest(&self) {
        let (Some(rests), Some(progress)) = (self.spec.rests, &self.source.progress) else { return };
        if rests.events != 0 && self.events.is_multiple_of(rests.events) {
            let mut progress = progress.clone();
            let until = progress.borrow().saturating_add(rests.writes);
            // Who writes no more drops the sender: then there is nothing to wait for.
            let _ = progress.wait_for(|writes| *writes >= until).await;
        }
    }
}

impl Spec {
    /// As a line for another process.
    pub fn to_json(&self) -> Value {
        let form = Form::ALL.iter().position(|form| *form == self.form);
        json!({
            "path": self.path,
            "query": self.query,
            "form": form,
            "from": self.from,
            "http2": self.protocol == Protocol::Http2,
            "initial": self.is_initial,
            "bookmarks": self.has_bookmarks,
            "timeout": self.timeout_seconds,
            "keys": self.keys,
        })
    }

    /// Reads what [`Spec::to_json`] wrote. Another process does not rest: it is stopped.
    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            path: value["path"].as_str()?.to_owned(),
            query: value["query"].as_str()?.to_owned(),
            form: *Form::ALL.get(usize::try_from(value["form"].as_u64()?).ok()?)?,
            protocol: if value["http2"].as_bool()? { Protocol::Http2 } else { Protocol::Http1 },
            from: value["from"].as_u64(),
            is_initial: value["initial"].as_bool()?,
            has_bookmarks: value["bookmarks"].as_bool()?,
            timeout_seconds: value["timeout"].as_u64(),
            keys: usize::try_from(value["keys"].as_u64()?).ok()?,
            rests: None,
        })
    }
}

impl Entry {
    /// As a line for another process.
    pub fn to_json(&self) -> Value {
        let seen = |seen: &Seen| json!([seen.key, seen.version, seen.digest, seen.is_marked]);
        match self {
            Self::Listed { version, items } => json!(["listed", version, items.iter().map(seen).collect::<Vec<_>>()]),
            Self::Began => json!(["began"]),
            Self::Event { kind, object } => json!(["event", kind, seen(object)]),
            Self::Bookmark { version, ends_state } => json!(["bookmark", version, ends_state]),
            Self::Expired => json!(["expired"]),
            Self::Closed { start } => json!(["closed", start]),
        }
    }

    /// Reads what [`Entry::to_json`] wrote.
    pub fn from_json(value: &Value) -> Option<Self> {
        let seen = |value: &Value| {
            Some(Seen {
                key: value[0].as_str()?.to_owned(),
                version: value[1].as_u64()?,
                digest: value[2].as_u64()?,
                is_marked: value[3].as_bool()?,
            })
        };
        Some(match value[0].as_str()? {
            "listed" => Self::Listed {
                version: value[1].as_u64()?,
                items: value[2].as_array()?.iter().map(seen).collect::<Option<_>>()?,
            },
            "began" => Self::Began,
            "event" => Self::Event { kind: value[1].as_str()?.to_owned(), object: seen(&value[2])? },
            "bookmark" => Self::Bookmark { version: value[1].as_u64()?, ends_state: value[2].as_bool()? },
            "expired" => Self::Expired,
            "closed" => Self::Closed { start: value[1].as_u64()? },
            _ => return None,
        })
    }
}
