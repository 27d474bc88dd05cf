//! `StorageClass` (upstream: `registry/storage/storageclass`, `apis/storage/validation`, `apis/storage/v1/defaults.go`).
//!
//! Volumes were made by the class as it was, so nothing changes of how they are made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_model::tree::Tree;

use super::provisioning::{parameters, provisioner};
use crate::core::pod_spec::warnings::of_node_label;
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::core_v1::{TopologySelectorLabelRequirement, TopologySelectorTerm};
use crate::views::storage_v1::{StorageClass, StorageClassEdit};
use crate::views::{List, Map, shown_field};
use crate::vocabulary::frozen::{IMMUTABLE, is_same};
use crate::vocabulary::{Errors, Path, names};

/// The rules of `StorageClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    default,
    validate_create: validate,
    warn_create: warn,
    validate_update,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    columns: &[
        ("AllowVolumeExpansion", Column::Field("allowVolumeExpansion", "false")),
        ("Provisioner", Column::Field("provisioner", r#""""#)),
        ("ReclaimPolicy", Column::Field("reclaimPolicy", r#""Delete""#)),
        ("VolumeBindingMode", Column::Field("volumeBindingMode", r#""Immediate""#)),
    ],
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// The annotation that a claim's or a volume's class once was.
pub const OLD_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// The annotation of the class of claims that name none, and its name in its first days.
const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Retain"];

/// The class that something names, by its annotation before its field.
#[must_use]
pub fn named_by<'t>(annotations: Map<'t, &'t str>, field: Option<&'t str>) -> Option<&'t str> {
    annotations.get(OLD_CLASS_ANNOTATION).or(field)
}

/// Whether this is the class of claims that name none.
#[must_use]
pub fn is_default(class: StorageClass<'_>) -> bool {
    let annotations = class.metadata().annotations();
    DEFAULT_ANNOTATIONS.iter().any(|key| annotations.get(key) == Some("true"))
}

fn default(tree: &mut Tree) {
    let mut class: StorageClassEdit<'_> = views::write(tree);
    if class.view().reclaim_policy().is_none() {
        class.set_reclaim_policy("Delete");
    }
    if class.view().volume_binding_mode().is_none() {
        class.set_volume_binding_mode("Immediate");
    }
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let class: StorageClass<'_> = views::read(tree);
    provisioner(class.provisioner(), &Path::new("provisioner"), errors);
    parameters(class.parameters(), &Path::new("parameters"), errors);
    if let Some(policy) = class.reclaim_policy().filter(|policy| !policy.is_empty()) {
        names::one_of(policy, RECLAIM_POLICIES, &Path::new("reclaimPolicy"), errors);
    }
    class.check_volume_binding_mode(&Path::ROOT, errors);
    allowed_topologies(class.allowed_topologies(), &Path::new("allowedTopologies"), errors);
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    const KEPT: [views::Field; 4] = [
        StorageClass::PARAMETERS,
        StorageClass::PROVISIONER,
        StorageClass::RECLAIM_POLICY,
        StorageClass::VOLUME_BINDING_MODE,
    ];
    validate(tree, errors);
    let (new, old): (StorageClass<'_>, StorageClass<'_>) = (views::read(tree), views::read(old));
    for field in KEPT {
        if is_same(new.place().get(field), old.place().get(field)) {
            continue;
        }
        // A plain text has no way to be absent.
        if field == StorageClass::PROVISIONER {
            errors.invalid(&Path::new(field.name()), new.provisioner(), IMMUTABLE);
        } else {
            errors.invalid(&Path::new(field.name()), shown_field(new.place(), field), IMMUTABLE);
        }
    }
}

/// Each term makes sense, and no two say the same.
fn allowed_topologies(terms: List<'_, TopologySelectorTerm<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let mut seen: HashMap<BTreeMap<&str, BTreeSet<&str>>, usize> = HashMap::new();
    // Upstream begins with a term that says nothing for each that there is, and compares with those too.
    seen.insert(BTreeMap::new(), terms.len());
    for (index, one) in terms.iter().enumerate() {
        let at = at.index(index);
        let list = at.field("matchLabelExpressions");
        let said = term(one, &list, errors);
        let count = seen.entry(said).or_default();
        for _ in 0..*count {
            if errors.is_full() {
                return;
            }
            errors.duplicate(&list, "");
        }
        *count += 1;
    }
}

fn term<'t>(
    term: TopologySelectorTerm<'t>,
    at: &Path<'_>,
    errors: &mut Errors,
) -> BTreeMap<&'t str, BTreeSet<&'t str>> {
    let mut said = BTreeMap::new();
    for (index, one) in term.match_label_expressions().iter().enumerate() {
        let at = at.index(index);
        let values = requirement(one, &at, errors);
        if said.insert(one.key(), values).is_some() {
            errors.duplicate(&at.field("key"), one.key());
        }
    }
    said
}

fn requirement<'t>(one: TopologySelectorLabelRequirement<'t>, at: &Path<'_>, errors: &mut Errors) -> BTreeSet<&'t str> {
    let (mut values, list) = (BTreeSet::new(), at.field("values"));
    if one.values().is_empty() {
        errors.required(&list, "");
    }
    for (index, value) in one.values().iter().enumerate() {
        if !values.insert(value) {
            errors.duplicate(&list.index(index), value);
        }
    }
    names::qualified_name(one.key(), &at.field("key"), errors);
    values
}

/// Labels of nodes that are named otherwise now.
fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let (class, at): (StorageClass<'_>, _) = (views::read(tree), Path::new("allowedTopologies"));
    for (index, term) in class.allowed_topologies().iter().enumerate() {
        let term_at = at.index(index);
        let list = term_at.field("matchLabelExpressions");
        for (index, one) in term.match_label_expressions().iter().enumerate() {
            if let Some(why) = of_node_label(one.key()) {
                warnings.push(format!("{}: {why}", list.index(index).field("key")));
            }
        }
    }
}

fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let class: StorageClass<'_> = views::read(tree);
    let is_told = column == "Name" && is_default(class);
    is_told.then(|| Cell::Text(format!("{} (default)", class.metadata().name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(fields: &str) -> Tree {
        created(&STRATEGY, "storage.k8s.io/v1", "StorageClass", &format!(r#"{{"metadata":{{"name":"a"}}{fields}}}"#))
    }

    #[test]
    fn what_a_class_may_say() {
        let check = |fields: &str, expected: &[&str]| {
            let fields = format!(r#","provisioner":"csi.example.com"{fields}"#);
            assert_eq!(complaints(&STRATEGY, &of(&fields)), expected, "{fields}");
        };
        check("", &[]);
        check(
            r#","reclaimPolicy":"Retain","volumeBindingMode":"WaitForFirstConsumer","parameters":{"type":"ssd"}"#,
            &[],
        );
        check(r#","reclaimPolicy":"""#, &[]);
        check(
            r#","reclaimPolicy":"Recycle","volumeBindingMode":"Later""#,
            &[
                r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#,
                r#"volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer""#,
            ],
        );
        let topologies = |terms: &[&str]| {
            let terms: Vec<String> =
                terms.iter().map(|term| format!(r#"{{"matchLabelExpressions":[{term}]}}"#)).collect();
            format!(r#","allowedTopologies":[{}]"#, terms.join(","))
        };
        let (one, other) = (r#"{"key":"zone","values":["a","b"]}"#, r#"{"key":"zone","values":["b","a"]}"#);
        check(&topologies(&[one]), &[]);
        check(&topologies(&[one, other]), &[r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#]);
        check(&topologies(&[""]), &[r#"allowedTopologies[0].matchLabelExpressions: Duplicate value: """#]);
        check(
            &topologies(&[r#"{"key":"zone","values":["a","a"]},{"key":"zone","values":[]}"#]),
            &[
                r#"allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a""#,
                "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
                r#"allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: "zone""#,
            ],
        );
        assert_eq!(complaints(&STRATEGY, &of("")), ["provisioner: Required value"]);
    }

    #[test]
    fn a_class_keeps_how_it_makes_volumes() {
        let check = |new: &str, expected: &[&str]| {
            let old = of(r#","provisioner":"a","parameters":{"type":"ssd"}"#);
            assert_eq!(update_complaints(&STRATEGY, &of(new), &old, ""), expected, "{new}");
        };
        check(
            r#","provisioner":"a","parameters":{"type":"ssd"},"allowVolumeExpansion":true,"mountOptions":["x"]"#,
            &[],
        );
        check(
            r#","provisioner":"b","reclaimPolicy":"Retain","volumeBindingMode":"WaitForFirstConsumer""#,
            &[
                "parameters: Invalid value: null: field is immutable",
                r#"provisioner: Invalid value: "b": field is immutable"#,
                r#"reclaimPolicy: Invalid value: "Retain": field is immutable"#,
                r#"volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable"#,
            ],
        );
        check(
            r#","parameters":{"type":"ssd"}"#,
            &["provisioner: Required value", r#"provisioner: Invalid value: "": field is immutable"#],
        );
    }

    #[test]
    fn the_default_is_marked() {
        let name = |annotations: &str| {
            let text = format!(r#"{{"metadata":{{"name":"a","annotations":{{{annotations}}}}},"provisioner":"b"}}"#);
            cell(&created(&STRATEGY, "storage.k8s.io/v1", "StorageClass", &text), "Name")
        };
        let marked = Some(Cell::Text("a (default)".to_owned()));
        assert_eq!(name(r#""storageclass.kubernetes.io/is-default-class":"true""#), marked);
        assert_eq!(name(r#""storageclass.beta.kubernetes.io/is-default-class":"true""#), marked);
        assert_eq!(name(r#""storageclass.kubernetes.io/is-default-class":"yes""#), None);
    }
}
