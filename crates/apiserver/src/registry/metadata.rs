//! The fields that all objects share (`metav1.ObjectMeta`), read and written by number.

use portcullis_model::schema::{Schema, TypeId};
use portcullis_model::tree::{NodeId, Scalar, Tree};

use super::Served;

/// Numbers of the fields of `ObjectMeta`, in declared order.
#[derive(Clone, Debug)]
pub struct MetaFields {
    /// The type itself.
    pub ty: TypeId,
    /// `PartialObjectMetadata`, which has nothing else.
    pub partial_ty: TypeId,
    /// `name`.
    pub name: u16,
    /// `generateName`.
    pub generate_name: u16,
    /// `namespace`.
    pub namespace: u16,
    /// `selfLink`, which nothing sets any more.
    pub self_link: u16,
    /// `uid`.
    pub uid: u16,
    /// `resourceVersion`.
    pub resource_version: u16,
    /// `generation`.
    pub generation: u16,
    /// `creationTimestamp`.
    pub creation_timestamp: u16,
    /// `deletionTimestamp`.
    pub deletion_timestamp: u16,
    /// `deletionGracePeriodSeconds`.
    pub deletion_grace_period_seconds: u16,
    /// `labels`.
    pub labels: u16,
    /// `annotations`.
    pub annotations: u16,
    /// `ownerReferences`.
    pub owner_references: u16,
    /// `finalizers`.
    pub finalizers: u16,
    /// `managedFields`.
    pub managed_fields: u16,
}

impl MetaFields {
    /// Looks the numbers up. A field that the facts do not have gets a number that no field has, so it is never found.
    pub fn of(schema: &Schema) -> MetaFields {
        let ty = schema.by_name("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap_or(TypeId(u16::MAX));
        let number = |name: &str| schema.ty(ty).find(name).unwrap_or(u16::MAX);
        MetaFields {
            ty,
            partial_ty: schema
                .by_name("apimachinery.pkg.apis.meta.v1.PartialObjectMetadata")
                .unwrap_or(TypeId(u16::MAX)),
            name: number("name"),
            generate_name: number("generateName"),
            namespace: number("namespace"),
            self_link: number("selfLink"),
            uid: number("uid"),
            resource_version: number("resourceVersion"),
            generation: number("generation"),
            creation_timestamp: number("creationTimestamp"),
            deletion_timestamp: number("deletionTimestamp"),
            deletion_grace_period_seconds: number("deletionGracePeriodSeconds"),
            labels: number("labels"),
            annotations: number("annotations"),
            owner_references: number("ownerReferences"),
            finalizers: number("finalizers"),
            managed_fields: number("managedFields"),
        }
    }
}

/// The metadata of one object, to read.
#[derive(Clone, Copy)]
pub struct Metadata<'a> {
    tree: &'a Tree,
    node: Option<NodeId>,
    fields: &'a MetaFields,
}

impl<'a> Metadata<'a> {
    /// The metadata of an object of this resource.
    pub fn of(served: &'a Served, tree: &'a Tree) -> Metadata<'a> {
        Metadata { tree, node: tree.field(tree.root(), served.fields.metadata), fields: served.meta }
    }

    /// The metadata at a node of any tree.
    pub fn at(served: &'a Served, tree: &'a Tree, node: Option<NodeId>) -> Metadata<'a> {
        Metadata { tree, node, fields: served.meta }
    }

    /// The node, if there is any metadata.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    fn field(&self, number: u16) -> Option<NodeId> {
        self.tree.field(self.node?, number)
    }

    fn string(&self, number: u16) -> &'a str {
        self.field(number).and_then(|node| self.tree.string(node)).unwrap_or_default()
    }

    /// `name`, or nothing.
    pub fn name(&self) -> &'a str {
        self.string(self.fields.name)
    }

    /// `generateName`, or nothing.
    pub fn generate_name(&self) -> &'a str {
        self.string(self.fields.generate_name)
    }

    /// `namespace`, or nothing.
    pub fn namespace(&self) -> &'a str {
        self.string(self.fields.namespace)
    }

    /// `uid`, or nothing.
    pub fn uid(&self) -> &'a str {
        self.string(self.fields.uid)
    }

    /// `resourceVersion`, or nothing.
    pub fn resource_version(&self) -> &'a str {
        self.string(self.fields.resource_version)
    }

    /// `generation`, 0 when there is none.
    pub fn generation(&self) -> i64 {
        self.field(self.fields.generation).and_then(|node| self.tree.int(node)).unwrap_or_default()
    }

    /// `creationTimestamp`, seconds since 1970.
    pub fn creation(&self) -> Option<i64> {
        self.field(self.fields.creation_timestamp).and_then(|node| self.tree.time(node))
    }

    /// `deletionTimestamp`, seconds since 1970.
    pub fn deletion(&self) -> Option<i64> {
        self.field(self.fields.deletion_timestamp).and_then(|node| self.tree.time(node))
    }

    /// Whether the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.field(self.fields.deletion_timestamp).is_some()
    }

    /// `deletionGracePeriodSeconds`.
    pub fn deletion_grace_period(&self) -> Option<i64> {
        self.field(self.fields.deletion_grace_period_seconds).and_then(|node| self.tree.int(node))
    }

    /// `finalizers`, in order.
    pub fn finalizers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let tree = self.tree;
        let list = self.field(self.fields.finalizers);
        list.into_iter().flat_map(move |list| tree.children(list)).filter_map(move |node| tree.string(node))
    }

    /// `labels`.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let tree = self.tree;
        let map = self.field(self.fields.labels);
        let entries = map.into_iter().flat_map(move |map| tree.entries(map));
        entries.map(move |(key, value)| (key, tree.string(value).unwrap_or_default()))
    }
}

/// The metadata node of an object, made when there is none.
pub fn metadata_of(served: &Served, tree: &mut Tree) -> NodeId {
    tree.object_at(tree.root(), served.fields.metadata, served.meta.ty)
}

/// Sets a string of the metadata.
pub fn set_string(served: &Served, tree: &mut Tree, number: u16, value: &str) {
    let metadata = metadata_of(served, tree);
    tree.set(metadata, number, Scalar::String(value));
}

/// Sets the finalizers; an empty list is no list.
pub fn set_finalizers(served: &Served, tree: &mut Tree, finalizers: &[String]) {
    let metadata = metadata_of(served, tree);
    tree.remove(metadata, served.meta.finalizers);
    if !finalizers.is_empty() {
        let list = tree.list_at(metadata, served.meta.finalizers);
        tree.append_strings(list, finalizers.iter().map(String::as_str));
    }
}

/// Copies a field of one object's metadata to another's, or removes it there when there is none.
pub fn copy_field(served: &Served, tree: &mut Tree, from: &Tree, number: u16) {
    let held = from.field(from.root(), served.fields.metadata).and_then(|metadata| from.field(metadata, number));
    let metadata = metadata_of(served, tree);
    match held {
        Some(node) => {
            tree.graft(metadata, number, from, node);
        }
        None => {
            tree.remove(metadata, number);
        }
    }
}

/// Copies a field at the top of one object to another, or removes it there when there is none.
pub fn copy_top(tree: &mut Tree, from: &Tree, number: u16) {
    let root = tree.root();
    match from.field(from.root(), number) {
        Some(node) => {
            tree.graft(root, number, from, node);
        }
        None => {
            tree.remove(root, number);
        }
    }
}
