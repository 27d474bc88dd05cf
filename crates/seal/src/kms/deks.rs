//! Keys that a KMS decrypted, kept for those who open the next value under them: few, not for ever, and each asked for once
//! however many wait for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::sync::watch;

use super::KmsError;
use super::source::SourceKey;
use super::wire::EncryptedObject;

/// Keys that are kept. Each start of a server and each rotation makes one.
pub(super) const KEPT_MAX: usize = 1024;
/// For how long: a KMS that no longer decrypts is felt after this at the latest. Upstream's.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys that are asked for at a time.
const ASKED_MAX: usize = 64;

/// By what a key is known: all that the KMS is told of it.
pub(super) type DekName = [u8; SHA256_OUTPUT_LEN];

/// The name of an envelope's key.
pub(super) fn name_of(object: &EncryptedObject) -> DekName {
    let mut hash = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(&object.encrypted_dek_source_type.to_be_bytes());
    part(&object.encrypted_dek_source);
    part(object.key_id.as_bytes());
    for (name, value) in &object.annotations {
        part(name.as_bytes());
        part(value);
    }
    let mut name = [0; SHA256_OUTPUT_LEN];
    name.copy_from_slice(hash.finish().as_ref());
    name
}

struct Kept {
    key: Arc<SourceKey>,
    until: Instant,
    /// When it was last used, as a count of uses.
    used: u64,
}

type Answer = Option<Result<Arc<SourceKey>, Arc<KmsError>>>;

#[derive(Default)]
struct State {
    kept: HashMap<DekName, Kept>,
    uses: u64,
    asked: HashMap<DekName, watch::Receiver<Answer>>,
}

/// The keys that are here.
#[derive(Default)]
pub(super) struct Deks(Mutex<State>);

impl Deks {
    /// Returns a key that is here.
    pub(super) fn get(&self, name: &DekName, now: Instant) -> Option<Arc<SourceKey>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let uses = state.uses;
        match state.kept.entry(*name) {
            Entry::Occupied(mut kept) if kept.get().until > now => {
                kept.get_mut().used = uses;
                Some(Arc::clone(&kept.get().key))
            }
            Entry::Occupied(old) => {
                old.remove();
                None
            }
            Entry::Vacant(_) => None,
        }
    }

    /// Keeps a key; the one that was not used for longest makes room.
    pub(super) fn keep(&self, name: DekName, key: Arc<SourceKey>, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.kept.len() >= KEPT_MAX
            && !state.kept.contains_key(&name)
            && let Some(oldest) = state.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(name, _)| *name)
        {
            state.kept.remove(&oldest);
        }
        state.uses += 1;
        let used = state.uses;
        state.kept.insert(name, Kept { key, until: now + KEPT_FOR, used });
    }

    /// Returns a key, and asks for it if it is not here. Who comes while it is asked for waits for the same answer.
    pub(super) async fn get_or_ask<F>(
        &self,
        name: DekName,
        ask: impl FnOnce() -> F,
    ) -> Result<Arc<SourceKey>, Arc<KmsError>>
    where
        F: Future<Output = Result<SourceKey, KmsError>>,
    {
        let place = loop {
            if let Some(key) = self.get(&name, Instant::now()) {
                return Ok(key);
            }
            match self.place(name)? {
                Place::Asks(place) => break place,
                Place::Waits(mut answer) => {
                    // Whoever asked may have gone away; then somebody else asks.
                    if let Ok(answer) = answer.wait_for(Option::is_some).await
                        && let Some(answer) = answer.as_ref()
                    {
                        return answer.clone();
                    }
                }
            }
        };
        let asked = Asked { deks: self, name };
        let answer = ask().await.map(Arc::new).map_err(Arc::new);
        if let Ok(key) = &answer {
            self.keep(name, Arc::clone(key), Instant::now());
        }
        drop(asked);
        // Nobody may be waiting.
        place.send(Some(answer.clone())).ok();
        answer
    }

    fn place(&self, name: DekName) -> Result<Place, Arc<KmsError>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = state.asked.get(&name) {
            return Ok(Place::Waits(answer.clone()));
        }
        if state.asked.len() >= ASKED_MAX {
            return Err(Arc::new(KmsError::Busy));
        }
        let (sender, receiver) = watch::channel(None);
        state.asked.insert(name, receiver);
        Ok(Place::Asks(sender))
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).kept.len()
    }
}

enum Place {
    Asks(watch::Sender<Answer>),
    Waits(watch::Receiver<Answer>),
}

/// Frees the place of one who asks, however that ends.
struct Asked<'d> {
    deks: &'d Deks,
    name: DekName,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.deks.0.lock().unwrap_or_else(PoisonError::into_inner).asked.remove(&self.name);
    }
}
