//! The one question request info has for a field selector: does it match a single `metadata.name`?
//!
//! Only the splitting rules matter here (upstream: `fields.ParseSelector`, `RequiresExactMatch`); which fields a kind knows is
//! judged where the selector is used. A selector that does not parse selects no name.

const FIELD: &str = "metadata.name";
/// Terms looked at; a selector with more selects no name.
const TERMS_MAX: usize = 64;

/// Returns the name that a field selector demands, if it demands exactly one.
pub fn selected(selector: &str) -> Option<String> {
    let mut name = None;
    let mut rest = Some(selector);
    for _ in 0..TERMS_MAX {
        let Some(text) = rest else { return name };
        let end = find_unescaped_comma(text);
        let term = text.get(..end).unwrap_or_default();
        rest = text.get(end + 1..);
        if term.is_empty() {
            continue;
        }
        let (field, operator, value) = split_term(term)?;
        let value = unescape(value)?;
        if operator != "!=" && field == FIELD && name.is_none() {
            name = Some(value);
        }
    }
    None
}

fn find_unescaped_comma(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Splits at the first operator; a `!` alone belongs to the field.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let (field, rest) = term.split_at(at);
        let operator = ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator))?;
        Some((field, operator, rest.strip_prefix(operator)?))
    })
}

/// Undoes `\\`, `\,` and `\=`; every other escape, and a bare `,` or `=`, is an error.
fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => value.push(letters.next().filter(|escaped| matches!(escaped, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            _ => value.push(letter),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_only_name() {
        let check = |selector: &str, expected: Option<&str>| {
            assert_eq!(selected(selector).as_deref(), expected, "{selector}");
        };
        check("", None);
        check("metadata.name=a", Some("a"));
        check("metadata.name==a", Some("a"));
        check("metadata.name!=a", None);
        check("status.phase=x,metadata.name=a", Some("a"));
        check(",,metadata.name=a,", Some("a"));
        check("metadata.name=a,metadata.name=b", Some("a"));
        check("metadata.name=a\\,b", Some("a,b"));
        check("metadata.name=a\\=b", Some("a=b"));
        check("metadata.name=a\\xb", None);
        check("metadata.name=a=b", None);
        check("metadata.name", None);
        check("metadata.name=a,bare", None);
        check("metadata.names=a", None);
        check("a!b=c,metadata.name=a", Some("a"));
        check("metadata.name=", Some(""));
        check(&"a=b,".repeat(TERMS_MAX + 1), None);
    }
}
