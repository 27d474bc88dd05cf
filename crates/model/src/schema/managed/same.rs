//! Whether two values are the same node by node: what a comparison need not look into.

use crate::tree::{Kind, NodeId, Tree};

/// How often each node may be visited on average. A value that differs is visited again inside, so without a limit a deep one would cost
/// its depth times its size.
const VISITS_MAX: usize = 4;

/// Whether a value of one tree is that of another, node by node. No says nothing: what is written may still be the same.
pub fn is_same((old, at_old): (&Tree, NodeId), (new, at_new): (&Tree, NodeId)) -> bool {
    SameValues::new(old, new).are(at_old, at_new)
}

/// Compares values of two trees until too many nodes were visited; after that nothing is the same.
pub struct SameValues<'a> {
    old: &'a Tree,
    new: &'a Tree,
    visits_left: usize,
    open: Vec<(NodeId, NodeId)>,
}

impl<'a> SameValues<'a> {
    pub fn new(old: &'a Tree, new: &'a Tree) -> SameValues<'a> {
        let visits_left = (old.nodes.len() + new.nodes.len()) * VISITS_MAX;
        SameValues { old, new, visits_left, open: Vec::new() }
    }

    /// The same for whoever compares no value twice, and wants to know.
    pub fn exact(old: &'a Tree, new: &'a Tree) -> SameValues<'a> {
        SameValues { visits_left: usize::MAX, ..SameValues::new(old, new) }
    }

    /// Whether both trees have the same at these places. No says nothing: what is written may still be the same.
    pub fn are(&mut self, old: NodeId, new: NodeId) -> bool {
        self.open.clear();
        self.open.push((old, new));
        while let Some((old, new)) = self.open.pop() {
            if !self.is_same_but_for_parts(old, new) {
                return false;
            }
        }
        true
    }

    /// Compares two values and leaves their parts to be compared.
    fn is_same_but_for_parts(&mut self, old: NodeId, new: NodeId) -> bool {
        let (from, to) = (self.old, self.new);
        let kind = from.kind(old);
        if kind != to.kind(new) {
            return false;
        }
        match kind {
            Kind::Null => true,
            Kind::String | Kind::Raw => from.text(old) == to.text(new),
            Kind::Bool => from.bool(old) == to.bool(new),
            Kind::Int => from.int(old) == to.int(new),
            Kind::Time => from.time(old) == to.time(new),
            Kind::MicroTime => from.micro_time(old) == to.micro_time(new),
            Kind::Float => from.float(old).map(f64::to_bits) == to.float(new).map(f64::to_bits),
            Kind::Object | Kind::List => {
                let (mut before, mut after) = (from.children(old), to.children(new));
                from.object_type(old) == to.object_type(new)
                    && loop {
                        match (before.next(), after.next()) {
                            (None, None) => break true,
                            (Some(old), Some(new)) if from.field_number(old) == to.field_number(new) => {
                                if !self.visit_later(old, new) {
                                    break false;
                                }
                            }
                            _ => break false,
                        }
                    }
            }
            Kind::Map => {
                let (mut before, mut after) = (from.entries(old), to.entries(new));
                loop {
                    match (before.next(), after.next()) {
                        (None, None) => break true,
                        (Some((a, old)), Some((b, new))) if a == b => {
                            if !self.visit_later(old, new) {
                                break false;
                            }
                        }
                        _ => break false,
                    }
                }
            }
            Kind::Key => false,
        }
    }

    fn visit_later(&mut self, old: NodeId, new: NodeId) -> bool {
        let Some(left) = self.visits_left.checked_sub(1) else { return false };
        self.visits_left = left;
        self.open.push((old, new));
        true
    }
}
