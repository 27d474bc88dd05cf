//! What is kept of the chains outside of their files: whoever can write the files cannot change it without the store.
//!
//! Lines are durable first and their head is kept after that, so a head never promises a line that a crash can take. Lines beyond
//! the head are those of the last moment; after an orderly end there are none.

use serde_json::{Value, json};

use super::chain::{Hash, Head};
use crate::BoxFuture;

/// The first line that is retained. Older ones were removed for their age or number, and not by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Its number.
    pub sequence: u64,
    /// The hash that it carries of the line before.
    pub previous: Hash,
    /// Its own hash; [`Hash::ZERO`] when there is no line yet.
    pub hash: Hash,
}

impl First {
    /// That of an empty chain.
    pub const NONE: First = First { sequence: 1, previous: Hash::ZERO, hash: Hash::ZERO };
}

/// What is kept of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The last line.
    pub head: Head,
    /// The hash that the last line carries of the line before.
    pub previous: Hash,
    /// The first line.
    pub first: First,
}

impl ChainHead {
    /// That of an empty chain.
    pub const NONE: ChainHead = ChainHead { head: Head::NONE, previous: Hash::ZERO, first: First::NONE };
}

/// What is kept of a server's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The log.
    pub log: ChainHead,
    /// The log of strangers.
    pub strangers: ChainHead,
    /// Whether the server has ended in order, so that no line comes after the heads.
    pub is_closed: bool,
}

/// A text is not what is kept of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is kept of the audit log cannot be read")]
pub struct UnreadableHeads;

impl Heads {
    /// The heads as JSON.
    pub fn to_json(&self) -> String {
        let chain = |chain: &ChainHead| {
            let ChainHead { head, previous, first } = chain;
            json!({
                "head": head.to_string(),
                "previous": previous.to_string(),
                "first": {
                    "sequence": first.sequence,
                    "previous": first.previous.to_string(),
                    "hash": first.hash.to_string(),
                },
            })
        };
        json!({"log": chain(&self.log), "strangers": chain(&self.strangers), "closed": self.is_closed}).to_string()
    }

    /// Reads what [`Heads::to_json`] wrote.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_json(text: &[u8]) -> Result<Heads, UnreadableHeads> {
        let value: Value = serde_json::from_slice(text).map_err(|_| UnreadableHeads)?;
        let heads = || -> Option<Heads> {
            let chain = |value: &Value| {
                let hash = |value: &Value| value.as_str()?.parse::<Hash>().ok();
                let first = &value["first"];
                Some(ChainHead {
                    head: value["head"].as_str()?.parse().ok()?,
                    previous: hash(&value["previous"])?,
                    first: First {
                        sequence: first["sequence"].as_u64()?,
                        previous: hash(&first["previous"])?,
                        hash: hash(&first["hash"])?,
                    },
                })
            };
            let is_closed = value["closed"].as_bool()?;
            Some(Heads { log: chain(&value["log"])?, strangers: chain(&value["strangers"])?, is_closed })
        };
        heads().ok_or(UnreadableHeads)
    }
}

/// Why heads were not kept or read, for the log.
#[derive(Debug, thiserror::Error)]
#[error("the head of the audit log: {reason}")]
pub struct HeadStoreError {
    /// What went wrong.
    pub reason: String,
}

/// Where the heads of one server's log are kept.
pub trait HeadStore: Send + Sync {
    /// Returns what was kept last; nothing when nothing ever was.
    fn kept(&self) -> BoxFuture<'_, Result<Option<Heads>, HeadStoreError>>;

    /// Keeps the heads, durably before it answers.
    fn keep(&self, heads: Heads) -> BoxFuture<'_, Result<(), HeadStoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        let chain = |sequence| ChainHead {
            head: Head { sequence, hash: Hash::of(b"a") },
            previous: Hash::of(b"b"),
            first: First { sequence: 3, previous: Hash::of(b"c"), hash: Hash::of(b"d") },
        };
        let heads = Heads { log: chain(7), strangers: ChainHead::NONE, is_closed: true };
        assert_eq!(Heads::from_json(heads.to_json().as_bytes()), Ok(heads));
        for text in ["", "{}", "[]", "{\"log\":{},\"strangers\":{},\"closed\":true}"] {
            assert_eq!(Heads::from_json(text.as_bytes()), Err(UnreadableHeads), "{text}");
        }
    }
}
