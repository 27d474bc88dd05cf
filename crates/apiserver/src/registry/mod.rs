//! The resources as the verbs see them: facts, rules, keys and the fixed parts of answers, found once at start.
//!
//! Reading order: [`rules`] (what differs between resources), [`metadata`] (the fields that all objects share), [`prepare`] (what a write
//! may change), [`managed`] (who changed what), [`owners`], [`validate`], [`convert`] (the two kinds with a second version).

pub mod apply;
pub mod convert;
mod last_applied;
pub mod managed;
pub mod metadata;
pub mod owners;
pub mod prepare;
pub mod rules;
pub mod validate;

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;
use portcullis_kinds::Resource;
use portcullis_kinds::strategy::{self, Strategy};
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, Schema, TypeId, canonical, default, encode_json};
use portcullis_model::tree::Tree;

use managed::Doors;
use metadata::MetaFields;
use rules::Rules;

/// Room for the names and punctuation of what the server adds to an object that is written.
const BYTES_FOR_NAMES: usize = 512;

/// One served resource in one version, with everything that does not change while the server runs.
pub struct Served {
    /// Its facts.
    pub resource: &'static Resource,
    /// The types.
    pub schema: &'static Schema,
    /// What differs from other resources.
    pub rules: Rules,
    /// The rules of its kind, where it has any of its own.
    pub strategy: Option<&'static Strategy>,
    /// What its doors do not write.
    pub doors: Doors,
    /// Numbers of the fields of `metadata`.
    pub meta: &'static MetaFields,
    /// Numbers of the object's own fields.
    pub fields: TopFields,
    /// The number of each selectable field of the rules in the index of stored objects.
    pub field_numbers: Vec<usize>,
    /// The type in which objects are stored; that of another version for two kinds.
    pub stored_type: TypeId,
    /// `{"kind":"ConfigMap","apiVersion":"v1",`.
    pub head: Bytes,
    /// `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"`.
    pub list_head: Bytes,
    /// Where it stands among [`Registry::all`], for those who outlive a request.
    pub place: usize,
    /// How many resources before it serve the same stored objects, in other versions.
    pub variant: u16,
    /// `/registry/configmaps/`; none for what is not stored.
    prefix: Option<String>,
}

/// Field numbers at the top of an object.
#[derive(Clone, Copy, Debug)]
pub struct TopFields {
    /// `kind`.
    pub kind: Option<u16>,
    /// `apiVersion`.
    pub api_version: Option<u16>,
    /// `metadata`.
    pub metadata: u16,
    /// `spec`.
    pub spec: Option<u16>,
    /// `status`.
    pub status: Option<u16>,
}

impl Served {
    fn new(resource: &'static Resource, schema: &'static Schema, meta: &'static MetaFields) -> Served {
        let ty = schema.ty(resource.type_id);
        let fields = TopFields {
            kind: ty.find("kind"),
            api_version: ty.find("apiVersion"),
            metadata: ty.find("metadata").unwrap_or_default(),
            spec: ty.find("spec"),
            status: ty.find("status"),
        };
        let stored_version = resource.storage.as_ref().map(|storage| (storage.group, storage.version));
        let stored_type = stored_version
            .filter(|version| *version != (resource.group, resource.version))
            .and_then(|(group, version)| {
                let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                schema.by_kind(&api_version, resource.kind)
            })
            .unwrap_or(resource.type_id);
        let (kind, api_version) = (resource.kind, &resource.api_version);
        let rules = Rules::of(resource);
        Served {
            resource,
            schema,
            doors: Doors::of(&rules),
            rules,
            strategy: strategy::of(resource.group, resource.name),
            meta,
            fields,
            field_numbers: Vec::new(),
            stored_type,
            head: format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#).into(),
            list_head: format!(
                r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{{"resourceVersion":""#
            )
            .into(),
            place: 0,
            variant: 0,
            prefix: prefix(resource),
        }
    }

    /// Whether it is this resource of this group, in any version.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.resource.name == resource && self.resource.group == group
    }

    /// Returns `pods` or `deployments.apps`, as metrics name resources.
    pub fn full_name(&self) -> String {
        let (name, group) = (self.resource.name, self.resource.group);
        if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
    }

    /// Returns where all its objects are; none for what is not stored.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Returns where the objects of a namespace (all for an empty one) are; none for what is not stored.
    pub fn key_prefix(&self, namespace: &str) -> Option<String> {
        let prefix = self.prefix.as_ref()?;
        Some(if self.resource.namespaced && !namespace.is_empty() {
            format!("{prefix}{namespace}/")
        } else {
            prefix.clone()
        })
    }

    /// Returns where an object is; none for what is not stored.
    pub fn key(&self, namespace: &str, name: &str) -> Option<String> {
        let prefix = self.prefix.as_ref()?;
        Some(if self.resource.namespaced { format!("{prefix}{namespace}/{name}") } else { format!("{prefix}{name}") })
    }

    /// Returns namespace and name of a key.
    pub fn names<'a>(&self, key: &'a str) -> (&'a str, &'a str) {
        let rest = self.prefix.as_ref().and_then(|prefix| key.strip_prefix(prefix.as_str())).unwrap_or_default();
        if self.resource.namespaced { rest.split_once('/').unwrap_or_default() } else { ("", rest) }
    }

    /// Whether objects are stored.
    pub fn is_stored(&self) -> bool {
        self.prefix.is_some()
    }

    /// Whether the status is written through a path of its own.
    pub fn has_status(&self) -> bool {
        self.fields.status.is_some() && self.resource.subresource("status").is_some()
    }

    /// Whether objects are stored as the version that is served here.
    pub fn stored_as_served(&self) -> bool {
        self.stored_type == self.resource.type_id
    }

    /// Gives fields that are absent their default values.
    pub fn default(&self, tree: &mut Tree) {
        default::apply(self.schema, tree);
        if let Some(strategy) = self.strategy {
            (strategy.default)(tree);
        }
    }

    /// Reads a stored object, as the version served here. It has neither type head nor resource version.
    pub fn load(&self, value: &[u8]) -> Result<Tree, DecodeError> {
        if self.stored_as_served() {
            return Ok(
                decode_json::decode(self.schema, self.stored_type, value.to_vec(), FieldValidation::Ignore)?.tree
            );
        }
        convert::from_stored(self, value)
    }

    /// Writes an object as it is stored: canonical, without type head and resource version, in the stored version.
    pub fn store(&self, tree: &mut Tree) -> Result<Bytes, DecodeError> {
        let root = tree.root();
        for head in [self.fields.kind, self.fields.api_version].into_iter().flatten() {
            tree.remove(root, head);
        }
        if let Some(metadata) = tree.field(root, self.fields.metadata) {
            tree.remove(metadata, self.meta.resource_version);
            tree.remove(metadata, self.meta.self_link);
        }
        canonical::canonicalize(self.schema, tree);
        let mut out = Vec::with_capacity(tree.text_len() + BYTES_FOR_NAMES);
        if self.stored_as_served() {
            encode_json::write(self.schema, tree, &mut out);
        } else {
            convert::to_stored(self, tree, &mut out)?;
        }
        // Without the spare room of the buffer, which would be held as long as the object.
        Ok(out.into_boxed_slice().into())
    }

    /// Returns the text of a stored object in the version served here, without type head and version.
    pub fn serve(&self, value: &Bytes) -> Result<Bytes, DecodeError> {
        if self.stored_as_served() {
            return Ok(value.clone());
        }
        let tree = convert::from_stored(self, value)?;
        let mut out = Vec::with_capacity(value.len() + 64);
        encode_json::write(self.schema, &tree, &mut out);
        Ok(out.into())
    }
}

/// Where a resource is kept. Facts were taken from an etcd that held no object of two resources; they have upstream's usual place.
fn prefix(resource: &Resource) -> Option<String> {
    match &resource.storage {
        Some(storage) => Some(format!("{}/", storage.prefix)),
        None if resource.has_verb("list") && resource.has_verb("create") => {
            Some(format!("/registry/{}/", resource.name))
        }
        None => None,
    }
}

/// All served resources.
pub struct Registry {
    served: Vec<Served>,
    by_name: HashMap<(&'static str, &'static str, &'static str), usize>,
}

impl Registry {
    /// Collects what there is to know about every resource.
    pub fn new() -> Registry {
        static META: OnceLock<MetaFields> = OnceLock::new();
        let schema = portcullis_kinds::schema();
        let meta = META.get_or_init(|| MetaFields::of(schema));
        let served: Vec<Served> =
            portcullis_kinds::resources().all().iter().map(|resource| Served::new(resource, schema, meta)).collect();
        let names = served.iter().map(|served| (served.resource.group, served.resource.version, served.resource.name));
        let by_name = names.enumerate().map(|(at, name)| (name, at)).collect();
        let mut registry = Registry { served, by_name };
        for place in 0..registry.served.len() {
            let (before, rest) = registry.served.split_at(place);
            let Some(served) = rest.first() else { break };
            let variant = before.iter().filter(|other| served.is_stored() && other.prefix == served.prefix).count();
            let numbers = crate::catalog::field_numbers(&registry, served);
            if let Some(served) = registry.served.get_mut(place) {
                (served.place, served.variant, served.field_numbers) = (place, variant as u16, numbers);
            }
        }
        registry
    }

    /// The resource of a path.
    pub fn find(&self, group: &str, version: &str, name: &str) -> Option<&Served> {
        self.served.get(*self.by_name.get(&(group, version, name))?)
    }

    /// All of them, in discovery's order.
    pub fn all(&self) -> &[Served] {
        &self.served
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
