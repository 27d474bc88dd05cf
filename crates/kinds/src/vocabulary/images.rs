//! Names of images (upstream: `parsers.ParseImageName`, the distribution project's grammar of references).
//!
//! Nobody is refused for the name of an image: what is asked here is whether a new image may stand behind the same name tomorrow,
//! because then it is pulled each time.

/// The tag of an image that names neither tag nor digest.
const TAG_LATEST: &str = "latest";
/// Longest tag.
const TAG_LEN_MAX: usize = 128;
/// Longest path of a repository, with its registry.
const REPOSITORY_LEN_MAX: usize = 255;
/// Shortest digest that the grammar takes at all, in hexadecimal digits.
const DIGEST_LEN_MIN: usize = 32;
/// What stands for names that say no registry.
const PATH_OF_DEFAULT: &str = "docker.io/library/";

/// Whether the image is the latest one of its name: tagged so, or with neither tag nor digest. What is no image's name is not.
#[must_use]
pub fn is_latest(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) || (digest.is_none() && is_hash(image)) {
        return false;
    }
    let (registry, path) = split_registry(name);
    let (path, tag) = match path.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let prefix_len = registry.map_or(PATH_OF_DEFAULT.len(), |registry| registry.len() + 1);
    let is_name = path.split('/').all(is_path_component)
        && prefix_len + path.len() <= REPOSITORY_LEN_MAX
        && registry.is_none_or(|registry| is_registry(registry) || is_path_component(registry));
    match tag {
        _ if !is_name => false,
        Some(tag) => tag == TAG_LATEST && is_tag(tag),
        None => digest.is_none(),
    }
}

/// What stands before the first slash is a registry if it looks like a host, or cannot be a part of a path.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    let Some((first, rest)) = name.split_once('/') else { return (None, name) };
    let is_host =
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_host { (Some(first), rest) } else { (None, name) }
}

/// A host, perhaps with a port.
fn is_registry(value: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = value.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match value.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (value, None),
    };
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Words in lower case, with a dot, one or two underscores, or any number of hyphens between them.
fn is_path_component(value: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let between =
        value.split(|letter: char| letter.is_ascii() && is_word(letter as u8)).filter(|part| !part.is_empty());
    let is_separator = |part: &str| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-');
    let ends_with_words =
        |value: &str| value.bytes().next().is_some_and(is_word) && value.bytes().last().is_some_and(is_word);
    ends_with_words(value) && between.into_iter().all(is_separator)
}

fn is_tag(value: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    value.len() <= TAG_LEN_MAX
        && value.bytes().next().is_some_and(is_word)
        && value.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(value: &str) -> bool {
    let Some((algorithm, hex)) = value.split_once(':') else { return false };
    let len = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() >= DIGEST_LEN_MIN && hex.len() == len && is_lower_hex(hex)
}

/// The bare hash of an image is not taken for a name.
fn is_hash(value: &str) -> bool {
    value.len() == 64 && is_lower_hex(value)
}

fn is_lower_hex(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_what_may_change() {
        let check = |image: &str, expected: bool| assert_eq!(is_latest(image), expected, "{image}");
        let hash = "a".repeat(64);
        for latest in [
            "nginx",
            "nginx:latest",
            "docker.io/nginx",
            "library/nginx",
            "host:5000/a/b",
            "localhost/a",
            "[::1]:5000/a",
        ] {
            check(latest, true);
        }
        for latest in ["a__b", "a---b", "a.b/c_d", "Upper/a", "Host.example.com/a:latest", "a_b.c/d"] {
            check(latest, true);
        }
        check(&format!("nginx:latest@sha256:{hash}"), true);
        for fixed in ["nginx:1.27", "host:5000/a:1", "nginx:Latest", "a/b:c"] {
            check(fixed, false);
        }
        check(&format!("nginx@sha256:{hash}"), false);
        // What is no name of an image is not the latest of anything.
        for wrong in [
            "",
            " ",
            "Nginx",
            "nginx:",
            "Not Valid!",
            "a/B",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a//b",
            "/a",
            "a/",
            "a:b:c",
            "nginx@sha256:aa",
        ] {
            check(wrong, false);
        }
        check(&hash, false);
        check(&format!("nginx:latest@sha256:{}", "a".repeat(32)), false);
        check(&"x".repeat(300), false);
    }
}
