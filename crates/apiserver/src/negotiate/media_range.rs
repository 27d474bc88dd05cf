//! The media ranges of an `Accept` header, the most wanted first (upstream: goautoneg, which all of its endpoints read them with).

use http::HeaderMap;
use http::header::ACCEPT;
use std::borrow::Cow;

/// Media ranges that are looked at; the rest is ignored.
pub(super) const RANGES_MAX: usize = 64;

/// One media range, such as `application/json;q=0.8`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MediaRange<'a> {
    ty: &'a str,
    subtype: &'a str,
    parameters: &'a str,
    quality: f64,
}

impl<'a> MediaRange<'a> {
    /// Reads a range; none where there is no type or no subtype.
    fn read(text: &'a str) -> Option<MediaRange<'a>> {
        let (range, parameters) = text.trim().split_once(';').unwrap_or((text.trim(), ""));
        let (ty, subtype) = range.split_once('/').unwrap_or((range, ""));
        let ty = ty.trim();
        let subtype = match subtype.strip_suffix('/').unwrap_or(subtype) {
            "" if ty == "*" && subtype.is_empty() => "*",
            subtype if subtype.is_empty() || subtype.contains('/') => return None,
            subtype => subtype.trim(),
        };
        // A weight that is no number weighs nothing.
        let weights = pairs(parameters).filter(|(name, _)| *name == "q");
        let quality = weights.last().map_or(1.0, |(_, value)| value.parse().unwrap_or_default());
        Some(MediaRange { ty, subtype, parameters, quality })
    }

    /// Whether a media type is of this range.
    pub(crate) fn covers(&self, media_type: &str) -> bool {
        let Some((ty, subtype)) = media_type.split_once('/') else { return false };
        self.ty == ty && (self.subtype == subtype || self.subtype == "*") || self.ty == "*" && self.subtype == "*"
    }

    /// Names and values of the parameters but the weight.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.parameters).filter(|(name, _)| *name != "q").map(|(name, value)| (name, value.trim()))
    }

    /// The value of a parameter: the last one, if there are several.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters().filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }

    /// Whether this range comes before another one. It is no order: a range that is named beats one that is not, whatever they weigh.
    fn precedes(&self, other: &MediaRange<'_>) -> bool {
        self.quality > other.quality || self.ty != "*" && other.ty == "*" || self.subtype != "*" && other.subtype == "*"
    }
}

/// Parameters that have a name and one value; others are as if they were not there.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.strip_suffix('=').filter(|value| !value.is_empty()).unwrap_or(value);
        (!value.is_empty() && !value.contains('=')).then_some((name.trim(), value))
    })
}

/// What an `Accept` header says, as text; nothing when there is none.
pub(crate) fn header(headers: &HeaderMap) -> Cow<'_, str> {
    headers.get(ACCEPT).map_or(Cow::Borrowed(""), |value| String::from_utf8_lossy(value.as_bytes()))
}

/// The ranges of a header, each moved before those that it precedes, as Go sorts short slices: where what precedes what is no order,
/// the result depends on how it is sorted.
pub(crate) fn ranges(header: &str) -> Vec<MediaRange<'_>> {
    let mut ranges: Vec<MediaRange<'_>> = header.split(',').take(RANGES_MAX).filter_map(MediaRange::read).collect();
    for end in 1..ranges.len() {
        for at in (1..=end).rev() {
            let is_before = matches!(ranges.get(at - 1..=at), Some([left, right]) if right.precedes(left));
            if !is_before {
                break;
            }
            ranges.swap(at - 1, at);
        }
    }
    ranges
}

/// Whether any range of a header names a media type as it is or is `*/*`, however little it is wanted (upstream: the routes of go-restful,
/// which look at the header first).
pub(crate) fn names_any(header: &str, media_types: &[&str]) -> bool {
    header.is_empty()
        || header.split(',').take(RANGES_MAX).any(|range| {
            let range = range.split_once(';').map_or(range, |(range, _)| range).trim_matches(' ');
            range == "*/*" || media_types.contains(&range)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_as_go_sorts_them() {
        let check = |header: &str, expected: &[&str]| {
            let found: Vec<String> =
                ranges(header).iter().map(|range| format!("{}/{}", range.ty, range.subtype)).collect();
            assert_eq!(found, expected, "{header}");
        };
        check("a/b, c/d", &["a/b", "c/d"]);
        check("a/b;q=0.1, c/d;q=0.9", &["c/d", "a/b"]);
        check("a/b;q=many, c/d;q=0.1", &["c/d", "a/b"]);
        check("a/b;q=0, c/d; q=0.1", &["c/d", "a/b"]);
        check("a/b;q= 1, c/d;q=0.1", &["c/d", "a/b"]);
        check("*/*, a/*, a/b", &["a/b", "a/*", "*/*"]);
        // Whichever comes later is moved to the front, for each precedes the other.
        check("*/*;q=0.9, a/b;q=0.5", &["a/b", "*/*"]);
        check("a/b;q=0.5, */*;q=0.9", &["*/*", "a/b"]);
        check("*, a, a/, a/b/, a/b/c, /b, a / b", &["a/b", "/b", "a/b", "*/*"]);
        check("", &[]);
        check(",;,", &[]);
    }

    #[test]
    fn parameters_without_a_value_are_none() {
        let check = |header: &str, expected: Option<&str>| {
            assert_eq!(ranges(header).first().and_then(|range| range.parameter("as")), expected, "{header}");
        };
        check("a/b;as=Table", Some("Table"));
        check("a/b; as = Table ;q=1", Some("Table"));
        check("a/b;as=Table;as=List", Some("List"));
        check("a/b;as=", None);
        check("a/b;as", None);
        check("a/b;as=a=b", None);
        check("a/b;AS=Table", None);
    }

    #[test]
    fn routes_know_no_ranges_but_all() {
        let check = |header: &str, expected: bool| assert_eq!(names_any(header, &["a/b"]), expected, "{header}");
        check("", true);
        check("*/*", true);
        check("c/d, a/b;q=0", true);
        check("a/*", false);
        check("*", false);
        check("A/B", false);
    }
}
