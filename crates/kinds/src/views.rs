//! Fields by name: for every struct of the API a view that reads and an edit that writes, generated from the facts when the crate is
//! built, so that a wrong name does not compile and nobody writes `get("spec")`.
//!
//! ```
//! # use portcullis_kinds::{schema, views::{self, core_v1::Pod}};
//! # use portcullis_model::schema::{FieldValidation, decode_json};
//! let text = br#"{"spec":{"containers":[{"name":"app","image":"shop:1"}]}}"#.to_vec();
//! let mut tree = decode_json::decode(schema(), Pod::TYPE, text, FieldValidation::Ignore).unwrap().tree;
//! let names: Vec<&str> = views::read::<Pod>(&tree).spec().containers().iter().map(|c| c.name()).collect();
//! assert_eq!(names, ["app"]);
//! views::write::<views::core_v1::PodEdit>(&mut tree).spec_mut().set_node_name("quay");
//! assert_eq!(views::read::<Pod>(&tree).spec().node_name(), "quay");
//! ```
//!
//! A view is a node and a tree, copied freely; nothing of the object is copied. What is absent reads as its zero value where Go has a
//! plain value, and as `None` where Go has a pointer. An edit makes the structs on its way.

#![allow(clippy::doc_markdown)]

pub use support::{
    At, Edit, Field, IntOrString, List, ListEdit, Map, MapEdit, Micros, Place, Raw, Seconds, Text, View,
};

use portcullis_model::schema::{TypeRef, encode_json};
use portcullis_model::status::BadValue;
use portcullis_model::tree::{Kind, NodeId, Tree};

include!(concat!(env!("OUT_DIR"), "/views.rs"));

/// The view of a whole object. The tree must be of the view's type, as the caller knows from where it got it.
pub fn read<'t, V: View<'t>>(tree: &'t Tree) -> V {
    V::at(At::root(tree))
}

/// The edit of a whole object. The tree must be of the edit's type.
pub fn write<'t, E: Edit<'t>>(tree: &'t mut Tree) -> E {
    E::at(Place::root(tree))
}

/// What is at a place, as a complaint shows it: a scalar as it is, anything else as JSON, nothing as `null`.
pub fn shown(at: At<'_>) -> BadValue {
    at.id().map_or(BadValue::Null, |node| shown_as(at.tree(), node, TypeRef::Json))
}

/// A value, as a complaint shows it. The type says what a null stands for.
fn shown_as(tree: &Tree, node: NodeId, ty: TypeRef) -> BadValue {
    match tree.kind(node) {
        Kind::String => BadValue::Text(tree.string(node).unwrap_or_default().to_owned()),
        Kind::Int => BadValue::Int(tree.int(node).unwrap_or_default()),
        Kind::Bool => BadValue::Bool(tree.bool(node).unwrap_or_default()),
        Kind::Float => BadValue::Float(tree.float(node).unwrap_or_default()),
        _ => {
            let mut out = Vec::new();
            encode_json::write_value(crate::schema(), tree, node, ty, &mut out);
            let text = String::from_utf8_lossy(&out).into_owned();
            if text.starts_with('"') { BadValue::Text(text.trim_matches('"').to_owned()) } else { BadValue::Json(text) }
        }
    }
}

/// What is in a field, as a complaint shows it. A map or list that was written empty is `{}` or `[]`, one that was not written `null`.
pub fn shown_field(object: At<'_>, field: Field) -> BadValue {
    let (tree, number) = (object.tree(), field.number());
    let Some(node) = object.id() else { return BadValue::Null };
    let declared = tree.object_type(node).and_then(|ty| crate::schema().ty(ty).fields.get(usize::from(number)));
    let ty = declared.map_or(TypeRef::Json, |field| field.ty);
    if tree.was_emptied(node, number) {
        return BadValue::Json(if matches!(ty, TypeRef::List(_)) { "[]" } else { "{}" }.to_owned());
    }
    tree.field(node, number).map_or(BadValue::Null, |node| shown_as(tree, node, ty))
}

/// What the generated code is made of.
mod support {
    pub use portcullis_model::schema::TypeId;
    pub use portcullis_model::tree::Scalar;

    use std::marker::PhantomData;

    use portcullis_model::tree::{Kind, NodeId, Tree};

    /// A field of a struct: its number in the schema and its name in JSON.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Field {
        number: u16,
        name: &'static str,
    }

    impl Field {
        pub(super) const fn new(number: u16, name: &'static str) -> Field {
            Field { number, name }
        }
        /// Its number in its type.
        pub const fn number(self) -> u16 {
            self.number
        }
        /// Its name in JSON.
        pub const fn name(self) -> &'static str {
            self.name
        }
    }

    /// A node of a tree, or the place where one is absent.
    #[derive(Clone, Copy, Debug)]
    pub struct At<'t> {
        tree: &'t Tree,
        node: Option<NodeId>,
    }

    impl<'t> At<'t> {
        /// The whole object.
        pub fn root(tree: &'t Tree) -> At<'t> {
            At { tree, node: Some(tree.root()) }
        }
        /// A node that the caller found.
        pub fn node(tree: &'t Tree, node: Option<NodeId>) -> At<'t> {
            At { tree, node }
        }
        /// The tree.
        pub fn tree(self) -> &'t Tree {
            self.tree
        }
        /// The node, unless it is absent.
        pub fn id(self) -> Option<NodeId> {
            self.node
        }
        /// Whether something is there.
        pub fn is_present(self) -> bool {
            self.node.is_some()
        }
        /// A field of the struct that is here.
        pub fn get(self, field: Field) -> At<'t> {
            At { tree: self.tree, node: self.field(field.number) }
        }
        fn field(self, number: u16) -> Option<NodeId> {
            self.node.and_then(|node| self.tree.field(node, number))
        }
        /// A field whose zero value is the same as its absence.
        #[inline]
        pub(super) fn value<V: View<'t>>(self, number: u16) -> V {
            V::at(At { tree: self.tree, node: self.field(number) })
        }
        /// A field whose zero value is not the same as its absence.
        #[inline]
        pub(super) fn optional<V: View<'t>>(self, number: u16) -> Option<V> {
            self.field(number).map(|node| V::at(At { tree: self.tree, node: Some(node) }))
        }
    }

    /// What can be read from a place.
    pub trait View<'t>: Copy {
        /// Reads the place; an absent one reads as the zero value.
        fn at(at: At<'t>) -> Self;
    }

    impl<'t> View<'t> for At<'t> {
        fn at(at: At<'t>) -> Self {
            at
        }
    }
    impl<'t> View<'t> for &'t str {
        #[inline]
        fn at(at: At<'t>) -> Self {
            at.node.and_then(|node| at.tree.string(node)).unwrap_or_default()
        }
    }
    impl<'t> View<'t> for bool {
        fn at(at: At<'t>) -> Self {
            at.node.and_then(|node| at.tree.bool(node)).unwrap_or_default()
        }
    }
    impl<'t> View<'t> for i32 {
        fn at(at: At<'t>) -> Self {
            // Decoders hold 32 bit fields to their range.
            i64::at(at) as i32
        }
    }
    impl<'t> View<'t> for i64 {
        fn at(at: At<'t>) -> Self {
            at.node.and_then(|node| at.tree.int(node)).unwrap_or_default()
        }
    }
    impl<'t> View<'t> for f64 {
        fn at(at: At<'t>) -> Self {
            at.node.and_then(|node| at.tree.float(node)).unwrap_or_default()
        }
    }

    /// `metav1.Time`: seconds since 1970 in UTC. None is Go's zero time.
    pub type Seconds = Option<i64>;

    impl<'t> View<'t> for Seconds {
        fn at(at: At<'t>) -> Self {
            let node = at.node?;
            at.tree.time(node).or_else(|| at.tree.micro_time(node))
        }
    }

    /// `metav1.MicroTime`: microseconds since 1970 in UTC. None is Go's zero time.
    pub type Micros = Seconds;

    /// Free JSON: its text, compact; empty when there is none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Raw<'t>(pub &'t str);

    impl<'t> View<'t> for Raw<'t> {
        fn at(at: At<'t>) -> Self {
            Raw(at.node.and_then(|node| at.tree.text(node)).unwrap_or_default())
        }
    }

    /// A number or a name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IntOrString<'t> {
        /// A number.
        Int(i32),
        /// A name or a percentage.
        String(&'t str),
    }

    impl<'t> IntOrString<'t> {
        pub(super) fn scalar(self) -> Scalar<'t> {
            match self {
                IntOrString::Int(value) => Scalar::Int(value.into()),
                IntOrString::String(text) => Scalar::String(text),
            }
        }
    }

    impl<'t> View<'t> for IntOrString<'t> {
        fn at(at: At<'t>) -> Self {
            match at.node.and_then(|node| at.tree.string(node)) {
                Some(text) => IntOrString::String(text),
                None => IntOrString::Int(i32::at(at)),
            }
        }
    }

    /// A list; an absent one is empty.
    #[derive(Clone, Copy, Debug)]
    pub struct List<'t, V>(At<'t>, PhantomData<V>);

    impl<'t, V: View<'t>> View<'t> for List<'t, V> {
        fn at(at: At<'t>) -> Self {
            List(at, PhantomData)
        }
    }

    impl<'t, V: View<'t>> List<'t, V> {
        /// The elements in order.
        pub fn iter(self) -> impl Iterator<Item = V> + 't
        where
            V: 't,
        {
            let tree = self.0.tree;
            let children = self.0.node.map(|node| tree.children(node));
            children.into_iter().flatten().map(move |child| V::at(At { tree, node: Some(child) }))
        }
        /// Where the list is.
        pub fn place(self) -> At<'t> {
            self.0
        }
        /// How many elements there are.
        pub fn len(self) -> usize {
            self.0.node.map_or(0, |node| self.0.tree.len(node))
        }
        /// Whether there is none.
        pub fn is_empty(self) -> bool {
            self.len() == 0
        }
    }

    /// A map from strings; an absent one is empty.
    #[derive(Clone, Copy, Debug)]
    pub struct Map<'t, V>(At<'t>, PhantomData<V>);

    impl<'t, V: View<'t>> View<'t> for Map<'t, V> {
        fn at(at: At<'t>) -> Self {
            Map(at, PhantomData)
        }
    }

    impl<'t, V: View<'t>> Map<'t, V> {
        /// Keys and values in the order of the keys' bytes.
        pub fn iter(self) -> impl Iterator<Item = (&'t str, V)> + 't
        where
            V: 't,
        {
            let tree = self.0.tree;
            let entries = self.0.node.map(|node| tree.entries(node));
            entries.into_iter().flatten().map(move |(key, node)| (key, V::at(At { tree, node: Some(node) })))
        }
        /// The value of a key.
        pub fn get(self, key: &str) -> Option<V> {
            let node = self.0.node.and_then(|node| self.0.tree.get(node, key))?;
            Some(V::at(At { tree: self.0.tree, node: Some(node) }))
        }
        /// How many entries there are.
        pub fn len(self) -> usize {
            self.0.node.map_or(0, |node| self.0.tree.len(node))
        }
        /// Whether there is none.
        pub fn is_empty(self) -> bool {
            self.len() == 0
        }
    }

    /// A node that is being written.
    #[derive(Debug)]
    pub struct Place<'t> {
        tree: &'t mut Tree,
        node: NodeId,
    }

    impl<'t> Place<'t> {
        /// The whole object.
        pub fn root(tree: &'t mut Tree) -> Place<'t> {
            let node = tree.root();
            Place { tree, node }
        }
        /// Gives a field the value that it has elsewhere, or takes it away where it has none there.
        pub fn keep(&mut self, field: Field, from: At<'_>) {
            match from.get(field).id() {
                Some(node) => {
                    self.tree.graft(self.node, field.number, from.tree(), node);
                }
                None => {
                    self.tree.remove(self.node, field.number);
                }
            }
        }
        /// What is here, to read.
        pub fn view(&self) -> At<'_> {
            At { tree: self.tree, node: Some(self.node) }
        }
        pub(super) fn set(&mut self, number: u16, value: Scalar<'_>) {
            self.tree.set(self.node, number, value);
        }
        pub(super) fn clear(&mut self, number: u16) -> bool {
            self.tree.remove(self.node, number)
        }
        /// What is in a field, made empty when there is none.
        pub(super) fn open<'s, E: Edit<'s>>(&'s mut self, number: u16) -> E {
            let node = E::make(self.tree, self.node, number);
            E::at(Place { tree: self.tree, node })
        }
    }

    /// What can be written at a place.
    pub trait Edit<'t>: Sized {
        /// The struct's type; None for what is no struct.
        const TYPE: Option<TypeId>;
        /// Writes at this place.
        fn at(place: Place<'t>) -> Self;
        /// The node of a field that such an edit can work on.
        #[doc(hidden)]
        fn make(tree: &mut Tree, object: NodeId, number: u16) -> NodeId {
            match Self::TYPE {
                Some(ty) => tree.object_at(object, number, ty),
                None => tree.field(object, number).unwrap_or(object),
            }
        }
    }

    impl<'t> Edit<'t> for Place<'t> {
        const TYPE: Option<TypeId> = None;
        fn at(place: Place<'t>) -> Self {
            place
        }
    }

    /// Marks a list of strings.
    #[derive(Debug)]
    pub struct Text;

    /// A list that is being written.
    #[derive(Debug)]
    pub struct ListEdit<'t, E>(Place<'t>, PhantomData<E>);

    impl<'t, E> Edit<'t> for ListEdit<'t, E> {
        const TYPE: Option<TypeId> = None;
        fn at(place: Place<'t>) -> Self {
            ListEdit(place, PhantomData)
        }
        fn make(tree: &mut Tree, object: NodeId, number: u16) -> NodeId {
            tree.list_at(object, number)
        }
    }

    impl<E> ListEdit<'_, E> {
        /// Keeps only the elements for which the answer is yes.
        pub fn retain(&mut self, mut keep: impl FnMut(At<'_>) -> bool) {
            self.0.tree.retain(self.0.node, |tree, node| keep(At { tree, node: Some(node) }));
        }
        /// How many elements there are.
        pub fn len(&self) -> usize {
            self.0.tree.len(self.0.node)
        }
        /// Whether there is none.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
        /// Appends an empty struct and gives it to be filled.
        pub fn push<'s>(&'s mut self) -> E
        where
            E: Edit<'s>,
        {
            let node = self.0.tree.append_object(self.0.node, E::TYPE.unwrap_or(TypeId(0)));
            E::at(Place { tree: self.0.tree, node })
        }
        /// The structs in order. One that was given as `null` is made first.
        pub fn each<'e>(&mut self, mut change: impl FnMut(Place<'_>))
        where
            E: Edit<'e>,
        {
            let nodes: Vec<NodeId> = self.0.tree.children(self.0.node).collect();
            for node in nodes {
                if let Some(ty) = E::TYPE {
                    self.0.tree.fill_null(node, ty);
                }
                change(Place { tree: self.0.tree, node });
            }
        }
    }

    impl ListEdit<'_, Text> {
        /// Appends a string.
        pub fn push_text(&mut self, value: &str) {
            self.0.tree.append(self.0.node, Scalar::String(value));
        }
    }

    /// A map to strings that is being written.
    #[derive(Debug)]
    pub struct MapEdit<'t>(Place<'t>);

    impl<'t> Edit<'t> for MapEdit<'t> {
        const TYPE: Option<TypeId> = None;
        fn at(place: Place<'t>) -> Self {
            MapEdit(place)
        }
        fn make(tree: &mut Tree, object: NodeId, number: u16) -> NodeId {
            tree.map_at(object, number)
        }
    }

    impl MapEdit<'_> {
        /// Sets a key, in place of what it was.
        pub fn insert(&mut self, key: &str, value: &str) {
            self.0.tree.insert(self.0.node, key, value);
        }
        /// Takes a key away and says whether it was there.
        pub fn remove(&mut self, key: &str) -> bool {
            self.0.tree.remove_key(self.0.node, key)
        }
        /// How many entries there are.
        pub fn len(&self) -> usize {
            let node = self.0.node;
            if self.0.tree.kind(node) == Kind::Map { self.0.tree.len(node) } else { 0 }
        }
        /// Whether there is none.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::tree::Tree;

    use super::core_v1::{Pod, PodEdit};
    use super::meta_v1::ObjectMeta;
    use super::{IntOrString, read, write};
    use crate::schema;

    #[test]
    fn numbers_are_those_of_the_schema() {
        assert_eq!(schema().by_kind("v1", "Pod"), Some(Pod::TYPE));
        assert_eq!(schema().by_name("apimachinery.pkg.apis.meta.v1.ObjectMeta"), Some(ObjectMeta::TYPE));
    }

    #[test]
    fn what_was_written_is_read() {
        let mut tree = Tree::new(Pod::TYPE);
        {
            let mut pod: PodEdit<'_> = write(&mut tree);
            pod.metadata_mut().set_name("tide");
            pod.metadata_mut().labels_mut().insert("app", "harbor");
            pod.metadata_mut().finalizers_mut().push_text("example.com/hold");
            let mut spec = pod.spec_mut();
            spec.set_termination_grace_period_seconds(30);
            let mut containers = spec.containers_mut();
            let mut container = containers.push();
            container.set_image("crane:2");
            container.liveness_probe_mut().http_get_mut().set_port(IntOrString::String("http"));
        }
        let pod: Pod<'_> = read(&tree);
        assert_eq!(pod.metadata().name(), "tide");
        assert_eq!(pod.metadata().labels().get("app"), Some("harbor"));
        assert_eq!(pod.metadata().finalizers().iter().collect::<Vec<_>>(), ["example.com/hold"]);
        assert_eq!(pod.spec().termination_grace_period_seconds(), Some(30));
        assert_eq!(pod.spec().active_deadline_seconds(), None);
        assert_eq!(pod.spec().node_name(), "");
        assert!(pod.spec().volumes().is_empty());
        let ports = pod.spec().containers().iter().filter_map(|container| container.liveness_probe()?.http_get());
        assert_eq!(ports.map(|get| get.port()).collect::<Vec<_>>(), [IntOrString::String("http")]);
        assert!(write::<PodEdit<'_>>(&mut tree).spec_mut().clear_containers());
        assert!(read::<Pod<'_>>(&tree).spec().containers().is_empty());
    }
}
