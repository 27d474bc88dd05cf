//! Lets etcd remove by itself what lives for a while only ([`crate::Catalog::lifetime`]). One lease serves many keys: a lease each would cost
//! more than the event it is for (upstream: `etcd3/lease_manager.go`, `--lease-reuse-duration-seconds` 60, at most 1,000 keys).

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tonic::Status;

use super::{
    link::Link,
    wire::{LeaseGrantRequest, LeaseGrantResponse},
};

/// For how long a lease is given to new keys. It lasts that much longer than they have to.
const REUSE: Duration = Duration::from_secs(60);
/// Keys of one lease: all end at one revision.
const KEYS_MAX: usize = 1000;

/// The lease in use.
#[derive(Default)]
pub(super) struct Leases(Mutex<Option<Lease>>);

struct Lease {
    id: i64,
    lifetime: Duration,
    granted: Instant,
    keys: usize,
}

impl Leases {
    /// A lease that lasts at least so long.
    pub(super) async fn of(&self, link: &Link, lifetime: Duration) -> Result<i64, Status> {
        let mut kept = self.0.lock().await;
        let in_use = kept
            .as_mut()
            .filter(|lease| lease.lifetime == lifetime && lease.keys < KEYS_MAX && lease.granted.elapsed() < REUSE);
        if let Some(lease) = in_use {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let granted = Instant::now();
        let seconds = i64::try_from((lifetime + REUSE).as_secs()).unwrap_or(i64::MAX);
        let LeaseGrantResponse { id } = link.grant(LeaseGrantRequest { ttl: seconds.max(1) }).await?;
        *kept = Some(Lease { id, lifetime, granted, keys: 1 });
        Ok(id)
    }
}
