//! The clients: each asks one question after the other about a few objects that all of them want, and notes what it was told. A question
//! without an answer in time is given up, with its connection; a connection that cannot be opened is no question.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::objects::{NAMESPACES, OBJECTS, Request, Resource, Target, WATCHED, no_answer};
use super::record::{Asked, END, Guard, Held, Kind, Operation, Reading, Sight, Told, Watched, is_end};
use crate::object;
use crate::random::Random;
use crate::session::{Asking, Connector, JSON, Protocol, Session};
use crate::watch::{Event, Form, WatchStream};

/// Those who ask, beside the watchers.
pub const CLIENTS: u64 = 32;
/// Until a client gives a connection up that does not come about.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// Until a client gives a question up.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);
/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Until a watcher that hears nothing breaks off.
const SILENCE: Duration = Duration::from_millis(2500);
/// A watcher that breaks off by itself does so after at most so many events.
const EVENTS_BEFORE_BREAK: u64 = 60;
const PAGE: usize = 1;
/// Pages of one list.
const PAGES_MAX: usize = 64;

/// What all clients of a round share.
#[derive(Clone)]
pub struct Place {
    /// One for each server.
    pub connectors: Vec<Connector>,
    /// When the round began.
    pub began: Instant,
    /// Whether clients are to end.
    pub is_over: watch::Receiver<bool>,
    /// Of the round.
    pub seed: u64,
    /// At most so long does a client think between two questions.
    pub pause_max: Duration,
}

impl Place {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }
}

/// One who asks.
pub struct Client {
    place: Place,
    number: u64,
    server: usize,
    protocol: Protocol,
    random: Random,
    session: Option<Session>,
    writes: u64,
    known: HashMap<String, Held>,
    /// What it asked and was told.
    pub operations: Vec<Operation>,
    /// Answers that no server may give.
    pub unexpected: Vec<String>,
}

impl Client {
    /// The client of a number.
    pub fn new(place: &Place, number: u64) -> Self {
        let protocol = if number.is_multiple_of(2) { Protocol::Http1 } else { Protocol::Http2 };
        let random = Random::new(place.seed, number);
        let server = usize::try_from(number).unwrap_or(0) / 2 % place.connectors.len();
        let (operations, unexpected, known) = (Vec::new(), Vec::new(), HashMap::new());
        Self {
            place: place.clone(),
            number,
            server,
            protocol,
            random,
            session: None,
            writes: 0,
            known,
            operations,
            unexpected,
        }
    }

    /// Asks until the round is over.
    pub async fn run(mut self) -> Self {
        while !self.place.is_over() {
            if !self.connect().await {
                continue;
            }
            self.question().await;
            let pause_us = u64::try_from(self.place.pause_max.as_micros()).unwrap_or(0);
            tokio::time::sleep(Duration::from_micros(self.random.below(pause_us))).await;
        }
        self
    }

    async fn connect(&mut self) -> bool {
        if self.session.as_ref().is_some_and(|session| !session.is_closed()) {
            return true;
        }
        let connector = &self.place.connectors[self.server];
        self.session = match timeout(CONNECT_TIMEOUT, connector.open(self.protocol)).await {
            Ok(Ok(session)) => Some(session),
            _ => None,
        };
        if self.session.is_none() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        self.session.is_some()
    }

    fn value(&mut self) -> String {
        self.writes += 1;
        format!("{}-{}", self.number, self.writes)
    }

    /// One question, or a read and a write that names what was read.
    async fn question(&mut self) {
        let (resource, namespace, name) = *self.random.choose(&OBJECTS);
        let target = Target { resource, namespace, name };
        let value = self.value();
        let choice = self.random.below(100);
        if (30..68).contains(&choice) && self.random.below(5) != 0 {
            self.ask(&target, Asked::Get).await;
        }
        let known = self.known.get(&target.key()).cloned();
        let asked = match (choice, known) {
            (0..14, _) => Asked::Put(value, Guard::Absent),
            (14..30, _) => Asked::Put(value, Guard::Present),
            (30..48, Some(known)) => Asked::Put(value, Guard::Version(known.version)),
            (48..58, Some(known)) => Asked::Put(value, Guard::Value(known.value)),
            (58..62, Some(known)) => Asked::Delete(Guard::Version(known.version)),
            (62..68, Some(known)) => Asked::Delete(Guard::Uid(known.uid)),
            (68..74, _) => Asked::Delete(Guard::Present),
            (74..80, _) => Asked::List(Reading::Newest),
            (80..84, _) => Asked::List(Reading::Any),
            (84..88, _) => Asked::List(Reading::Paged),
            _ => Asked::Get,
        };
        if matches!(asked, Asked::List(_)) {
            let namespace = (self.random.below(3) == 0).then_some(namespace);
            self.list(resource, namespace, asked).await;
        } else {
            self.ask(&target, asked).await;
        }
    }

    /// Asks about one object.
    async fn ask(&mut self, target: &Target<'_>, asked: Asked) -> Option<Told> {
        let request = target.request(&asked, self.random.below(2) == 0);
        let invoked = self.place.now();
        let answer = self.send(&request).await;
        let told = match answer {
            Ok((status, body)) => target.told(&asked, status, &body),
            Err(why) => Ok(Told::Unknown(why)),
        };
        let key = target.key();
        match &told {
            Ok(Told::Held(held)) => drop(self.known.insert(key.clone(), held.clone())),
            Ok(Told::Missing | Told::Removed(_)) => drop(self.known.remove(&key)),
            _ => {}
        }
        self.note(key, asked, told, invoked)
    }

    fn note(&mut self, subject: String, asked: Asked, told: Result<Told>, invoked: u64) -> Option<Told> {
        let returned = self.place.now();
        match told {
            Ok(told) => {
                if matches!(told, Told::Unknown(_)) {
                    // What it still has to say would be taken for the answer to the next question.
                    self.session = None;
                }
                let (client, server) = (self.number, self.server as u64);
                self.operations.push(Operation {
                    client,
                    server,
                    subject,
                    asked,
                    told: told.clone(),
                    invoked,
                    returned,
                });
                Some(told)
            }
            Err(error) => {
                self.unexpected
                    .push(format!("unexpected answer: client {}: {asked:?} {subject}: {error:#}", self.number));
                None
            }
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(u16, Value), String> {
        let session = self.session.as_mut().ok_or("no connection")?;
        let content = request.content.as_ref().map(|(media_type, content)| (*media_type, content));
        let asking = Asking { method: request.method, accept: JSON, content };
        match timeout(ANSWER_TIMEOUT, session.ask(&request.path, asking)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Asks for all objects of a scope, in pages if that is wanted.
    async fn list(&mut self, resource: &Resource, namespace: Option<&str>, asked: Asked) -> Option<Told> {
        let invoked = self.place.now();
        let path = resource.path(namespace);
        let mut query = match asked {
            Asked::List(Reading::Any) => "?resourceVersion=0".to_owned(),
            Asked::List(Reading::Paged) => format!("?limit={PAGE}"),
            _ => String::new(),
        };
        let (mut versions, mut items) = (Vec::new(), BTreeMap::new());
        let told = loop {
            let request = Request { method: "GET", path: format!("{path}{query}"), content: None };
            let (status, body) = match self.send(&request).await {
                Ok(answer) => answer,
                Err(why) => break Ok(Told::Unknown(why)),
            };
            if status != 200 {
                break no_answer(status, &body);
            }
            let page = object::version(&body).and_then(|version| {
                versions.push(version);
                resource.items(&body, &mut items)
            });
            if let Err(error) = page {
                break Err(error);
            }
            match body["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) if versions.len() < PAGES_MAX => query = format!("?limit={PAGE}&continue={token}"),
                _ => break Ok(Told::Listed(versions, items)),
            }
        };
        self.note(resource.scope(namespace), asked, told, invoked)
    }

    /// Waits until every server answers, writes the last object of each scope that is watched, and lists everything.
    pub async fn end(mut self, patience: Duration) -> Self {
        let until = Instant::now() + patience;
        for (resource, namespace, _) in WATCHED {
            let namespace = namespace.unwrap_or(NAMESPACES[0]);
            while Instant::now() < until {
                let value = self.value();
                let name = format!("{END}{value}");
                let target = Target { resource, namespace, name: &name };
                if self.connect().await
                    && let Some(Told::Held(_)) = self.ask(&target, Asked::Put(value, Guard::Absent)).await
                {
                    break;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        for server in 0..self.place.connectors.len() {
            (self.server, self.session) = (server, None);
            for (resource, namespace, _) in WATCHED {
                let is_listed = loop {
                    if self.connect().await
                        && let Some(Told::Listed(..)) =
                            self.list(resource, namespace, Asked::List(Reading::Newest)).await
                    {
                        break true;
                    }
                    if Instant::now() > until {
                        break false;
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                };
                if !is_listed {
                    self.unexpected.push(format!("server {server} does not come back"));
                }
            }
        }
        self
    }
}

/// One who watches.
pub struct Watcher {
    client: Client,
    resource: &'static Resource,
    namespace: Option<&'static str>,
    is_restless: bool,
    at: Option<u64>,
    watched: Watched,
}

/// All watchers of a round.
pub fn watchers(place: &Place) -> Vec<Watcher> {
    let one = |(number, (resource, namespace, is_restless)): (u64, (&'static Resource, Option<&'static str>, bool))| {
        let scope = resource.scope(namespace);
        let watched = Watched { watcher: number, scope, sights: Vec::new() };
        let client = Client::new(place, CLIENTS + 1 + number);
        Watcher { client, resource, namespace, is_restless, at: None, watched }
    };
    (0..).zip(WATCHED).map(one).collect()
}

impl Watcher {
    /// Watches until it is told of the end of its scope, or, once the round is over, until its patience ends.
    pub async fn run(mut self, patience: Duration) -> (Watched, Client) {
        let mut over = self.client.place.is_over.clone();
        let is_late = async move {
            let _ = over.wait_for(|is_over| *is_over).await;
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            () = self.watch() => {}
            () = is_late => {}
        }
        (self.watched, self.client)
    }

    async fn watch(&mut self) {
        loop {
            let is_ended = self.follow().await;
            if is_ended {
                return;
            }
            self.client.session = None;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn saw(&mut self, sight: Sight) {
        let at = self.client.place.now();
        self.watched.sights.push((at, sight));
    }

    /// Lists if it must, and follows one watch to its end; says whether it was told of the end of the scope.
    async fn follow(&mut self) -> bool {
        if !self.client.connect().await {
            return false;
        }
        let from = match self.at {
            Some(at) => at,
            None => {
                let listed = self.client.list(self.resource, self.namespace, Asked::List(Reading::Newest)).await;
                let Some(Told::Listed(versions, items)) = listed else { return false };
                let is_ended = items.keys().any(|key| is_end(key));
                let version = versions.first().copied().unwrap_or(0);
                self.at = Some(version);
                self.saw(Sight::Listed(version, items));
                if is_ended {
                    return true;
                }
                version
            }
        };
        let seconds = 1 + self.client.random.below(4);
        let path = self.resource.path(self.namespace);
        let query = format!("?watch=1&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds={seconds}");
        let events = if self.is_restless { self.client.random.below(EVENTS_BEFORE_BREAK) } else { u64::MAX };
        let Some(session) = &mut self.client.session else { return false };
        let answer = match timeout(ANSWER_TIMEOUT, session.open(&format!("{path}{query}"), Asking::GET)).await {
            Ok(Ok(answer)) => answer,
            _ => return false,
        };
        match answer.status().as_u16() {
            200 => {}
            410 => {
                self.expired();
                return false;
            }
            429 | 503 | 504 => return false,
            other => {
                self.client.unexpected.push(format!("unexpected answer: {other} to a watch of {path}{query}"));
                return false;
            }
        }
        self.read(WatchStream::new(answer.into_body(), Form::Json), events).await
    }

    fn expired(&mut self) {
        self.at = None;
        self.saw(Sight::Expired);
    }

    async fn read(&mut self, mut stream: WatchStream, events: u64) -> bool {
        for _ in 0..events {
            let Ok(Ok(Some(event))) = timeout(SILENCE, stream.next()).await else { break };
            match self.take(&event) {
                Ok(Some(is_ended)) if is_ended => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) => {
                    self.client.unexpected.push(format!("unexpected event: {error:#}: {event:?}"));
                    return false;
                }
            }
        }
        self.saw(Sight::Broken);
        false
    }

    /// Notes an event; says whether it is the end of the scope, or nothing when the watch must begin anew.
    fn take(&mut self, event: &Event) -> Result<Option<bool>> {
        if event.kind == "ERROR" {
            anyhow::ensure!(event.object["code"] == 410, "an error in a watch");
            self.expired();
            return Ok(None);
        }
        let version = object::version(&event.object)?;
        if event.kind == "BOOKMARK" {
            self.at = Some(version);
            self.saw(Sight::Bookmark(version));
            return Ok(Some(false));
        }
        let kind = Kind::of(&event.kind).context("an event of an unknown kind")?;
        self.at = Some(version);
        let Some(key) = self.resource.key(&event.object) else { return Ok(Some(false)) };
        let is_ended = is_end(&key);
        let held = self.resource.held(&event.object)?;
        self.saw(Sight::Event(kind, key, held));
        Ok(Some(is_ended))
    }
}
