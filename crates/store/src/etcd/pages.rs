//! All keys of the cluster, in pages: all of them at one revision, or each at what is new when it is read.

use bytes::Bytes;
use tonic::{Code, Status};

use super::{
    link::Link,
    wire::{RangeRequest, RangeResponse},
};
use crate::engine::KEY_PREFIX;

/// Entries asked for at once; halved while the answer is too large.
const PAGE_ENTRIES: i64 = 500;

/// All keys of the cluster, some at a time.
pub(super) struct Pages {
    /// The revision, once the first page has come; 0 when each page has its own.
    pub(super) revision: i64,
    is_pinned: bool,
    keys_only: bool,
    limit: i64,
    /// Where the next page begins; nothing when there is none.
    start: Option<Bytes>,
}

impl Pages {
    /// At a revision, or at the present one for 0.
    pub(super) fn at(revision: i64) -> Pages {
        let start = Some(Bytes::from_static(KEY_PREFIX.as_bytes()));
        Pages { revision, is_pinned: true, keys_only: false, limit: PAGE_ENTRIES, start }
    }

    /// Each page at what is new then.
    pub(super) fn each_newest() -> Pages {
        Pages { is_pinned: false, ..Pages::at(0) }
    }

    /// At the present revision, without values.
    pub(super) fn keys() -> Pages {
        Pages { keys_only: true, ..Pages::at(0) }
    }

    /// The next of them; nothing behind the last one.
    pub(super) async fn next(&mut self, link: &Link) -> Result<Option<RangeResponse>, Status> {
        let Some(start) = self.start.take() else { return Ok(None) };
        let page = loop {
            let Pages { limit, revision, keys_only, .. } = *self;
            let key = start.clone();
            let request = RangeRequest { key, range_end: end(), limit, revision, keys_only, count_only: false };
            match link.range(request).await {
                Err(status) if status.code() == Code::OutOfRange && self.limit > 1 && !is_compacted(&status) => {
                    self.limit /= 2;
                }
                page => break page?,
            }
        };
        if self.is_pinned && self.revision == 0 {
            self.revision = page.header.as_ref().map_or(0, |header| header.revision);
        }
        self.start = page.kvs.last().filter(|_| page.more).map(|last| behind(&last.key));
        Ok(Some(page))
    }
}

/// etcd's end of all keys of the cluster: their prefix, which ends in `/`, with its last byte one higher.
pub(super) fn end() -> Bytes {
    let mut end = KEY_PREFIX.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// etcd's way to say that a revision is no longer there has the code of messages that are too large.
pub(super) fn is_compacted(status: &Status) -> bool {
    status.message().contains("compacted")
}

/// The first key behind a key.
pub(super) fn behind(key: &[u8]) -> Bytes {
    [key, &b"\0"[..]].concat().into()
}
