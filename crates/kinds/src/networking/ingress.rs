//! `Ingress` (upstream: `registry/networking/ingress`, `apis/networking/validation`; KEP-1453, names of services KEP-5311).
//!
//! A path is what an ingress controller puts into its own configuration: one that climbs, or hides a slash, is refused where paths are
//! compared segment by segment.

use std::collections::BTreeSet;

use portcullis_model::tree::Tree;

use super::references::reference;
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views::networking_v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressStatus, IngressTLS,
};
use crate::views::{self, List};
use crate::vocabulary::network::{address, sloppy, warn_of_address};
use crate::vocabulary::{Errors, Path, names, number, ports};

/// Hosts that a table shows before it counts them.
const HOSTS_SHOWN_MAX: usize = 3;

/// How the class was named before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// What a path that is compared segment by segment may not hold, and not end with.
const PATH_PARTS_REFUSED: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const PATH_ENDS_REFUSED: [&str; 2] = ["/..", "/."];
const NOT_ABSOLUTE: &str = "must be an absolute path";
const NO_NAME: &str = "must be a DNS name, not an IP address";

/// The rules of `Ingress`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, ..Rest::PLAIN },
    validate_create,
    warn_create,
    validate_update,
    warn_update,
    columns: &[("Class", Column::Field("spec.ingressClassName", r#""<none>""#))],
    cell,
    ..Strategy::NONE
};

/// What a stored ingress has that a new one may not, and may keep.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// Names of secrets that no secret can have.
    secret_names: bool,
    /// Rules for wildcard hosts that make no sense.
    wildcard_rules: bool,
}

impl Kept {
    fn of(old: IngressSpec<'_>) -> Kept {
        let is_refused = |name: &str| {
            let mut errors = Errors::new();
            secret_name(name, &Path::ROOT, &mut errors);
            !errors.is_empty()
        };
        let makes_no_sense = |rule: IngressRule<'_>| {
            let mut errors = Errors::new();
            if rule.host().contains('*') {
                rule_value(rule, &Path::ROOT, &mut errors);
            }
            !errors.is_empty()
        };
        Kept {
            secret_names: old.tls().iter().any(|tls| is_refused(tls.secret_name())),
            wildcard_rules: old.rules().iter().any(makes_no_sense),
        }
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let ingress: Ingress<'_> = views::read(tree);
    spec(ingress.spec(), Kept::default(), &Path::new("spec"), errors);
    if let (Some(annotated), Some(class)) =
        (ingress.metadata().annotations().get(CLASS_ANNOTATION), ingress.spec().ingress_class_name())
        && annotated != class
    {
        let at = Path::new("annotations");
        let why = "must match `ingressClassName` when both are specified";
        errors.invalid(&at.field(CLASS_ANNOTATION), annotated, why);
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (Ingress<'_>, Ingress<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        status(new.status(), old.status(), &Path::new("status"), errors);
    } else {
        spec(new.spec(), Kept::of(old.spec()), &Path::new("spec"), errors);
    }
}

fn spec(spec: IngressSpec<'_>, kept: Kept, at: &Path<'_>, errors: &mut Errors) {
    if spec.rules().is_empty() && spec.default_backend().is_none() {
        let bad = views::shown_field(spec.place(), IngressSpec::RULES);
        errors.invalid(at, bad, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = spec.default_backend() {
        validate_backend(backend, &at.field("defaultBackend"), errors);
    }
    let rules = at.field("rules");
    for (index, rule) in spec.rules().iter().enumerate() {
        validate_rule(rule, kept, &rules.index(index), errors);
    }
    let tls = at.field("tls");
    for (index, one) in spec.tls().iter().enumerate() {
        validate_tls(one, kept, &tls.index(index), errors);
    }
    spec.check_ingress_class_name(at, errors);
}

fn validate_rule(rule: IngressRule<'_>, kept: Kept, at: &Path<'_>, errors: &mut Errors) {
    let host = rule.host();
    if !host.is_empty() {
        let at = at.field("host");
        if sloppy(host).is_some() {
            errors.invalid(&at, host, NO_NAME);
        }
        names::host(host, &at, errors);
    }
    if !kept.wildcard_rules || !host.contains('*') {
        rule_value(rule, at, errors);
    }
}

fn rule_value(rule: IngressRule<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(http) = rule.http() {
        validate_http(http, &at.field("http"), errors);
    }
}

fn validate_http(http: HTTPIngressRuleValue<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("paths");
    if http.paths().is_empty() {
        errors.required(&at, "");
    }
    for (index, path) in http.paths().iter().enumerate() {
        validate_path(path, &at.index(index), errors);
    }
}

fn validate_path(path: HTTPIngressPath<'_>, above: &Path<'_>, errors: &mut Errors) {
    let (at, text) = (above.field("path"), path.path());
    match path.path_type() {
        None => {
            errors.required(&above.field("pathType"), "pathType must be specified");
            return;
        }
        Some("Exact" | "Prefix") => {
            if !text.starts_with('/') {
                errors.invalid(&at, text, NOT_ABSOLUTE);
            }
            for part in PATH_PARTS_REFUSED.iter().filter(|part| text.contains(**part)) {
                errors.invalid(&at, text, format!("must not contain '{part}'"));
            }
            for end in PATH_ENDS_REFUSED.iter().filter(|end| text.ends_with(**end)) {
                errors.invalid(&at, text, format!("cannot end with '{end}'"));
            }
        }
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&at, text, NOT_ABSOLUTE);
            }
        }
        Some(other) => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.not_supported(&above.field("pathType"), other, &known);
        }
    }
    validate_backend(path.backend(), &above.field("backend"), errors);
}

fn validate_backend(backend: IngressBackend<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (backend.resource(), backend.service()) {
        (Some(_), Some(_)) => errors.invalid(at, "", "cannot set both resource and service backends"),
        (Some(resource), None) => {
            let at = at.field("resource");
            reference(resource.api_group(), resource.kind(), resource.name(), &at, errors);
        }
        (None, Some(service)) => validate_service(service, at, errors),
        (None, None) => errors.invalid(at, "", "resource or service backend is required"),
    }
}

fn validate_service(service: IngressServiceBackend<'_>, above: &Path<'_>, errors: &mut Errors) {
    let at = above.field("service");
    service.check_name(&at, errors);
    let port = service.port();
    let at = at.field("port");
    match (port.name(), port.number()) {
        ("", 0) => errors.required(above, "port name or number is required"),
        ("", value) => number::port(value.into(), &at.field("number"), errors),
        (name, 0) => {
            ports::name(name, &at.field("name"), errors);
        }
        _ => errors.invalid(above, "", "cannot set both port name & port number"),
    }
}

fn validate_tls(tls: IngressTLS<'_>, kept: Kept, at: &Path<'_>, errors: &mut Errors) {
    let hosts = at.field("hosts");
    for (index, host) in tls.hosts().iter().enumerate() {
        names::host(host, &hosts.index(index), errors);
    }
    if !kept.secret_names {
        secret_name(tls.secret_name(), &at.field("secretName"), errors);
    }
}

fn secret_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if !name.is_empty() {
        names::dns_subdomain(name, at, errors);
    }
}

fn status(status: IngressStatus<'_>, old: IngressStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list = at.field("loadBalancer.ingress");
    let is_stored = |ip: &str| old.load_balancer().ingress().iter().any(|one| one.ip() == ip);
    for (index, one) in status.load_balancer().ingress().iter().enumerate() {
        let at = list.index(index);
        let mut found = Errors::new();
        if !one.ip().is_empty() {
            address(one.ip(), &at.field("ip"), &mut found);
        }
        // One that is stored may stay as it is spelled.
        if !found.is_empty() && !is_stored(one.ip()) {
            errors.extend(found.into_vec());
        }
        if !one.hostname().is_empty() {
            names::dns_subdomain(one.hostname(), &at.field("hostname"), errors);
            if sloppy(one.hostname()).is_some() {
                errors.invalid(&at.field("hostname"), one.hostname(), NO_NAME);
            }
        }
    }
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let ingress: Ingress<'_> = views::read(tree);
    let is_annotated = ingress.metadata().annotations().get(CLASS_ANNOTATION).is_some();
    if is_annotated && ingress.spec().ingress_class_name().is_none() {
        let instead = "please use 'spec.ingressClassName' instead";
        warnings.push(format!("annotation {CLASS_ANNOTATION:?} is deprecated, {instead}"));
    }
}

fn warn_update(tree: &Tree, _: &Tree, subresource: &str, warnings: &mut Vec<String>) {
    if subresource != "status" {
        return;
    }
    let at = Path::new("status.loadBalancer.ingress");
    let balancer = views::read::<Ingress<'_>>(tree).status().load_balancer();
    for (index, one) in balancer.ingress().iter().enumerate() {
        warn_of_address(one.ip(), &at.index(index).field("ip"), warnings);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let ingress: Ingress<'_> = views::read(tree);
    Some(Cell::Text(match column {
        "Hosts" => hosts(ingress.spec().rules()),
        "Address" => addresses(ingress.status()),
        "Ports" if ingress.spec().tls().is_empty() => "80".to_owned(),
        "Ports" => "80, 443".to_owned(),
        _ => return None,
    }))
}

/// The hosts of the first rules, and how many rules there are beyond.
fn hosts(rules: List<'_, IngressRule<'_>>) -> String {
    let named = rules.iter().enumerate().filter(|(_, rule)| !rule.host().is_empty()).take(HOSTS_SHOWN_MAX);
    let shown: Vec<(usize, &str)> = named.map(|(index, rule)| (index, rule.host())).collect();
    let names: Vec<&str> = shown.iter().map(|(_, host)| *host).collect();
    match shown.last() {
        None => "*".to_owned(),
        Some((last, _)) if names.len() == HOSTS_SHOWN_MAX && last + 1 < rules.len() => {
            format!("{} + {} more...", names.join(","), rules.len() - HOSTS_SHOWN_MAX)
        }
        Some(_) => names.join(","),
    }
}

/// Where the load balancer is, each address once.
fn addresses(status: IngressStatus<'_>) -> String {
    let ingress = status.load_balancer().ingress();
    let shown = ingress.iter().map(|one| if one.ip().is_empty() { one.hostname() } else { one.ip() });
    shown.filter(|text| !text.is_empty()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
