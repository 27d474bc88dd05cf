//! A place in an object, as messages of server-side apply name it.

use super::super::{Schema, TypeRef};
use super::shape::{Shape, Shapes};
use crate::tree::{NodeId, Tree};

/// A path with positions (`spec.ports[0].x`) with the names of elements instead (`.spec.ports[port=80,protocol="TCP"].x`), as far as the
/// object has it.
pub fn place(schema: &Schema, tree: &Tree, path: &str) -> String {
    let shapes = Shapes { schema };
    let mut out = String::new();
    let root = tree.root();
    let mut at: Option<(NodeId, Option<TypeRef>, Option<Shape<'_>>)> =
        tree.object_type(root).map(|ty| (root, Some(TypeRef::Object(ty)), Some(Shape::Object(ty))));
    for part in path.split('.') {
        let (name, positions) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        out.push('.');
        out.push_str(name);
        at = at.and_then(|(node, ty, _)| match ty? {
            TypeRef::Object(id) => {
                let number = schema.ty(id).find(name)?;
                let field = schema.ty(id).fields.get(usize::from(number))?;
                let shape = shapes.of(field.ty, Some(&field.attributes));
                Some((tree.field(node, number)?, Some(field.ty), shape))
            }
            TypeRef::Map(element) => {
                let ty = schema.element(element);
                Some((tree.get(node, name)?, Some(ty), shapes.of(ty, None)))
            }
            _ => None,
        });
        for position in positions.split('[').filter_map(|position| position.strip_suffix(']')) {
            let element = position.parse().ok().and_then(|position: usize| {
                let (list, ty, shape) = at?;
                let Some(TypeRef::List(element)) = ty else { return None };
                let node = tree.children(list).nth(position)?;
                let step = match shape {
                    Some(shape @ (Shape::Keyed(..) | Shape::Set(_))) => shapes.steps(shape).of(tree, node).ok(),
                    _ => None,
                };
                let ty = schema.element(element);
                Some((step, (node, Some(ty), shapes.of(ty, None))))
            });
            match &element {
                Some((Some(step), _)) => out.push_str(&step.as_step().shown()),
                _ => out.push_str(&format!("[{position}]")),
            }
            at = element.map(|(_, at)| at);
        }
    }
    out
}
