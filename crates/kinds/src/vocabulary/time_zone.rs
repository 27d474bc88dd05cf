//! Names of time zones (upstream: `validateTimeZone`, Go's `time.LoadLocation`).
//!
//! Which names there are is in `facts/time_zones.facts`, built in: what a manifest means must not depend on what is installed beside the
//! server.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::{Errors, Path};

const FACTS: &str = include_str!("../../facts/time_zones.facts");

/// The longest part of a name that a slash ends.
const PART_BYTES_MAX: usize = 14;

/// Every area with the names in it.
static ZONES: LazyLock<HashSet<(&str, &str)>> = LazyLock::new(|| read(FACTS));

fn read(facts: &'static str) -> HashSet<(&'static str, &'static str)> {
    let (mut zones, mut area) = (HashSet::new(), "");
    for line in facts.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_suffix(':') {
            Some("-") => area = "",
            Some(name) => area = name,
            None => zones.extend(line.split_whitespace().map(|name| (area, name))),
        }
    }
    zones
}

/// Whether there is a zone of this name, case and all.
#[must_use]
pub fn is_known(name: &str) -> bool {
    ZONES.contains(&name.rsplit_once('/').unwrap_or(("", name)))
}

/// A zone that every server knows, so not that of the machine.
pub fn time_zone(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.invalid(at, name, "timeZone must be nil or non-empty string");
        return;
    }
    let unknown = || format!("unknown time zone {name}");
    if !name.split('/').all(is_part) {
        errors.invalid(at, name, unknown());
        return;
    }
    if name.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(at, name, why);
    }
    if name != "Local" && !is_known(name) {
        errors.invalid(at, name, unknown());
    }
}

fn is_part(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    !matches!(part, "" | "." | "..")
        && part.len() <= PART_BYTES_MAX
        && !part.starts_with('-')
        && part.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    #[test]
    fn only_zones_that_everybody_knows() {
        let check = |name: &str, expected: &[&str]| {
            let mut errors = Errors::new();
            time_zone(name, &Path::new("at"), &mut errors);
            assert_eq!(lines(errors), expected, "{name}");
        };
        for name in
            ["UTC", "Europe/Lisbon", "America/Argentina/La_Rioja", "Etc/GMT+12", "US/Eastern", "EST5EDT", "GB-Eire"]
        {
            check(name, &[]);
        }
        check("", &[r#"at: Invalid value: "": timeZone must be nil or non-empty string"#]);
        let unknown = |name: &str| format!("at: Invalid value: \"{name}\": unknown time zone {name}");
        for name in
            ["europe/lisbon", "Lisbon", "/UTC", "UTC/", "a//b", "../UTC", "-UTC", "A_name_that_is_long", "UTC UTC"]
        {
            check(name, &[&unknown(name)]);
        }
        let local = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        check("Local", &[&format!("at: Invalid value: \"Local\": {local}")]);
        check("local", &[&format!("at: Invalid value: \"local\": {local}"), &unknown("local")]);
    }

    #[test]
    fn the_list_is_whole() {
        assert!(ZONES.len() > 590, "{}", ZONES.len());
    }
}
