//! Tolerations as the plugins put them together: which says more than which, and lists of them merged (upstream: `pkg/util/tolerations`).

use portcullis_kinds::views::core_v1::{self, PodEdit, PodSpec};

/// Most tolerations that are compared with each other: each with each.
pub(super) const COMPARED_MAX: usize = 1_000;

/// One toleration, apart from any object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
    pub seconds: Option<i64>,
}

impl Toleration {
    fn of(toleration: core_v1::Toleration<'_>) -> Toleration {
        Toleration {
            key: toleration.key().to_owned(),
            operator: toleration.operator().to_owned(),
            value: toleration.value().to_owned(),
            effect: toleration.effect().to_owned(),
            seconds: toleration.toleration_seconds(),
        }
    }

    /// Whether it tolerates whatever the other does.
    fn includes(&self, other: &Toleration) -> bool {
        if self == other {
            return true;
        }
        let is_any_key = self.key.is_empty() && self.operator == "Exists";
        let stays_as_long = match (self.seconds, other.seconds) {
            (Some(own), Some(seconds)) => seconds <= own,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let same_value = match self.operator.as_str() {
            "Exists" => true,
            // Upstream lets one that leaves the operator out include others, and not be included.
            "Equal" | "" => other.operator == "Equal" && self.value == other.value,
            _ => false,
        };
        (self.key == other.key || is_any_key)
            && (self.effect == other.effect || self.effect.is_empty())
            && (self.effect != "NoExecute" || stays_as_long)
            && same_value
    }
}

/// Those of a list in an object.
pub(super) fn read<'t>(list: impl IntoIterator<Item = core_v1::Toleration<'t>>) -> Vec<Toleration> {
    list.into_iter().map(Toleration::of).collect()
}

/// Those of a pod.
pub(super) fn of_pod(spec: PodSpec<'_>) -> Vec<Toleration> {
    read(spec.tolerations().iter())
}

/// Gives a pod these and no others.
pub(super) fn set(pod: &mut PodEdit<'_>, tolerations: &[Toleration]) {
    let mut spec = pod.spec_mut();
    spec.clear_tolerations();
    for given in tolerations {
        let mut list = spec.tolerations_mut();
        let mut toleration = list.push();
        if !given.key.is_empty() {
            toleration.set_key(&given.key);
        }
        if !given.operator.is_empty() {
            toleration.set_operator(&given.operator);
        }
        if !given.value.is_empty() {
            toleration.set_value(&given.value);
        }
        if !given.effect.is_empty() {
            toleration.set_effect(&given.effect);
        }
        if let Some(seconds) = given.seconds {
            toleration.set_toleration_seconds(seconds);
        }
    }
}

/// Both lists in their order, without those that another says already; of equal ones the first. None when there are more than can be
/// compared.
pub(super) fn merge(first: Vec<Toleration>, second: Vec<Toleration>) -> Option<Vec<Toleration>> {
    let mut rest = [first, second].concat();
    if rest.len() > COMPARED_MAX {
        return None;
    }
    rest.reverse();
    let mut merged: Vec<Toleration> = Vec::new();
    while let Some(toleration) = rest.pop() {
        let is_said = merged.iter().any(|kept| kept.includes(&toleration))
            || rest.iter().any(|later| *later != toleration && later.includes(&toleration));
        if !is_said {
            merged.push(toleration);
        }
    }
    Some(merged)
}

/// Whether each is included in one of these; an empty list of them includes all. `None` when there are more than can be compared.
pub(super) fn are_within(tolerations: &[Toleration], allowed: &[Toleration]) -> Option<bool> {
    if allowed.is_empty() || tolerations.is_empty() {
        return Some(true);
    }
    let is_allowed = |toleration: &Toleration| allowed.iter().any(|allowed| allowed.includes(toleration));
    (tolerations.len() <= COMPARED_MAX && allowed.len() <= COMPARED_MAX).then(|| tolerations.iter().all(is_allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key operator value effect seconds`, with `-` for what is not there.
    fn toleration(text: &str) -> Toleration {
        let mut parts = text.split(' ').map(|part| if part == "-" { "" } else { part }.to_owned());
        let mut next = || parts.next().unwrap_or_default();
        Toleration { key: next(), operator: next(), value: next(), effect: next(), seconds: next().parse().ok() }
    }

    fn all(texts: &[&str]) -> Vec<Toleration> {
        texts.iter().map(|text| toleration(text)).collect()
    }

    #[test]
    fn one_includes_another() {
        let check = |wide: &str, narrow: &str, expected: bool| {
            assert_eq!(toleration(wide).includes(&toleration(narrow)), expected, "{wide} / {narrow}");
        };
        check("- Exists - -", "k Equal v NoSchedule", true);
        check("- Exists - NoExecute", "k Equal v NoSchedule", false);
        check("k Exists - -", "k Equal v NoSchedule", true);
        check("k Exists - -", "other Equal v NoSchedule", false);
        check("k Equal v -", "k Equal v NoSchedule", true);
        check("k Equal v -", "k Equal w NoSchedule", false);
        check("k Equal v -", "k Exists - -", false);
        check("k - v -", "k Equal v NoExecute", true);
        check("k - v -", "k - v NoExecute", false);
        check("k - v -", "k - v -", true);
        check("k Exists - NoExecute 300", "k Exists - NoExecute 200", true);
        check("k Exists - NoExecute 300", "k Exists - NoExecute 400", false);
        check("k Exists - NoExecute 300", "k Exists - NoExecute", false);
        check("k Exists - NoExecute", "k Exists - NoExecute 300", true);
        check("k Above v -", "k Equal v NoSchedule", false);
    }

    #[test]
    fn lists_merge_in_order() {
        let check = |first: &[&str], second: &[&str], expected: &[&str]| {
            assert_eq!(merge(all(first), all(second)), Some(all(expected)), "{first:?} {second:?}");
        };
        check(&[], &[], &[]);
        check(&["a Exists - -"], &["b Exists - -"], &["a Exists - -", "b Exists - -"]);
        check(&["a Exists - -"], &["a Exists - -"], &["a Exists - -"]);
        check(&["a Equal v NoSchedule", "b Exists - -"], &["a Exists - -"], &["b Exists - -", "a Exists - -"]);
        check(&["- Exists - -"], &["a Exists - -", "b Equal x NoSchedule"], &["- Exists - -"]);
        let many: Vec<Toleration> = (0..=COMPARED_MAX).map(|at| toleration(&format!("k{at} Exists - -"))).collect();
        assert_eq!(merge(many, Vec::new()), None);
    }

    #[test]
    fn all_are_within_the_allowed() {
        let check = |given: &[&str], allowed: &[&str], expected: bool| {
            assert_eq!(are_within(&all(given), &all(allowed)), Some(expected), "{given:?} {allowed:?}");
        };
        check(&["a Exists - -"], &[], true);
        check(&[], &["a Exists - -"], true);
        check(&["a Equal v NoSchedule"], &["b Exists - -", "a Exists - -"], true);
        check(&["a Equal v NoSchedule", "c Exists - -"], &["b Exists - -", "a Exists - -"], false);
    }
}
