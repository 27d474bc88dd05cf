//! What both kinds of policies and their bindings have in common (upstream: `apis/admissionregistration/validation`; KEP-3488, KEP-3962).

use portcullis_model::names as model_names;

use super::matching;
use crate::views::admissionregistration_v1::{MatchResources, ParamKind, ParamRef, ParamRefEdit, Variable};
use crate::views::meta_v1::LabelSelector;
use crate::views::{At, List};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path, names, selectors};

/// Words of the language that are no names.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const PARAMETER_ACTIONS: &[&str] = &["Deny", "Allow"];

/// What a table shows of a field that is absent.
const UNSET: &str = "<unset>";

/// Whether the match conditions are those that were stored: then nobody looks at them again.
#[must_use]
pub fn keeps_conditions(new: At<'_>, old: Option<At<'_>>) -> bool {
    old.is_some_and(|old| is_same(new, old))
}

/// Of which kind parameters are.
pub fn param_kind(kind: ParamKind<'_>, at: &Path<'_>, errors: &mut Errors) {
    api_version(kind.api_version(), &at.field("apiVersion"), errors);
    let (at, name) = (at.field("kind"), kind.kind());
    if name.is_empty() {
        return errors.required(&at, "");
    }
    let complaints = model_names::dns1035_label(&name.to_lowercase());
    if !complaints.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
        errors.invalid(&at, name, why);
    }
}

fn api_version(text: &str, at: &Path<'_>, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(at, "");
    }
    let (group, version) = match text.split_once('/') {
        None => ("", text),
        Some((_, rest)) if rest.contains('/') => {
            return errors.invalid(at, text, format!("unexpected GroupVersion string: {text}"));
        }
        Some(parts) => parts,
    };
    if !group.is_empty() {
        joined(group, &model_names::dns1123_subdomain(group), at, errors);
    }
    if version.is_empty() {
        errors.invalid(at, text, "version must be specified");
    } else {
        joined(version, &model_names::dns1035_label(version), at, errors);
    }
}

/// All that is wrong, as one complaint.
fn joined(value: &str, complaints: &model_names::Complaints, at: &Path<'_>, errors: &mut Errors) {
    if !complaints.is_empty() {
        errors.invalid(at, value, complaints.join(","));
    }
}

/// Which requests a policy is about: some rule says so.
pub fn match_constraints(matched: Option<MatchResources<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let Some(matched) = matched else { return errors.required(at, "") };
    matching::match_resources(matched, at, errors);
    if matched.resource_rules().is_empty() {
        errors.required(&at.field("resourceRules"), "");
    }
}

/// Expressions that others can use by name.
pub fn variables(list: List<'_, Variable<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, variable) in list.iter().enumerate() {
        let (at, name) = (at.index(index), variable.name());
        if name.trim().is_empty() {
            errors.required(&at.field("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at.field("name"), name, "must be a valid CEL identifier");
        }
        matching::expression(variable.expression(), "expression is not specified", &at.field("expression"), errors);
    }
}

fn is_identifier(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
        && !RESERVED.contains(&name)
}

/// What a binding of either kind of policy says: which policy, with which parameters, for what.
pub fn binding(
    policy: &str,
    param: Option<ParamRef<'_>>,
    matched: Option<MatchResources<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    policy_name(policy, &at.field("policyName"), errors);
    if let Some(param) = param {
        param_ref(param, &at.field("paramRef"), errors);
    }
    if let Some(matched) = matched {
        matching::match_resources(matched, &at.field("matchResources"), errors);
    }
}

/// The policy that a binding puts in force.
fn policy_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
    } else {
        names::dns_subdomain(name, at, errors);
    }
}

/// Without parameters a policy refuses, unless the binding says otherwise.
pub fn default_param_ref(mut param: ParamRefEdit<'_>) {
    if param.view().parameter_not_found_action().is_none() {
        param.set_parameter_not_found_action("Deny");
    }
}

/// Which parameters a binding gives to its policy.
fn param_ref(param: ParamRef<'_>, at: &Path<'_>, errors: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (param.name(), param.selector());
    if !name.is_empty() {
        names::path_segment(name, &at.field("name"), errors);
        if selector.is_some() {
            errors.forbidden(&at.field("name"), EXCLUSIVE);
        }
    }
    if let Some(selector) = selector {
        selectors::label_selector(selector, &at.field("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&at.field("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && selector.is_none() {
        errors.required(at, "one of name or selector must be specified");
    }
    let at = at.field("parameterNotFoundAction");
    match param.parameter_not_found_action() {
        None | Some("") => errors.required(&at, ""),
        Some(action) => names::one_of(action, PARAMETER_ACTIONS, &at, errors),
    }
}

/// What a table shows of the kind of parameters.
#[must_use]
pub fn shown_param_kind(kind: Option<ParamKind<'_>>) -> String {
    kind.map_or_else(|| UNSET.to_owned(), |kind| format!("{}/{}", kind.api_version(), kind.kind()))
}

/// What a table shows of the parameters of a binding.
#[must_use]
pub fn shown_param_ref(param: Option<ParamRef<'_>>) -> String {
    let Some(param) = param else { return UNSET.to_owned() };
    match (param.namespace(), param.name(), param.selector()) {
        (_, "", Some(selector)) => shown_selector(selector),
        (_, "", None) => UNSET.to_owned(),
        ("", name, _) => name.to_owned(),
        (namespace, name, _) => format!("{namespace}/{name}"),
    }
}

/// A selector as Go prints it.
fn shown_selector(selector: LabelSelector<'_>) -> String {
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels().iter() {
        text.push_str(&format!("{key}: {value},"));
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for one in selector.match_expressions().iter() {
        let values: Vec<&str> = one.values().iter().collect();
        let (key, operator, values) = (one.key(), one.operator(), values.join(" "));
        text.push_str(&format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},"));
    }
    text.push_str("},}");
    text
}

#[cfg(test)]
mod tests {
    use portcullis_model::tree::Tree;

    use super::*;
    use crate::testing::{lines, read};
    use crate::views;
    use crate::views::admissionregistration_v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};

    fn policy(spec: &str) -> Tree {
        let text = format!(r#"{{"spec":{{{spec}}}}}"#);
        read("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", &text)
    }

    fn binding(param: &str) -> Tree {
        let text = format!(r#"{{"spec":{{"paramRef":{{{param}}}}}}}"#);
        read("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", &text)
    }

    #[test]
    fn of_which_kind_parameters_are() {
        let check = |version: &str, kind: &str, expected: &[&str]| {
            let tree = policy(&format!(r#""paramKind":{{"apiVersion":"{version}","kind":"{kind}"}}"#));
            let mut errors = Errors::new();
            if let Some(kind) = views::read::<ValidatingAdmissionPolicy<'_>>(&tree).spec().param_kind() {
                param_kind(kind, &Path::new("paramKind"), &mut errors);
            }
            assert_eq!(lines(errors), expected, "{version} {kind}");
        };
        check("v1", "ConfigMap", &[]);
        check("rules.example.com/v1", "Limit", &[]);
        check("", "", &["paramKind.apiVersion: Required value", "paramKind.kind: Required value"]);
        check(
            "a/b/c",
            "A",
            &[r#"paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#],
        );
        check("a/", "A", &[r#"paramKind.apiVersion: Invalid value: "a/": version must be specified"#]);
        let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
        check("a/1", "A", &[&format!(r#"paramKind.apiVersion: Invalid value: "1": {label}"#)]);
        check(
            "v1",
            "A b",
            &[&format!(
                r#"paramKind.kind: Invalid value: "A b": may have mixed case, but should otherwise match: {label}"#
            )],
        );
    }

    #[test]
    fn what_variables_are_called() {
        let check = |name: &str, expected: &[&str]| {
            let tree = policy(&format!(r#""variables":[{{"name":"{name}","expression":"1"}}]"#));
            let mut errors = Errors::new();
            let list = views::read::<ValidatingAdmissionPolicy<'_>>(&tree).spec().variables();
            variables(list, &Path::new("variables"), &mut errors);
            assert_eq!(lines(errors), expected, "{name}");
        };
        check("_n1", &[]);
        check(" ", &["variables[0].name: Required value: name is not specified"]);
        for bad in ["1n", "n-m", "while", "ä"] {
            check(bad, &[&format!(r#"variables[0].name: Invalid value: "{bad}": must be a valid CEL identifier"#)]);
        }
    }

    #[test]
    fn which_parameters_a_binding_gives() {
        let check = |param: &str, expected: &[&str], shown: &str| {
            let tree = binding(param);
            let mut errors = Errors::new();
            let param = views::read::<ValidatingAdmissionPolicyBinding<'_>>(&tree).spec().param_ref();
            if let Some(param) = param {
                param_ref(param, &Path::new("paramRef"), &mut errors);
            }
            assert_eq!(lines(errors), expected, "{param:?}");
            assert_eq!(shown_param_ref(param), shown);
        };
        check(r#""name":"a","parameterNotFoundAction":"Allow""#, &[], "a");
        check(r#""name":"a","namespace":"n","parameterNotFoundAction":"Deny""#, &[], "n/a");
        check(
            r#""selector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"In","values":["d","e"]}]},"parameterNotFoundAction":"Deny""#,
            &[],
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}",
        );
        check(
            r#""namespace":"n""#,
            &[
                "paramRef: Required value: one of name or selector must be specified",
                "paramRef.parameterNotFoundAction: Required value",
            ],
            "<unset>",
        );
        check(
            r#""name":"a/b","selector":{},"parameterNotFoundAction":"x""#,
            &[
                r#"paramRef.name: Invalid value: "a/b": may not contain '/'"#,
                "paramRef.name: Forbidden: name and selector are mutually exclusive",
                "paramRef.selector: Forbidden: name and selector are mutually exclusive",
                r#"paramRef.parameterNotFoundAction: Unsupported value: "x": supported values: "Deny", "Allow""#,
            ],
            "a/b",
        );
    }
}
