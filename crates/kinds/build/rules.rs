//! Generates `rules.rs`: for each line of `facts/rules/*.rules` a method of the view that checks the field, and the table of fields
//! that stand behind a gate. A line that names no field, or a rule that does not fit its type, fails the build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use portcullis_model::schema::{Field, Schema, Type, TypeId, TypeRef};

use crate::views::{identifier, module, optional};

type Error = Box<dyn std::error::Error>;

const RULES: &str = "facts/rules";

/// One line about a field.
struct Rule<'a> {
    id: TypeId,
    ty: &'a Type,
    number: usize,
    field: &'a Field,
    attributes: Vec<(String, Option<String>)>,
}

/// Writes `rules.rs` to the build's folder.
pub fn write(schema: &Schema, out: &Path) -> Result<(), Error> {
    let mut names: Vec<_> =
        fs::read_dir(RULES)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    names.retain(|path| path.extension().is_some_and(|extension| extension == "rules"));
    names.sort();
    let (mut methods, mut gated, mut gates) = (String::new(), String::new(), BTreeMap::new());
    for path in &names {
        let text = fs::read_to_string(path)?;
        read(schema, &text, &mut methods, &mut gated, &mut gates)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut states = String::new();
    for (gate, is_on) in &gates {
        writeln!(states, "({gate:?}, {is_on}),")?;
    }
    let text = format!(
        "{methods}\n/// Fields that are only there with a gate on: type, field, gate.\n\
         pub const GATED: &[(TypeId, u16, &str)] = &[\n{gated}];\n\
         /// Every gate that a field stands behind, and whether it is on.\n\
         pub const GATES: &[(&str, bool)] = &[\n{states}];\n"
    );
    fs::write(out.join("rules.rs"), text)?;
    Ok(())
}

fn read(
    schema: &Schema,
    text: &str,
    methods: &mut String,
    gated: &mut String,
    gates: &mut BTreeMap<String, bool>,
) -> Result<(), Error> {
    let (mut package, mut held) = ("", None);
    for (at, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("line {}: {why}: {line}", at + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["package", name] => package = name,
            ["gate", name, state @ ("on" | "off")] => {
                if gates.insert((*name).to_owned(), *state == "on").is_some() {
                    return Err(wrong("the gate was named before").into());
                }
            }
            ["type", name] if line.starts_with("type") => {
                let full = format!("{package}.{name}");
                held = Some(schema.by_name(&full).ok_or_else(|| wrong("there is no such type"))?);
            }
            [name, attributes @ ..] => {
                let id = held.ok_or_else(|| wrong("no type was named"))?;
                let ty = schema.ty(id);
                let number = usize::from(ty.find(name).ok_or_else(|| wrong("the type has no such field"))?);
                let attributes = attributes.iter().map(|one| match one.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.replace("%20", " ").replace("%2C", ","))),
                    None => ((*one).to_owned(), None),
                });
                let rule = Rule { id, ty, number, field: &ty.fields[number], attributes: attributes.collect() };
                rule.write(methods, gated, gates).map_err(|error| wrong(&error.to_string()))?;
            }
        }
    }
    Ok(())
}

impl Rule<'_> {
    fn get(&self, name: &str) -> Option<Option<&str>> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_deref())
    }

    fn write(&self, methods: &mut String, gated: &mut String, gates: &BTreeMap<String, bool>) -> Result<(), Error> {
        const KNOWN: [&str; 10] =
            ["required", "optional", "enum", "min", "max", "range", "positive", "format", "frozen", "gate"];
        if let Some((unknown, _)) = self.attributes.iter().find(|(key, _)| !KNOWN.contains(&key.as_str())) {
            return Err(format!("there is no rule {unknown:?}").into());
        }
        if let Some(gate) = self.get("gate") {
            let gate = gate.ok_or("which gate?")?;
            if !gates.contains_key(gate) {
                return Err(format!("the gate {gate:?} was not named before").into());
            }
            writeln!(gated, "(TypeId({}), {}, {gate:?}),", self.id.0, self.number)?;
        }
        let (module, name) = (module(self.ty), self.ty.short_name());
        let (method, json) = (identifier(&self.field.name), &self.field.name);
        let plain = method.trim_end_matches('_');
        if self.get("frozen").is_some() {
            // A text that Go has no pointer to is shown as it reads: empty where it is absent.
            let check = if matches!(self.field.ty, TypeRef::String) && !optional(self.field) {
                format!("frozen::frozen_text(self.{method}(), old.{method}(), &at.field({json:?}), errors);")
            } else {
                let constant = crate::views::constant(json);
                format!(
                    "frozen::frozen(self.place().get(Self::{constant}), old.place().get(Self::{constant}), &at.field({json:?}), errors);"
                )
            };
            writeln!(
                methods,
                "impl views::{module}::{name}<'_> {{\n/// `{json}` stays what it was.\npub fn check_frozen_{plain}(self, \
                 old: views::{module}::{name}<'_>, at: &Path<'_>, errors: &mut Errors) {{\n{check}\n}}\n}}",
            )?;
        }
        let Some(body) = self.body()? else { return Ok(()) };
        let absent = match self.get("required") {
            Some(why) => format!("errors.required(&at, {:?});", why.unwrap_or_default()),
            None => String::new(),
        };
        let check = if optional(self.field) {
            format!("match self.{method}() {{ Some(value) => {{ {body} }} None => {{ {absent} }} }}")
        } else if matches!(self.field.ty, TypeRef::String | TypeRef::Quantity) {
            let skip = if self.get("required").is_some() || self.get("optional").is_some() {
                format!("if value.is_empty() {{ {absent} return; }}")
            } else {
                String::new()
            };
            format!("let value = self.{method}(); {skip} {body}")
        } else {
            format!("let value = self.{method}(); {body}")
        };
        writeln!(
            methods,
            "impl views::{module}::{name}<'_> {{\n/// What a rules file says of `{json}`. `above` is where the struct is.\n\
             #[allow(unused_variables, clippy::needless_return)]\n\
             pub fn check_{plain}(self, above: &Path<'_>, errors: &mut Errors) {{\nlet at = above.field({json:?});\n{check}\n}}\n}}"
        )?;
        Ok(())
    }

    /// What is done with a value; nothing for a field of which only `frozen` or `gate` is said.
    fn body(&self) -> Result<Option<String>, Error> {
        let is_text = matches!(self.field.ty, TypeRef::String);
        let is_number = matches!(self.field.ty, TypeRef::Int32 | TypeRef::Int64);
        let mut out = String::new();
        if let Some(values) = self.get("enum") {
            if !is_text {
                return Err("only texts are of a closed list".into());
            }
            let values: Vec<String> = match values {
                Some(values) => values.split(',').map(str::to_owned).collect(),
                None => self.published_enum()?,
            };
            writeln!(out, "names::one_of(value, &{values:?}, &at, errors);")?;
        }
        for (rule, function) in [("min", "at_least"), ("max", "at_most")] {
            if let Some(bound) = self.get(rule) {
                let bound: i64 = bound.ok_or("which bound?")?.parse()?;
                writeln!(out, "number::{function}(i64::from(value), {bound}, &at, errors);")?;
            }
        }
        if let Some(range) = self.get("range") {
            let (least, most) = range.and_then(|range| range.split_once("..")).ok_or("which range?")?;
            let (least, most): (i64, i64) = (least.parse()?, most.parse()?);
            writeln!(out, "number::between(i64::from(value), {least}, {most}, &at, errors);")?;
        }
        if self.get("positive").is_some() {
            writeln!(out, "number::positive(i64::from(value), &at, errors);")?;
        }
        if ["min", "max", "range", "positive"].iter().any(|rule| self.get(rule).is_some()) && !is_number {
            return Err("only numbers have a range".into());
        }
        if let Some(format) = self.get("format") {
            let function = match format {
                Some("dns-label") => "dns_label",
                Some("dns-subdomain") => "dns_subdomain",
                Some("qualified-name") => "qualified_name",
                Some("label-value") => "label_value",
                Some("config-key") => "config_key",
                Some("path-segment") => "path_segment",
                _ => return Err("there is no such format".into()),
            };
            writeln!(out, "names::{function}(value, &at, errors);")?;
        }
        let checks = !out.is_empty() || self.get("required").is_some();
        Ok(checks.then_some(out))
    }

    /// The values that the API publishes for the field, in their order there.
    fn published_enum(&self) -> Result<Vec<String>, Error> {
        let values = &self.field.attributes.enum_values;
        if values.is_empty() {
            return Err("no values are published for the field".into());
        }
        Ok(values.iter().map(|value| value.to_string()).collect())
    }
}
