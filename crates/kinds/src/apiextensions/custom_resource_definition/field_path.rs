//! Paths to a field of a schema, in dots or brackets: `.spec.flag`, `.spec['flag']` (upstream: `cel.ValidFieldPath`).

use super::schema::{self, Additional, Schema};

/// Whether `['name']` may stand for `.name`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Brackets {
    /// In rules.
    Allowed,
    /// In selectable fields.
    Refused,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The first name.
    pub first: &'t str,
    /// The schema there; None where values are not described.
    pub schema: Option<Schema<'t>>,
}

const NO_FIELD: &str = "does not refer to a valid field";
const ENDED: &str = "unexpected end of JSON path";

/// Follows a path, or says why it leads nowhere.
pub fn follow<'t>(path: &'t str, root: Schema<'t>, brackets: Brackets) -> Result<Target<'t>, String> {
    let mut target = Target { first: "", schema: Some(root) };
    let mut rest = path;
    while let Some(token) = next_token(&mut rest) {
        match token {
            "." => {
                let name = next_token(&mut rest).ok_or(ENDED)?;
                target.step(name, name)?;
            }
            "[" if brackets == Brackets::Refused => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = next_token(&mut rest).ok_or(ENDED)?;
                let inside = quoted.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
                let Some(inside) = inside.filter(|_| quoted.len() >= 2) else {
                    return Err(format!("expected single quoted string but got {quoted}"));
                };
                let name = unescaped(inside).ok_or("invalid string literal: invalid syntax")?;
                target.step(&name, inside)?;
                match next_token(&mut rest).ok_or(ENDED)? {
                    "]" => {}
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(target)
}

impl<'t> Target<'t> {
    fn step(&mut self, name: &str, written: &'t str) -> Result<(), String> {
        let schema = self.schema.ok_or(NO_FIELD)?;
        if self.first.is_empty() {
            self.first = written;
        }
        if !schema.properties().is_empty() {
            self.schema = Some(schema::property(schema, name).ok_or(NO_FIELD)?);
            return Ok(());
        }
        self.schema = match schema::additional_properties(schema) {
            Additional::Absent => return Err(NO_FIELD.to_owned()),
            Additional::Allowed(_) => None,
            Additional::Each(below) => Some(below),
        };
        Ok(())
    }
}

/// A delimiter, a text in single quotes, or what stands before the next delimiter.
fn next_token<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let text = *rest;
    let first = text.chars().next()?;
    let is_delimiter = |c: char| matches!(c, '.' | '[' | ']');
    let len = match first {
        c if is_delimiter(c) => 1,
        '\'' => {
            let bytes = text.as_bytes();
            let ends = |at: &usize| bytes.get(*at) == Some(&b'\'') && bytes.get(at - 1) != Some(&b'\\');
            (1..bytes.len()).find(ends).map_or(text.len(), |at| at + 1)
        }
        _ => text.find(is_delimiter).unwrap_or(text.len()),
    };
    let (token, after) = text.split_at_checked(len).unwrap_or((text, ""));
    *rest = after;
    Some(token)
}

/// The name that a text in single quotes stands for.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next()? {
                c @ ('\\' | '\'' | '"') => c,
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                _ => return None,
            }),
            '\'' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}
