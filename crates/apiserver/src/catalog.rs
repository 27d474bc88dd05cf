//! What the store learns about stored objects: the ring of their resource, and the index that a scan of the text gives.
//!
//! The scan reads a body once, when it comes into memory: where the version goes, labels, whether the object is being deleted, and the
//! fields that selectors may name. It builds nothing and decodes nothing that no selector can ask for; a text that it cannot follow is
//! unreadable, and whoever serves it refuses.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_store::engine::{KEY_PREFIX, Source};
use portcullis_store::{Index, IndexBuilder, Text};

use crate::etcd_form;
use crate::registry::rules::SelectableField;
use crate::registry::{Registry, Served};
use crate::scan::{BEGIN, Members};

/// The ring of keys that no resource has.
const OTHER: usize = 0;
/// Where events are, and for how long each of them stays (upstream: `--event-ttl`).
const EVENTS: &str = "/registry/events/";
const EVENT_LIFETIME: Duration = Duration::from_secs(3600);
/// Names below one another in a path of a selectable field.
const PATH_NAMES_MAX: usize = 8;

/// The resources as the store knows them.
pub struct Catalog {
    registry: Arc<Registry>,
    /// By storage prefix, without [`KEY_PREFIX`] and the last slash.
    by_prefix: HashMap<String, usize>,
    rings: Vec<Ring>,
    epoch: u32,
}

/// What is stored under one prefix.
struct Ring {
    name: String,
    fields: Vec<SelectableField>,
    /// Where in the registry the resource is whose version is stored.
    stored: Option<usize>,
}

impl Catalog {
    /// The catalog of all served resources.
    pub fn new(registry: Arc<Registry>) -> Catalog {
        let mut rings = vec![Ring { name: "other".to_owned(), fields: Vec::new(), stored: None }];
        let mut by_prefix = HashMap::new();
        for (at, served) in registry.all().iter().enumerate() {
            let Some(prefix) = served.prefix() else { continue };
            let prefix = prefix.trim_start_matches(KEY_PREFIX).trim_end_matches('/').to_owned();
            let number = *by_prefix.entry(prefix).or_insert_with(|| {
                rings.push(Ring { name: served.full_name(), fields: fields_under(&registry, served), stored: None });
                rings.len() - 1
            });
            if served.stored_as_served()
                && let Some(ring) = rings.get_mut(number)
            {
                ring.stored = Some(at);
            }
        }
        Catalog { registry, by_prefix, rings, epoch: portcullis_kinds::epoch() }
    }

    fn of(&self, key: &str) -> Option<&Ring> {
        self.rings.get(portcullis_store::Catalog::ring(self, key))
    }

    /// The resource of a key, in the version that is stored.
    fn stored(&self, key: &str) -> Option<&Served> {
        self.registry.all().get(self.of(key)?.stored?)
    }
}

/// The selectable fields of all resources that share their storage with this one, each content once.
fn fields_under(registry: &Registry, served: &Served) -> Vec<SelectableField> {
    let mut fields: Vec<SelectableField> = Vec::new();
    for other in registry.all().iter().filter(|other| other.prefix() == served.prefix()) {
        for field in other.rules.fields {
            if fields.iter().all(|held| held.paths != field.paths) {
                fields.push(*field);
            }
        }
    }
    fields
}

/// The number in the index of each selectable field of a resource.
pub fn field_numbers(registry: &Registry, served: &Served) -> Vec<usize> {
    let indexed = fields_under(registry, served);
    let number = |field: &SelectableField| indexed.iter().position(|held| held.paths == field.paths);
    served.rules.fields.iter().filter_map(number).collect()
}

impl portcullis_store::Catalog for Catalog {
    fn rings(&self) -> usize {
        self.rings.len()
    }

    fn ring(&self, key: &str) -> usize {
        let Some(rest) = key.strip_prefix(KEY_PREFIX) else { return OTHER };
        let mut slashes = memchr::memchr_iter(b'/', rest.as_bytes());
        let (first, second) = (slashes.next(), slashes.next());
        // `services/specs` stands before `services`.
        let known = |end: Option<usize>| self.by_prefix.get(rest.get(..end?)?).copied();
        known(second).or_else(|| known(first)).unwrap_or(OTHER)
    }

    fn ring_name(&self, ring: usize) -> &str {
        self.rings.get(ring).map_or("", |ring| &ring.name)
    }

    fn index(&self, key: &str, value: &[u8]) -> Index {
        let fields = self.of(key).map_or(&[][..], |ring| &ring.fields);
        index(value, fields).unwrap_or_else(Index::unreadable)
    }

    fn epoch(&self, _key: &str) -> u32 {
        self.epoch
    }

    fn renew(&self, key: &str, value: &Bytes, _epoch: u32) -> Option<Bytes> {
        let served = self.stored(key)?;
        let renewed = served.load(value).and_then(|mut tree| {
            served.default(&mut tree);
            served.store(&mut tree)
        });
        renewed.inspect_err(|error| tracing::error!(key, %error, "an older object cannot be read")).ok()
    }

    fn lifetime(&self, key: &str) -> Option<Duration> {
        key.starts_with(EVENTS).then_some(EVENT_LIFETIME)
    }

    fn to_etcd(&self, key: &str, value: &Bytes) -> Result<Bytes, Source> {
        match self.stored(key) {
            Some(served) => Ok(etcd_form::to_etcd(served, value)?),
            None => Ok(value.clone()),
        }
    }

    fn own_form(&self, key: &str, held: &Bytes) -> Result<Bytes, Source> {
        match self.stored(key) {
            Some(served) => Ok(etcd_form::from_etcd(&self.registry, served, held)?),
            None => Ok(held.clone()),
        }
    }
}

/// Scans a body. Nothing when it is not a body.
fn index(value: &[u8], fields: &[SelectableField]) -> Option<Index> {
    if !value.starts_with(BEGIN) || !value.ends_with(b"}") {
        return None;
    }
    let mut builder = IndexBuilder::default();
    let mut members = Members { text: value, at: BEGIN.len() };
    let mut hole = None;
    while let Some((name, member)) = members.next()? {
        match value.get(name)? {
            b"uid" => hole = Some(member.end),
            b"deletionTimestamp" => builder.deleting(),
            b"labels" => {
                let mut labels = Members { text: value, at: member.start + 1 };
                while let Some((name, label)) = labels.next()? {
                    builder.label(text(value, name)?, string(value, label)?);
                }
            }
            _ => {}
        }
    }
    builder.places(hole?, members.at);
    if !fields.is_empty() {
        let mut found = vec![None; fields.iter().map(|field| field.paths.len()).sum()];
        find(value, members.at, fields, &mut found)?;
        let mut found = found.into_iter();
        for field in fields {
            let mut of_field: Vec<Option<Range<usize>>> = found.by_ref().take(field.paths.len()).collect();
            let first = of_field.iter_mut().find_map(|range| range.take().filter(|range| is_given(value, range)));
            let held = match first {
                Some(range) => string(value, range)?,
                None => Text::Own(String::new()),
            };
            builder.field(held, field.posted);
        }
    }
    Some(builder.finish())
}

/// Whether a scalar says something: an empty string does not.
fn is_given(value: &[u8], range: &Range<usize>) -> bool {
    !matches!(value.get(range.clone()), None | Some(b"" | b"\"\"" | b"null"))
}

/// Finds the scalars at the paths of the fields, from the end of the metadata on. Goes down only where a path does.
fn find(
    value: &[u8],
    metadata_end: usize,
    fields: &[SelectableField],
    found: &mut [Option<Range<usize>>],
) -> Option<()> {
    let paths: Vec<&str> = fields.iter().flat_map(|field| field.paths).copied().collect();
    // The names on the way, each with its dot, and how long that was before each of them.
    let (mut above, mut lens) = (Vec::new(), Vec::with_capacity(PATH_NAMES_MAX));
    let mut levels = vec![Members { text: value, at: metadata_end }];
    // Behind the metadata comes a comma, or the end of the object.
    levels.last_mut()?.skip_comma();
    while let Some(level) = levels.last_mut() {
        let Some((name, member)) = level.next()? else {
            let end = level.at;
            levels.pop();
            above.truncate(lens.pop().unwrap_or_default());
            if let Some(outer) = levels.last_mut() {
                outer.at = end;
                outer.skip_comma();
            }
            continue;
        };
        let name = value.get(name)?;
        let mut is_on_the_way = false;
        for (number, path) in paths.iter().enumerate() {
            let rest = path.as_bytes().strip_prefix(&*above).and_then(|rest| rest.strip_prefix(name));
            match rest {
                // A name with a dot in it is none of a path.
                _ if rest.is_some() && name.contains(&b'.') => {}
                Some([]) => *found.get_mut(number)? = Some(member.clone()),
                Some([b'.', ..]) => is_on_the_way = true,
                _ => {}
            }
        }
        if is_on_the_way && value.get(member.start) == Some(&b'{') && levels.len() < PATH_NAMES_MAX {
            lens.push(above.len());
            above.extend_from_slice(name);
            above.push(b'.');
            levels.push(Members { text: value, at: member.start + 1 });
        }
    }
    Some(())
}

/// The text of a JSON string or other scalar.
fn string(value: &[u8], range: Range<usize>) -> Option<Text> {
    if value.get(range.start) == Some(&b'"') {
        text(value, range.start + 1..range.end - 1)
    } else {
        Some(Text::In(range))
    }
}

/// The text between two quotes.
fn text(value: &[u8], range: Range<usize>) -> Option<Text> {
    let held = value.get(range.clone())?;
    if memchr::memchr(b'\\', held).is_none() {
        return Some(Text::In(range));
    }
    serde_json::from_slice(value.get(range.start - 1..range.end + 1)?).ok().map(Text::Own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use portcullis_store::{Catalog as _, Term};

    fn catalog() -> Catalog {
        Catalog::new(Arc::new(Registry::new()))
    }

    #[test]
    fn rings() {
        let catalog = catalog();
        let check = |key: &str, expected: &str| assert_eq!(catalog.ring_name(catalog.ring(key)), expected, "{key}");
        check("/registry/pods/default/a", "pods");
        check("/registry/pods/", "pods");
        check("/registry/services/specs/default/a", "services");
        check("/registry/services/endpoints/default/a", "endpoints");
        check("/registry/deployments/default/a", "deployments.apps");
        check("/registry/minions/a", "nodes");
        check("/registry/unknown/a", "other");
        check("/registry/a", "other");
        check("/elsewhere", "other");
    }

    /// Who serves the same stored objects has forms of its own.
    #[test]
    fn variants_are_told_apart() {
        let registry = Registry::new();
        let mut seen = std::collections::HashSet::new();
        for served in registry.all().iter().filter(|served| served.is_stored()) {
            assert!(served.variant < crate::forms::VARIANTS, "{}", served.full_name());
            assert!(seen.insert((served.prefix(), served.variant)), "{}", served.full_name());
            assert!(std::ptr::eq(served, &registry.all()[served.place]));
        }
    }

    #[test]
    fn indexes() {
        let catalog = catalog();
        let value: &[u8] = br#"{"metadata":{"name":"a","uid":"u-1","creationTimestamp":"x","deletionTimestamp":"y","labels":{"app":"web","b\"c":"d\\e"},"managedFields":[{"fieldsV1":{"f:a":{}}}]},"spec":{"volumes":[{"name":"v","nodeName":"no"}],"containers":null,"hostNetwork":true,"nodeName":"n-1"},"status":{"phase":"Running"}}"#;
        let index = catalog.index("/registry/pods/default/a", value);
        assert!(index.is_deleting() && !index.is_unreadable());
        assert!(value[..index.hole()].ends_with(br#""uid":"u-1""#));
        assert!(value[..index.metadata_end()].ends_with(br#""f:a":{}}}]}"#));
        assert_eq!(index.labels(value).collect::<Vec<_>>(), [("app", "web"), ("b\"c", "d\\e")]);
        let pods = catalog.registry.find("", "v1", "pods").unwrap();
        let numbers = field_numbers(&catalog.registry, pods);
        let field = |label: &str| {
            let at = pods.rules.fields.iter().position(|field| field.label == label).unwrap();
            index.field(value, numbers[at])
        };
        assert_eq!(["spec.nodeName", "spec.host"].map(field), ["n-1", "n-1"]);
        assert_eq!(["spec.hostNetwork", "status.phase", "status.podIP"].map(field), ["true", "Running", ""]);
        let terms = index.terms(value);
        assert!(
            terms.contains(&Term::field(numbers[0], "n-1")) && terms.contains(&Term::label("app", "web")),
            "{terms:?}"
        );
    }

    #[test]
    fn alternatives() {
        let catalog = catalog();
        let events = catalog.registry.find("", "v1", "events").unwrap();
        let number = field_numbers(&catalog.registry, events)
            [events.rules.fields.iter().position(|field| field.label == "source").unwrap()];
        let check = |rest: &str, expected: &str| {
            let value = format!(r#"{{"metadata":{{"uid":"u"}}{rest}}}"#);
            let index = catalog.index("/registry/events/default/a", value.as_bytes());
            assert_eq!(index.field(value.as_bytes(), number), expected, "{rest}");
        };
        check(r#","source":{"component":"kubelet"},"reportingComponent":"x""#, "kubelet");
        check(r#","source":{"component":""},"reportingComponent":"x""#, "x");
        check(r#","source":{},"reportingComponent":"x","reportingInstance":"""#, "x");
        check("", "");
    }

    #[test]
    fn what_is_no_body_is_unreadable() {
        let catalog = catalog();
        let check = |value: &str| {
            assert!(catalog.index("/registry/pods/default/a", value.as_bytes()).is_unreadable(), "{value}");
        };
        check("");
        check("{}");
        check(r#"{"metadata":{}}"#);
        check(r#"{"metadata":{"name":"a"}}"#);
        check(r#"{"metadata":{"uid":"u"},"spec":{"nodeName":"}"#);
        check(r#"{"metadata":{"uid":"u","labels":{"a":}}}"#);
        check(r#"{"metadata":{"uid":"u","x":[[[}"#);
        check(r#"{"metadata":{"uid"}}"#);
        check("k8s\0binary");
    }

    #[test]
    fn an_older_epoch_is_defaulted_again() {
        let catalog = catalog();
        let renew = |value: &str| {
            catalog.renew("/registry/persistentvolumeclaims/default/a", &value.as_bytes().to_vec().into(), 0)
        };
        let renewed =
            renew(r#"{"metadata":{"name":"a","uid":"u"},"spec":{"accessModes":null},"status":{},"unknown":1}"#);
        let text = String::from_utf8(renewed.unwrap().to_vec()).unwrap();
        assert!(text.contains(r#""uid":"u""#) && !text.contains("unknown"), "{text}");
        assert_eq!(renew("{"), None);
    }
}
