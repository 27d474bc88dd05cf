//! `ServiceCIDR`: ranges that services get their addresses from (upstream: `registry/networking/servicecidr`,
//! `apis/networking/validation`, KEP-1880).
//!
//! Whether a range is ready, and what happens to it while addresses of it are in use, is the controller's to say.

use portcullis_model::status::BadValue;
use portcullis_model::tree::Tree;

use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Cell, Strategy};
use crate::views::networking_v1::{ServiceCIDR, ServiceCIDRSpec};
use crate::views::{self, List, shown_field};
use crate::vocabulary::frozen::IMMUTABLE;
use crate::vocabulary::{Errors, Path, network};

/// One of each family.
const RANGES_MAX: usize = 2;

/// The rules of `ServiceCIDR`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        update_checks_all_metadata: false,
        // Upstream has no hook here that takes a client's status out, and names its reset fields under a group that does not exist.
        keeps_status_on_create: true,
        writes_status: true,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("", Resets::NOTHING), ("status", Resets::NOTHING)],
        ..Rest::PLAIN
    },
    validate_create,
    validate_update,
    cell,
    ..Strategy::NONE
};

const AT: Path<'static> = Path::new("spec.cidrs");

fn ranges(tree: &Tree) -> List<'_, &str> {
    views::read::<ServiceCIDR<'_>>(tree).spec().cidrs()
}

fn given(tree: &Tree) -> BadValue {
    let spec = views::read::<ServiceCIDR<'_>>(tree).spec().place();
    shown_field(spec, ServiceCIDRSpec::CIDRS)
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let ranges = ranges(tree);
    if ranges.is_empty() {
        return errors.required(&AT, "at least one CIDR required");
    }
    if ranges.len() > RANGES_MAX {
        let BadValue::Json(list) = given(tree) else { return };
        return errors.invalid(
            &AT,
            BadValue::Json(format!(r#"{{"CIDRs":{list}}}"#)),
            format!("may only hold up to {RANGES_MAX} values"),
        );
    }
    let mut is_v4 = ranges.iter().map(|range| network::sloppy_range(range).map(|(address, _)| address.is_ipv4()));
    if let (Some(first), Some(second)) = (is_v4.next(), is_v4.next())
        && (first.is_none() || second.is_none() || first == second)
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        return errors.invalid(&AT, given(tree), why);
    }
    for (index, range) in ranges.iter().enumerate() {
        network::canonical_range(range, &AT.index(index), errors);
    }
}

/// Addresses are in use; only a second family can be added. A status says nothing of ranges.
fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let (new, held) = (ranges(tree), ranges(old));
    match (held.len(), new.len()) {
        (before, after) if before == after => {
            for (index, (new, held)) in new.iter().zip(held.iter()).enumerate() {
                if new != held {
                    errors.invalid(&AT.index(index), new, IMMUTABLE);
                }
            }
        }
        (1, 2) => {
            if let (Some(new), Some(held)) = (new.iter().next(), held.iter().next())
                && new != held
            {
                errors.invalid(&AT.index(0), new, IMMUTABLE);
            }
            validate_create(tree, errors);
        }
        _ => errors.invalid(&AT, given(tree), IMMUTABLE),
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    if column != "CIDRs" {
        return None;
    }
    Some(Cell::Text(ranges(tree).iter().collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(cidrs: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"quay"}},"spec":{{"cidrs":{cidrs}}}}}"#);
        created(&STRATEGY, "networking.k8s.io/v1", "ServiceCIDR", &text)
    }

    const ONE_OF_EACH: &str =
        "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";

    #[test]
    fn a_range_of_each_family() {
        let check = |cidrs: &str, expected: &[String]| {
            assert_eq!(complaints(&STRATEGY, &of(cidrs)), expected, "{cidrs}");
        };
        check(r#"["10.0.0.0/24"]"#, &[]);
        check(r#"["fd00::/112","10.0.0.0/24"]"#, &[]);
        check("[]", &["spec.cidrs: Required value: at least one CIDR required".to_owned()]);
        for cidrs in [r#"["10.0.0.0/24","10.1.0.0/24"]"#, r#"["10.0.0.0/24","other"]"#] {
            check(cidrs, &[format!("spec.cidrs: Invalid value: {cidrs}: {ONE_OF_EACH}")]);
        }
        let three = r#"["10.0.0.0/24","fd00::/112","10.1.0.0/24"]"#;
        let shown = format!(r#"spec.cidrs: Invalid value: {{"CIDRs":{three}}}: may only hold up to 2 values"#);
        check(three, &[shown]);
        let at = |why: &str| vec![format!("spec.cidrs[0]: Invalid value: {why}")];
        check(r#"["other"]"#, &at(r#""other": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#));
        check(r#"["10.0.0.1/24"]"#, &at(r#""10.0.0.1/24": must not have bits set beyond the prefix length"#));
        check(r#"["FD00::/112"]"#, &at(r#""FD00::/112": must be in canonical form ("fd00::/112")"#));
    }

    #[test]
    fn ranges_stay_and_a_second_family_may_come() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(old), ""), expected, "{old} {new}");
        };
        let (one, two) = (r#"["10.0.0.0/24"]"#, r#"["10.0.0.0/24","fd00::/112"]"#);
        check(one, one, &[]);
        check(one, two, &[]);
        check(one, r#"["x"]"#, &[r#"spec.cidrs[0]: Invalid value: "x": field is immutable"#]);
        check(one, "[]", &["spec.cidrs: Invalid value: []: field is immutable"]);
        check(two, one, &[r#"spec.cidrs: Invalid value: ["10.0.0.0/24"]: field is immutable"#]);
        check(
            one,
            r#"["10.1.0.0/24","fd00::/112"]"#,
            &[r#"spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable"#],
        );
    }
}
