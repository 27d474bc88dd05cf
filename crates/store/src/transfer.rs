//! Everything that a store holds, on its way from one to another: opened with the keys of the one, compared by digest, sealed with the
//! keys of the other. All of it is in memory, as it is in a server.

use std::fmt;

use bytes::Bytes;

use crate::{
    Catalog, Digest, Digested, Key, Sealing,
    engine::{Source, check_key},
    sealing::{Opening, reason},
};

/// What an engine keeps of one entry, as it keeps it.
pub struct Kept {
    /// The key, as it stands there.
    pub key: Bytes,
    /// Revision of the last change.
    pub version: u64,
    /// Revision of the first.
    pub create_revision: u64,
    /// The form of an own value; none of what etcd holds.
    pub epoch: Option<u32>,
    /// When it is to be removed, in seconds since 1970.
    pub expires: Option<u64>,
    /// The value; it may be sealed.
    pub value: Bytes,
}

/// One entry.
pub struct Item {
    /// The key.
    pub key: Key,
    /// Revision of the last change.
    pub version: u64,
    /// Revision of the first.
    pub create_revision: u64,
    /// The form of the value.
    pub epoch: u32,
    /// When it is to be removed, in seconds since 1970.
    pub expires: Option<u64>,
    /// The value: plain, in our own form, in that of its epoch.
    pub value: Bytes,
}

impl Item {
    /// The value as it would be written today.
    pub fn current(&self, catalog: &dyn Catalog) -> Bytes {
        let older = self.epoch != catalog.epoch(&self.key);
        let renewed = if older { catalog.renew(&self.key, &self.value, self.epoch) } else { None };
        renewed.unwrap_or_else(|| self.value.clone())
    }
}

/// An entry that cannot be taken along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its key, or what there is of it.
    pub key: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.key, self.reason)
    }
}

/// What a store holds at one revision, as it keeps it.
#[derive(Default)]
pub struct Raw {
    /// The revision.
    pub revision: u64,
    /// The entries.
    pub entries: Vec<Kept>,
    /// What is there but is not as it was written.
    pub unreadable: Vec<Unreadable>,
}

/// What a store holds at one revision.
#[derive(Default)]
pub struct Content {
    /// The revision.
    pub revision: u64,
    /// The entries, by key.
    pub items: Vec<Item>,
    /// What is not among them.
    pub unreadable: Vec<Unreadable>,
}

impl Raw {
    /// Opens everything. What cannot be opened is named.
    pub async fn open(self, catalog: &dyn Catalog, sealing: &dyn Sealing) -> Content {
        let Raw { revision, entries, unreadable } = self;
        let mut content = Content { revision, items: Vec::with_capacity(entries.len()), unreadable };
        let mut opening = Opening::of_all();
        for kept in entries {
            let name = String::from_utf8_lossy(&kept.key).into_owned();
            match open(kept, catalog, sealing, &mut opening).await {
                Ok(item) => content.items.push(item),
                Err(error) => content.unreadable.push(Unreadable { key: name, reason: reason(&*error) }),
            }
        }
        content.items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        content
    }
}

impl Content {
    /// The digest of all keys and values, as they would be written today.
    pub fn digest(&self, catalog: &dyn Catalog) -> Digested {
        let mut digest = Digest::default();
        for item in &self.items {
            digest.add(&item.key, &item.current(catalog));
        }
        digest.finish()
    }

    /// The first key that is not the same in both, by its order.
    pub fn first_difference<'a>(&'a self, other: &'a Content, catalog: &dyn Catalog) -> Option<&'a Key> {
        let (mut ours, mut theirs) = (self.items.iter(), other.items.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return None,
                (Some(one), None) | (None, Some(one)) => return Some(&one.key),
                (Some(one), Some(two)) if one.key != two.key => return Some((&one.key).min(&two.key)),
                (Some(one), Some(two)) if one.current(catalog) != two.current(catalog) => return Some(&one.key),
                _ => {}
            }
        }
    }
}

async fn open(kept: Kept, catalog: &dyn Catalog, sealing: &dyn Sealing, opening: &mut Opening) -> Result<Item, Source> {
    let Kept { key, version, create_revision, epoch, expires, value } = kept;
    let key: Key = std::str::from_utf8(&key).map_err(|_| "the key is not UTF-8")?.into();
    check_key(&key)?;
    let plain = opening.open(sealing, &key, &value).await?.plain;
    let (value, epoch) = match epoch {
        Some(epoch) => (plain, epoch),
        None => (catalog.own_form(&key, &plain)?, catalog.epoch(&key)),
    };
    Ok(Item { key, version, create_revision, epoch, expires, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Opaque;

    fn content(items: &[(&str, &'static str)]) -> Content {
        let item = |(key, value): &(&str, &'static str)| Item {
            key: (*key).into(),
            version: 1,
            create_revision: 1,
            epoch: 0,
            expires: None,
            value: Bytes::from_static(value.as_bytes()),
        };
        Content { items: items.iter().map(item).collect(), ..Content::default() }
    }

    #[test]
    fn the_first_difference_is_named() {
        let whole = content(&[("/registry/a", "1"), ("/registry/c", "2")]);
        let check = |other: &[(&str, &'static str)], expected: Option<&str>| {
            let other = content(other);
            assert_eq!(whole.first_difference(&other, &Opaque).map(|key| &**key), expected);
            assert_eq!(other.first_difference(&whole, &Opaque).map(|key| &**key), expected);
            assert_eq!(whole.digest(&Opaque) == other.digest(&Opaque), expected.is_none());
        };
        check(&[("/registry/a", "1"), ("/registry/c", "2")], None);
        check(&[("/registry/a", "1"), ("/registry/c", "3")], Some("/registry/c"));
        check(&[("/registry/a", "1"), ("/registry/b", "2"), ("/registry/c", "2")], Some("/registry/b"));
        check(&[("/registry/c", "2")], Some("/registry/a"));
        check(&[], Some("/registry/a"));
    }
}
