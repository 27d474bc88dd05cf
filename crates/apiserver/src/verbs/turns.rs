//! Turns of writers that met at one object: whoever lost a commit to another writer waits here for the others who did, instead of
//! racing them again. With optimistic writes alone, the losers of every round meet in the next one, and with enough of them
//! somebody loses every time; in turns, each is in the way of first attempts only.
//!
//! Upstream has no such thing: its writers race until they win or their time is up.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Queues for all keys together. Two keys that share one wait for each other, which only costs time.
const QUEUES: usize = 64;

/// Fair: who waits longest is next. Not a lock around data: a writer without a turn may still commit.
static TURNS: [Semaphore; QUEUES] = [const { Semaphore::const_new(1) }; QUEUES];

/// The same for those who write something that a whole namespace shares (its quotas). Who waits here may have a turn at its object; who
/// has a turn here waits for none, so that no two wait for each other.
static TURNS_IN_NAMESPACES: [Semaphore; QUEUES] = [const { Semaphore::const_new(1) }; QUEUES];

/// Waits for a turn to write a key; it lasts until it is dropped.
pub async fn take(key: &str) -> Option<SemaphorePermit<'static>> {
    take_of(&TURNS, key).await
}

/// Waits for a turn to write what a namespace shares; it lasts until it is dropped.
pub async fn take_in_namespace(namespace: &str) -> Option<SemaphorePermit<'static>> {
    take_of(&TURNS_IN_NAMESPACES, namespace).await
}

async fn take_of(turns: &'static [Semaphore; QUEUES], key: &str) -> Option<SemaphorePermit<'static>> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let queue = turns.get(hasher.finish() as usize % QUEUES)?;
    queue.acquire().await.ok()
}
