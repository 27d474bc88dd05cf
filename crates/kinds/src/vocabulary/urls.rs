//! URLs as Go's `net/url` reads them, as far as anybody here asks: what parts one has, and in which words it is none.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use portcullis_model::go_text::quoted;

/// The parts of a URL that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    /// In lower case; empty when there is none.
    pub scheme: String,
    /// With its port.
    pub host: String,
    /// Who asks, with a password if one is given, as it stands in a URL.
    pub user: Option<String>,
    /// What stands behind `?`.
    pub query: String,
    /// What stands behind `#`.
    pub fragment: String,
}

/// Reads a URL or says why it is none.
///
/// # Errors
///
/// What Go says: `parse "TEXT": why`.
pub fn parse(text: &str) -> Result<Url, String> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let mut url = parts(before).map_err(|why| format!("parse {}: {why}", quoted(before)))?;
    let fragment = unescaped(fragment, Part::Other).map_err(|why| format!("parse {}: {why}", quoted(text)))?;
    url.fragment = fragment.into_owned();
    Ok(url)
}

fn parts(text: &str) -> Result<Url, String> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text == "*" {
        return Ok(Url::default());
    }
    let (scheme, rest) = split_scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme: scheme.to_ascii_lowercase(), query: query.to_owned(), ..Url::default() };
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            return Ok(url);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let mut path = rest;
    if let Some(behind) = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
        let (authority, below) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
        path = below;
        (url.user, url.host) = split_authority(authority)?;
    }
    unescaped(path, Part::Other)?;
    Ok(url)
}

/// The scheme, and what follows its colon.
fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok(text.split_once(':').unwrap_or(("", text))),
            _ => break,
        }
    }
    Ok(("", text))
}

/// Who asks, and the host.
fn split_authority(authority: &str) -> Result<(Option<String>, String), String> {
    let Some((user, host)) = authority.rsplit_once('@') else { return Ok((None, host_of(authority)?)) };
    let host = host_of(host)?;
    let is_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(is_user) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let written = match user.split_once(':') {
        None => escaped_user(&unescaped(user, Part::Other)?),
        Some((name, password)) => {
            let (name, password) = (unescaped(name, Part::Other)?, unescaped(password, Part::Other)?);
            format!("{}:{}", escaped_user(&name), escaped_user(&password))
        }
    };
    Ok((Some(written), host))
}

fn host_of(host: &str) -> Result<String, String> {
    let is_port = |port: &str| {
        let digits = port.strip_prefix(':');
        port.is_empty() || digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let refuse = |port: &str| format!("invalid port {} after host", quoted(port));
    if let Some((_, literal)) = host.rsplit_once('[') {
        let Some((address, port)) = literal.rsplit_once(']') else { return Err("missing ']' in host".to_owned()) };
        if !is_port(port) {
            return Err(refuse(port));
        }
        let address = unescaped(address, Part::Zone)?;
        let without_zone = address.split('%').next().unwrap_or_default();
        return match without_zone.parse::<Ipv6Addr>() {
            Ok(_) => Ok(format!("[{address}]{port}")),
            Err(_) => Err("invalid IP-literal".to_owned()),
        };
    }
    if let Some(at) = host.rfind(':') {
        let port = host.get(at..).unwrap_or_default();
        if !is_port(port) {
            return Err(refuse(port));
        }
    }
    Ok(unescaped(host, Part::Host)?.into_owned())
}

/// Which characters a part may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Other,
}

/// The text with its percent signs resolved.
fn unescaped(text: &str, part: Part) -> Result<Cow<'_, str>, String> {
    let bytes = text.as_bytes();
    let (mut out, mut at, mut is_escaped) = (Vec::with_capacity(bytes.len()), 0, false);
    while let Some(byte) = bytes.get(at) {
        if *byte != b'%' {
            if part != Part::Other && byte.is_ascii() && !is_of_host(*byte) {
                return Err(format!("invalid character {} in host name", quoted(&char::from(*byte).to_string())));
            }
            out.push(*byte);
            at += 1;
            continue;
        }
        let shown = bytes.get(at..bytes.len().min(at + 3)).unwrap_or_default();
        let refuse = || Err(format!("invalid URL escape {}", quoted(&String::from_utf8_lossy(shown))));
        let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) else { return refuse() };
        // A host has no escaped ASCII, but for the percent sign before a zone.
        if part == Part::Host && high < 8 && shown != b"%25" {
            return refuse();
        }
        out.extend(u8::try_from(high * 16 + low));
        at += 3;
        is_escaped = true;
    }
    Ok(if is_escaped { Cow::Owned(String::from_utf8_lossy(&out).into_owned()) } else { Cow::Borrowed(text) })
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn escaped_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,;=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_has() {
        let check = |text: &str, [scheme, host, query, fragment]: [&str; 4], user: Option<&str>| {
            let expected = Url {
                scheme: scheme.to_owned(),
                host: host.to_owned(),
                user: user.map(str::to_owned),
                query: query.to_owned(),
                fragment: fragment.to_owned(),
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("https://hook.example.com/m", ["https", "hook.example.com", "", ""], None);
        check("HTTPS://hook:8443", ["https", "hook:8443", "", ""], None);
        check("https://a:b@hook/x?q=1#f%20g", ["https", "hook", "q=1", "f g"], Some("a:b"));
        check("https://a!@hook", ["https", "hook", "", ""], Some("a%21"));
        check("https://[2001:db8::1]:443/", ["https", "[2001:db8::1]:443", "", ""], None);
        check("other", ["", "", "", ""], None);
        check("Not Valid!", ["", "", "", ""], None);
        check("mailto:someone", ["mailto", "", "", ""], None);
        check("//hook/x", ["", "hook", "", ""], None);
        check("///x", ["", "", "", ""], None);
        check("", ["", "", "", ""], None);
    }

    #[test]
    fn what_is_no_url() {
        let check = |text: &str, why: &str| assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        check("https://a b/", r#"parse "https://a b/": invalid character " " in host name"#);
        check("https://a:b/", r#"parse "https://a:b/": invalid port ":b" after host"#);
        check("https://[::1/", r#"parse "https://[::1/": missing ']' in host"#);
        check("https://[a]/", r#"parse "https://[a]/": invalid IP-literal"#);
        check("https://a/%zz", r#"parse "https://a/%zz": invalid URL escape "%zz""#);
        check("https://a%41/", r#"parse "https://a%41/": invalid URL escape "%41""#);
        check("https://a/#%", r#"parse "https://a/#%": invalid URL escape "%""#);
        check("https://a^b@c/", r#"parse "https://a^b@c/": net/url: invalid userinfo"#);
        check(":a", r#"parse ":a": missing protocol scheme"#);
        check("1:a", r#"parse "1:a": first path segment in URL cannot contain colon"#);
        check("a\u{1}", "parse \"a\\x01\": net/url: invalid control character in URL");
    }
}
