//! How large the file of etcd is, as the member in use says: asked every so often and kept, so that whoever wants to know never waits
//! (upstream: `apiserver_storage_size_bytes`, which asks while it is scraped).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::link::Link;
use crate::Footprint;

/// Pause between two questions.
const INTERVAL: Duration = Duration::from_secs(30);

/// What etcd last said, and what this server did there.
#[derive(Default)]
pub(super) struct Known {
    /// Nothing was said yet while it is 0: etcd's file is never empty.
    file_bytes: AtomicU64,
    used_bytes: AtomicU64,
    compactions: AtomicU64,
}

impl Known {
    pub(super) fn compacted(&self) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Footprint {
        let said = |value: &AtomicU64| Some(value.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0);
        let (file_bytes, used_bytes) = (said(&self.file_bytes), said(&self.used_bytes));
        let free_bytes = file_bytes.zip(used_bytes).map(|(all, used)| all.saturating_sub(used));
        let compactions = self.compactions.load(Ordering::Relaxed);
        Footprint { file_bytes, free_bytes, log_bytes: None, compactions }
    }
}

/// Asks until told to stop. Where nobody answers the last answer stays.
pub(super) async fn keep(known: Arc<Known>, link: Link, mut stop: watch::Receiver<bool>) {
    loop {
        match link.status().await {
            Ok(status) => {
                known.file_bytes.store(status.db_size.unsigned_abs(), Ordering::Relaxed);
                known.used_bytes.store(status.db_size_in_use.unsigned_abs(), Ordering::Relaxed);
            }
            Err(error) => tracing::debug!(%error, "etcd did not say how large it is"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_before_etcd_has_said_it() {
        let known = Known::default();
        assert_eq!(known.read(), Footprint::default());
        known.file_bytes.store(10, Ordering::Relaxed);
        known.used_bytes.store(7, Ordering::Relaxed);
        known.compacted();
        let expected = Footprint { file_bytes: Some(10), free_bytes: Some(3), log_bytes: None, compactions: 1 };
        assert_eq!(known.read(), expected);
    }
}
