//! Turns the tables' text into a [`Schema`]: resolves names, flattens embedded structs, and works out once what the codecs
//! would otherwise ask of every object (name index, wire layout, zero values).

use std::collections::HashMap;

use super::facts::{self, FactsError, FieldFact, TypeFact};
use super::{
    Alternative, FIELDS_MAX, Field, FieldSet, NameKey, Presence, Schema, Slot, Type, TypeId, TypeRef, Union, wire,
};

/// Named types that are values of their own, not structs.
const LEAVES: &[(&str, TypeRef)] = &[
    ("apimachinery.pkg.api.resource.Quantity", TypeRef::Quantity),
    ("apimachinery.pkg.apis.meta.v1.Time", TypeRef::Time),
    ("apimachinery.pkg.apis.meta.v1.MicroTime", TypeRef::MicroTime),
    ("apimachinery.pkg.apis.meta.v1.FieldsV1", TypeRef::FieldsV1),
    ("apimachinery.pkg.runtime.RawExtension", TypeRef::RawExtension),
    ("apimachinery.pkg.util.intstr.IntOrString", TypeRef::IntOrString),
    ("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", TypeRef::Json),
    ("time.Time", TypeRef::Time),
];
const SCALARS: &[(&str, TypeRef)] = &[
    ("string", TypeRef::String),
    ("bool", TypeRef::Bool),
    ("int32", TypeRef::Int32),
    ("int64", TypeRef::Int64),
    ("float64", TypeRef::Float64),
    ("bytes", TypeRef::Bytes),
    ("any", TypeRef::Json),
];

pub(super) fn build<'a>(tables: impl IntoIterator<Item = &'a str>) -> Result<Schema, FactsError> {
    let mut facts = Vec::new();
    for table in tables {
        facts::parse(table, &mut facts)?;
    }
    let mut names = Names::default();
    for (number, fact) in facts.iter().enumerate() {
        names.types.insert(fact.name.as_str(), TypeId(number as u16));
    }
    for (name, leaf) in SCALARS.iter().chain(LEAVES) {
        names.known.insert((*name).to_owned(), *leaf);
    }
    let mut schema = Schema {
        types: Vec::with_capacity(facts.len()),
        elements: Vec::new(),
        unions: Vec::new(),
        by_name: HashMap::with_capacity(facts.len()),
        by_gvk: HashMap::new(),
    };
    names.unions(&facts, &mut schema)?;
    for number in 0..facts.len() {
        let ty = names.build_type(&facts, number, &mut schema)?;
        schema.by_name.insert(ty.name.clone(), TypeId(number as u16));
        for gvk in &ty.gvks {
            schema.by_gvk.entry(gvk.clone()).or_insert(TypeId(number as u16));
        }
        schema.types.push(ty);
    }
    wire::lay_out(&mut schema);
    zero_values(&mut schema);
    mark_defaults(&mut schema);
    Ok(schema)
}

#[derive(Default)]
struct Names<'a> {
    types: HashMap<&'a str, TypeId>,
    /// What a type expression came to, by its full text.
    known: HashMap<String, TypeRef>,
}

impl<'a> Names<'a> {
    /// A struct whose fields have no JSON names but wire numbers is a union: which form it is shows in the JSON value.
    fn unions(&mut self, facts: &'a [TypeFact<'a>], schema: &mut Schema) -> Result<(), FactsError> {
        for fact in facts {
            if self.known.contains_key(&fact.name) || !is_union(fact) {
                continue;
            }
            let (mut object, mut other) = (None, None);
            for field in &fact.fields {
                let tag = field.tag.unwrap_or_default();
                match self.resolve(field.ty, fact.package, schema)? {
                    TypeRef::Object(id) => object = Some((id, tag)),
                    TypeRef::List(element) => other = Some(Alternative::List(TypeRef::List(element), tag)),
                    _ => other = Some(Alternative::Bool(tag)),
                }
            }
            let (Some(object), Some(other)) = (object, other) else {
                return Err(FactsError::Malformed { line: fact.name.clone(), problem: "a union of unknown forms" });
            };
            self.known.insert(fact.name.clone(), TypeRef::Union(schema.unions.len() as u16));
            schema.unions.push(Union { name: fact.name.as_str().into(), object, other });
        }
        Ok(())
    }

    fn build_type(
        &mut self,
        facts: &'a [TypeFact<'a>],
        number: usize,
        schema: &mut Schema,
    ) -> Result<Type, FactsError> {
        let fact = &facts[number];
        let mut fields = Vec::with_capacity(fact.fields.len());
        // Leaves and unions are never read as structs; their tables have no field names.
        if !self.known.contains_key(&fact.name) {
            self.flatten(facts, fact, &mut fields, schema)?;
        }
        if fields.len() > FIELDS_MAX {
            return Err(FactsError::TooManyFields { name: fact.name.clone(), limit: FIELDS_MAX });
        }
        let mut always = FieldSet::default();
        for (number, field) in fields.iter().enumerate() {
            let struct_value = !matches!(
                field.ty,
                TypeRef::String | TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 | TypeRef::Bytes
            ) && !matches!(field.ty, TypeRef::List(_) | TypeRef::Map(_));
            match field.presence {
                Presence::Always | Presence::Nullable => _ = always.insert(number as u16),
                Presence::OmitEmpty if struct_value => _ = always.insert(number as u16),
                _ => {}
            }
        }
        let ranks = ranks(&fields);
        let mut always_by_rank = FieldSet::default();
        for number in always.iter() {
            always_by_rank.insert(ranks[usize::from(number)].0);
        }
        Ok(Type {
            name: fact.name.as_str().into(),
            gvks: fact.gvks.clone(),
            map_type: fact.map_type.clone(),
            unions: fact.unions.clone(),
            index: name_index(&fields),
            ranks,
            always_by_rank,
            slots: fields.iter().map(slot).collect(),
            fields,
            always,
            wire_in: wire::MessageIn::default(),
            wire_out: Box::default(),
            zero_json: Box::default(),
            zero_wire: Box::default(),
            defaults: FieldSet::default(),
        })
    }

    /// The fields of a type with those of its embedded structs in their place, each with its path of wire numbers.
    fn flatten(
        &mut self,
        facts: &'a [TypeFact<'a>],
        fact: &'a TypeFact<'a>,
        fields: &mut Vec<Field>,
        schema: &mut Schema,
    ) -> Result<(), FactsError> {
        // Each entry: the embedding chain's wire numbers and names, the type's package, and its fields still to come.
        type Pending<'f> = (Option<Vec<u32>>, Vec<Box<str>>, &'f str, std::slice::Iter<'f, FieldFact<'f>>);
        let mut pending: Vec<Pending<'a>> = vec![(Some(Vec::new()), Vec::new(), fact.package, fact.fields.iter())];
        while let Some((path, names, package, mut rest)) = pending.pop() {
            let Some(field) = rest.next() else { continue };
            // An embedded struct without a number (TypeMeta) is not on the wire, nor is anything in it.
            let tags = path.clone().zip(field.tag).map(|(mut path, tag)| {
                path.push(tag);
                path
            });
            pending.push((path, names.clone(), package, rest));
            let ty = self.resolve(field.ty, package, schema)?;
            if field.inline {
                let TypeRef::Object(id) = ty else { continue };
                let embedded = &facts[id.0 as usize];
                let name = embedded.name.rsplit('.').next().unwrap_or_default();
                let names = names.into_iter().chain([name.into()]).collect();
                pending.push((tags, names, embedded.package, embedded.fields.iter()));
                continue;
            }
            fields.push(make_field(field, ty, tags.unwrap_or_default(), names));
        }
        Ok(())
    }

    fn resolve(&mut self, text: &str, package: &str, schema: &mut Schema) -> Result<TypeRef, FactsError> {
        let base = text.rfind(']').map_or(0, |at| at + 1);
        let (wrappers, name) = text.split_at(base);
        let full = if name.contains('.') || SCALARS.iter().any(|(scalar, _)| *scalar == name) {
            name.to_owned()
        } else {
            format!("{package}.{name}")
        };
        let mut ty = match (self.known.get(&full), self.types.get(full.as_str())) {
            (Some(known), _) => *known,
            (None, Some(id)) => TypeRef::Object(*id),
            (None, None) => return Err(FactsError::UnknownType { name: full }),
        };
        let mut text = full;
        let mut rest = wrappers;
        while !rest.is_empty() {
            let (outer, wrapper) = rest.split_at(rest.rfind('[').unwrap_or(0));
            let (outer, is_map) = outer.strip_suffix("map").map_or((outer, false), |outer| (outer, true));
            text = format!("{}{text}", if is_map { "map[string]" } else { wrapper });
            ty = match self.known.get(&text) {
                Some(known) => *known,
                None => {
                    let number = schema.elements.len() as u16;
                    schema.elements.push(ty);
                    let made = if is_map { TypeRef::Map(number) } else { TypeRef::List(number) };
                    self.known.insert(text.clone(), made);
                    made
                }
            };
            rest = outer;
        }
        Ok(ty)
    }
}

fn is_union(fact: &TypeFact<'_>) -> bool {
    !fact.fields.is_empty() && fact.fields.iter().all(|field| field.name == "+" && !field.inline && field.tag.is_some())
}

fn make_field(fact: &FieldFact<'_>, ty: TypeRef, tags: Vec<u32>, embedded: Vec<Box<str>>) -> Field {
    let from = &fact.attributes;
    let mut attributes = super::Attributes {
        tags: tags.into(),
        embedded: embedded.into(),
        required: from.required,
        default: from.default.clone(),
        patch_strategy: from.patch_strategy.clone(),
        patch_merge_key: from.patch_merge_key.clone(),
        list_type: from.list_type.clone(),
        list_map_keys: from.list_map_keys.clone(),
        map_type: from.map_type.clone(),
        enum_values: from.enum_values.clone(),
        item_enum: from.item_enum.clone(),
        format: from.format.clone(),
    };
    attributes.list_map_keys.shrink_to_fit();
    Field {
        name: fact.name.into(),
        key: format!("\"{}\":", fact.name).into_bytes().into(),
        ty,
        presence: fact.presence,
        drop_zero: match ty {
            // Nil and empty differ to Go, so an empty one is only dropped where it would not be written.
            TypeRef::List(_) | TypeRef::Map(_) | TypeRef::Bytes => {
                matches!(fact.presence, Presence::OmitEmpty | Presence::OmitZero)
            }
            _ => !matches!(fact.presence, Presence::Optional | Presence::Nullable),
        },
        attributes: Box::new(attributes),
    }
}

fn slot(field: &Field) -> Slot {
    Slot { key: NameKey::new(field.name.as_bytes()), ty: field.ty, drop_zero: field.drop_zero }
}

fn name_index(fields: &[Field]) -> Box<[u16]> {
    let size = (fields.len() * 2).next_power_of_two().max(2);
    let mut index = vec![u16::MAX; size];
    for (number, field) in fields.iter().enumerate() {
        let mut at = NameKey::new(field.name.as_bytes()).hash() as usize & (size - 1);
        while index[at] != u16::MAX {
            at = (at + 1) & (size - 1);
        }
        index[at] = number as u16;
    }
    index.into()
}

/// By field number its place in the order of names, and by place the number.
fn ranks(fields: &[Field]) -> Box<[(u16, u16)]> {
    let mut by_name: Vec<u16> = (0..fields.len() as u16).collect();
    by_name.sort_by_key(|number| &fields[usize::from(*number)].name);
    let mut ranks: Vec<(u16, u16)> = by_name.iter().map(|number| (0, *number)).collect();
    for (rank, number) in (0..).zip(by_name) {
        ranks[usize::from(number)].0 = rank;
    }
    ranks.into()
}

/// Writes each type's zero value once. A struct that stands in another by value is never part of a cycle (Go could not size it),
/// so rounds over the table end as soon as one changes nothing.
fn zero_values(schema: &mut Schema) {
    loop {
        let mut changed = false;
        for number in 0..schema.types.len() {
            let ty = &schema.types[number];
            let mut out = vec![b'{'];
            for (at, field) in ty.fields.iter().enumerate() {
                if ty.always.contains(at as u16) {
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&field.key);
                    let zero = schema.zero_json(field.ty, field.presence);
                    out.extend_from_slice(if zero.is_empty() { b"{}" } else { zero });
                }
            }
            out.push(b'}');
            let mut wire = super::encode_protobuf::Backwards::default();
            super::encode_protobuf::write_zero_message(schema, ty, &mut wire);
            let wire = wire.finish();
            if *out != *ty.zero_json || *wire != *ty.zero_wire {
                changed = true;
                schema.types[number].zero_json = out.into();
                schema.types[number].zero_wire = wire.into();
            }
        }
        if !changed {
            return;
        }
    }
}

/// Finds the fields by which a default that changes anything can be reached.
fn mark_defaults(schema: &mut Schema) {
    loop {
        let mut changed = false;
        for number in 0..schema.types.len() {
            let mut reaching = FieldSet::default();
            for (at, field) in (0..).zip(&schema.types[number].fields) {
                let default = field.attributes.default.as_deref();
                let own = default.is_some_and(|text| !matches!(text, "\"\"" | "{}" | "0" | "false"));
                if own || schema.below(field.ty).is_some_and(|id| schema.ty(id).has_defaults()) {
                    reaching.insert(at);
                }
            }
            if reaching != schema.types[number].defaults {
                schema.types[number].defaults = reaching;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}
