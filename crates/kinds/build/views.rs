//! Generates `views.rs`: for every struct of the API a view to read its fields and an edit to write them, each a method named after the
//! field. Type and field numbers are those of the schema that the program loads, because the same tables are loaded here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use portcullis_model::schema::{Field, Presence, Schema, Type, TypeId, TypeRef};

/// Writes `views.rs` to the build's folder.
pub fn write(schema: &Schema, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for (id, ty) in schema.types() {
        if !ty.fields.is_empty() {
            let module = modules.entry(module(ty)).or_default();
            write_view(module, schema, id, ty)?;
            write_edit(module, schema, id, ty)?;
        }
    }
    let mut text = String::new();
    for (name, body) in modules {
        writeln!(text, "/// Views of the types of this package.\npub mod {name} {{\nuse super::support;\n{body}}}")?;
    }
    fs::write(out.join("views.rs"), text)?;
    Ok(())
}

/// `api.core.v1.Pod` is in `core_v1`, as its table is.
pub fn module(ty: &Type) -> String {
    let mut parts: Vec<&str> = ty.name.split('.').collect();
    parts.pop();
    parts[parts.len().saturating_sub(2)..].join("_")
}

fn write_view(out: &mut String, schema: &Schema, id: TypeId, ty: &Type) -> std::fmt::Result {
    let name = ty.short_name();
    writeln!(out, "/// Reads `{}`.", ty.name)?;
    writeln!(out, "#[derive(Clone, Copy, Debug)]\npub struct {name}<'t>(support::At<'t>);")?;
    writeln!(
        out,
        "impl<'t> support::View<'t> for {name}<'t> {{ #[inline] fn at(at: support::At<'t>) -> Self {{ Self(at) }} }}"
    )?;
    writeln!(
        out,
        "impl<'t> {name}<'t> {{\n/// The type's number in the schema.\npub const TYPE: support::TypeId = support::TypeId({});",
        id.0
    )?;
    writeln!(out, "/// Where this view looks.\n#[inline] pub fn place(self) -> support::At<'t> {{ self.0 }}")?;
    for (number, field) in ty.fields.iter().enumerate() {
        let (constant, json) = (constant(&field.name), &field.name);
        writeln!(
            out,
            "/// Where `{json}` is.\npub const {constant}: support::Field = support::Field::new({number}, {json:?});"
        )?;
    }
    for (number, field) in ty.fields.iter().enumerate() {
        let method = identifier(&field.name);
        let read = read_type(schema, field.ty);
        writeln!(out, "/// `{}`", field.name)?;
        if optional(field) {
            writeln!(out, "#[inline] pub fn {method}(self) -> Option<{read}> {{ self.0.optional({number}) }}")?;
        } else {
            writeln!(out, "#[inline] pub fn {method}(self) -> {read} {{ self.0.value({number}) }}")?;
        }
    }
    writeln!(out, "}}")
}

fn write_edit(out: &mut String, schema: &Schema, id: TypeId, ty: &Type) -> std::fmt::Result {
    let name = ty.short_name();
    writeln!(out, "/// Writes `{}`.", ty.name)?;
    writeln!(out, "#[derive(Debug)]\npub struct {name}Edit<'t>(support::Place<'t>);")?;
    writeln!(out, "impl<'t> support::Edit<'t> for {name}Edit<'t> {{")?;
    writeln!(out, "const TYPE: Option<support::TypeId> = Some(support::TypeId({}));", id.0)?;
    writeln!(out, "#[inline] fn at(place: support::Place<'t>) -> Self {{ Self(place) }} }}")?;
    writeln!(out, "impl<'p> {name}Edit<'p> {{")?;
    writeln!(
        out,
        "/// Where this edit writes.\n#[inline] pub fn place(&mut self) -> &mut support::Place<'p> {{ &mut self.0 }}"
    )?;
    writeln!(
        out,
        "/// What is there now.\n#[inline] pub fn view(&self) -> {name}<'_> {{ support::View::at(self.0.view()) }}"
    )?;
    for (number, field) in ty.fields.iter().enumerate() {
        let method = identifier(&field.name);
        let plain = method.trim_end_matches('_');
        writeln!(out, "/// `{}`", field.name)?;
        match written(schema, field.ty) {
            Written::Scalar(argument, scalar) => writeln!(
                out,
                "#[inline] pub fn set_{plain}(&mut self, value: {argument}) {{ self.0.set({number}, support::Scalar::{scalar}(value)); }}"
            )?,
            Written::IntOrString => writeln!(
                out,
                "#[inline] pub fn set_{plain}(&mut self, value: support::IntOrString<'_>) {{ self.0.set({number}, value.scalar()); }}"
            )?,
            Written::Edit(edit) => {
                writeln!(out, "#[inline] pub fn {plain}_mut(&mut self) -> {edit} {{ self.0.open({number}) }}")?;
            }
            Written::Nothing => {}
        }
        writeln!(out, "/// Takes `{}` away and says whether it was there.", field.name)?;
        writeln!(out, "#[inline] pub fn clear_{plain}(&mut self) -> bool {{ self.0.clear({number}) }}")?;
    }
    writeln!(out, "}}")
}

/// Whether absent and zero differ for the field.
pub fn optional(field: &Field) -> bool {
    matches!(field.presence, Presence::Optional | Presence::Nullable)
        && !matches!(field.ty, TypeRef::List(_) | TypeRef::Map(_))
}

fn read_type(schema: &Schema, ty: TypeRef) -> String {
    match ty {
        TypeRef::String | TypeRef::Bytes | TypeRef::Quantity => "&'t str".to_owned(),
        TypeRef::FieldsV1 | TypeRef::RawExtension | TypeRef::Json => "support::Raw<'t>".to_owned(),
        TypeRef::Bool => "bool".to_owned(),
        TypeRef::Int32 => "i32".to_owned(),
        TypeRef::Int64 => "i64".to_owned(),
        TypeRef::Float64 => "f64".to_owned(),
        TypeRef::Time => "support::Seconds".to_owned(),
        TypeRef::MicroTime => "support::Micros".to_owned(),
        TypeRef::IntOrString => "support::IntOrString<'t>".to_owned(),
        TypeRef::Union(_) => "support::At<'t>".to_owned(),
        TypeRef::List(element) => format!("support::List<'t, {}>", read_type(schema, schema.element(element))),
        TypeRef::Map(value) => format!("support::Map<'t, {}>", read_type(schema, schema.element(value))),
        TypeRef::Object(id) => struct_type(schema, id, "", "'t"),
    }
}

/// What the edit of a field takes or gives.
enum Written {
    /// The argument's type and the scalar it becomes.
    Scalar(&'static str, &'static str),
    IntOrString,
    /// The type of the edit of what is below.
    Edit(String),
    /// No edit of its own: values of this type are replaced by grafting.
    Nothing,
}

fn written(schema: &Schema, ty: TypeRef) -> Written {
    match ty {
        TypeRef::String | TypeRef::Bytes | TypeRef::Quantity => Written::Scalar("&str", "String"),
        TypeRef::FieldsV1 | TypeRef::RawExtension | TypeRef::Json => Written::Scalar("&str", "Raw"),
        TypeRef::Bool => Written::Scalar("bool", "Bool"),
        TypeRef::Int32 | TypeRef::Int64 => Written::Scalar("i64", "Int"),
        TypeRef::Float64 => Written::Scalar("f64", "Float"),
        TypeRef::Time => Written::Scalar("i64", "Time"),
        TypeRef::MicroTime => Written::Scalar("i64", "MicroTime"),
        TypeRef::IntOrString => Written::IntOrString,
        TypeRef::Object(id) => Written::Edit(struct_type(schema, id, "Edit", "'_")),
        TypeRef::List(element) => match schema.element(element) {
            TypeRef::Object(id) => {
                Written::Edit(format!("support::ListEdit<'_, {}>", struct_type(schema, id, "Edit", "'_")))
            }
            TypeRef::String => Written::Edit("support::ListEdit<'_, support::Text>".to_owned()),
            _ => Written::Nothing,
        },
        TypeRef::Map(value) => match schema.element(value) {
            TypeRef::String | TypeRef::Quantity | TypeRef::Bytes => Written::Edit("support::MapEdit<'_>".to_owned()),
            _ => Written::Nothing,
        },
        TypeRef::Union(_) => Written::Nothing,
    }
}

/// A struct without fields has no view: where it stands is all that can be said of it.
fn struct_type(schema: &Schema, id: TypeId, suffix: &str, lifetime: &str) -> String {
    let ty = schema.ty(id);
    if ty.fields.is_empty() {
        return if suffix.is_empty() {
            format!("support::At<{lifetime}>")
        } else {
            format!("support::Place<{lifetime}>")
        };
    }
    format!("super::{}::{}{suffix}<{lifetime}>", module(ty), ty.short_name())
}

/// A JSON name as the name of a constant. The type's own number has the name that `type` would get.
pub fn constant(name: &str) -> String {
    let name = identifier(name).trim_end_matches('_').to_ascii_uppercase();
    if name == "TYPE" { "TYPE_".to_owned() } else { name }
}

/// A JSON name as a Rust name: `clusterIPs` is `cluster_ips`, `$ref` is `dollar_ref`, `type` is `type_`.
pub fn identifier(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let upper = |at: usize| chars.get(at).is_some_and(char::is_ascii_uppercase);
    let lower = |at: usize| chars.get(at).is_some_and(char::is_ascii_lowercase);
    // The s of a plural belongs to the capitals before it.
    let plural = |at: usize| chars.get(at) == Some(&'s') && (at + 1 == chars.len() || upper(at + 1));
    let mut out = String::new();
    for (at, character) in chars.iter().enumerate() {
        match character {
            '$' => out.push_str("dollar_"),
            'A'..='Z' => {
                let begins = at > 0 && (!upper(at - 1) || (lower(at + 1) && !plural(at + 1)));
                if begins && !out.ends_with('_') {
                    out.push('_');
                }
                out.push(character.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => out.push(*character),
            _ => out.push('_'),
        }
    }
    if matches!(out.as_str(), "type" | "ref" | "match" | "static" | "continue" | "enum" | "default" | "not" | "use") {
        out.push('_');
    }
    out
}
