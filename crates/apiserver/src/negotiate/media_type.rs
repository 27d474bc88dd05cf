//! One media type with parameters, as `Content-Type` has it (RFC 2045, RFC 2616; upstream: Go's `mime.ParseMediaType`).

use std::borrow::Cow;

/// Parameters that are read; a type with more is none.
const PARAMETERS_MAX: usize = 64;

/// The type in lower case, without its parameters; none when they are not what parameters are, or when one has two values.
pub(super) fn parse(text: &str) -> Option<String> {
    let (media_type, parameters) = text.find(';').map_or((text, ""), |at| text.split_at(at));
    let mut met: Vec<(String, Cow<'_, str>)> = Vec::new();
    let mut rest = parameters.trim_start();
    while !rest.is_empty() {
        let Some((name, value, behind)) = parameter(rest) else {
            // A semicolon that nothing follows is let pass.
            if rest.trim() == ";" {
                break;
            }
            return None;
        };
        if met.len() >= PARAMETERS_MAX || met.iter().any(|(other, held)| *other == name && *held != value) {
            return None;
        }
        met.push((name, value));
        rest = behind.trim_start();
    }
    Some(media_type.trim().to_ascii_lowercase())
}

/// `;name=value`, and what follows.
fn parameter(text: &str) -> Option<(String, Cow<'_, str>, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start())?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => token(rest).map(|(value, rest)| (Cow::Borrowed(value), rest))?,
    };
    Some((name.to_ascii_lowercase(), value, rest))
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |letter: char| letter.is_ascii_graphic() && !is_special(letter);
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_special(letter: char) -> bool {
    r#"()<>@,;:\"/[]?="#.contains(letter)
}

/// What stands before the closing quote, and what follows it. Only what is special can be escaped.
fn unquoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Cow::Owned(value), text.get(at + 1..)?)),
            '\\' => match letters.next_if(|(_, next)| is_special(*next)) {
                Some((_, next)) => value.push(next),
                None => value.push(letter),
            },
            '\r' | '\n' => return None,
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_with_their_parameters() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(parse(text).as_deref(), expected, "{text}");
        check("application/json", Some("application/json"));
        check("Application/JSON ; charset=utf-8", Some("application/json"));
        check("a/b;", Some("a/b"));
        check("a/b; ", Some("a/b"));
        check(r#"a/b; x="1;2\"3"; y=z"#, Some("a/b"));
        check("a/b; x=1; X=1", Some("a/b"));
        check("a/b; x=1; x=2", None);
        check("a/b; charset", None);
        check("a/b; charset=", None);
        check("a/b; =x", None);
        check(r#"a/b; x="1"#, None);
        check("a/b;;x=1", None);
        check("a/b; x=1 y=2", None);
    }
}
