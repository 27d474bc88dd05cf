//! How a pod finds others by name and is found: DNS, host aliases, its own host name (upstream: `validatePodDNSConfig`,
//! `ValidateHostAliases`; KEP-4427 `RelaxedDNSSearchValidation`, KEP-4762 `HostnameOverride`).

use portcullis_model::names;

use crate::views::core_v1::{HostAlias, PodDNSConfig, PodSpec};
use crate::views::{List, shown};
use crate::vocabulary::{Errors, Path, names as named, network};

/// Most name servers a resolver asks.
const NAMESERVERS_MAX: usize = 3;
/// Most domains a resolver searches.
const SEARCHES_MAX: usize = 32;
/// Longest list of domains, with a space between two.
const SEARCHES_LEN_MAX: usize = 2048;
/// Longest host name that a kernel takes.
const HOSTNAME_LEN_MAX: usize = 64;

/// What is wrong with the DNS of a pod. `at` is where its configuration stands. One without a policy of its own brings all itself.
pub fn dns(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let config = spec.dns_config();
    if spec.dns_policy() == "None" {
        let Some(config) = config else {
            errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        };
        if config.nameservers().is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&at.field("nameservers"), why);
            return;
        }
    }
    if let Some(config) = config {
        dns_config(config, at, errors);
    }
}

fn dns_config(config: PodDNSConfig<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (servers, searches) = (config.nameservers(), config.searches());
    let place = at.field("nameservers");
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.invalid(&place, shown(config.place().get(PodDNSConfig::NAMESERVERS)), why);
    }
    for (index, server) in servers.iter().enumerate() {
        network::address(server, &place.index(index), errors);
    }
    let place = at.field("searches");
    let shown_searches = || shown(config.place().get(PodDNSConfig::SEARCHES));
    if searches.len() > SEARCHES_MAX {
        errors.invalid(&place, shown_searches(), format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    if searches.iter().map(|domain| domain.len() + 1).sum::<usize>() > SEARCHES_LEN_MAX + 1 {
        let why =
            format!("must not have more than {SEARCHES_LEN_MAX} characters (including spaces) in the search list");
        errors.invalid(&place, shown_searches(), why);
    }
    for (index, domain) in searches.iter().enumerate().filter(|(_, domain)| *domain != ".") {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        errors.complain(&place.index(index), domain, names::dns1123_subdomain_with_underscore(domain));
    }
    let place = at.field("options");
    for (index, option) in config.options().iter().enumerate() {
        if option.name().is_empty() {
            errors.required(&place.index(index), "must not be empty");
        }
    }
}

/// What is wrong with names that a pod knows without asking. `at` is where the list stands.
pub fn host_aliases(list: List<'_, HostAlias<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, alias) in list.iter().enumerate() {
        let at = at.index(index);
        network::address(alias.ip(), &at.field("ip"), errors);
        let at = at.field("hostnames");
        for (index, name) in alias.hostnames().iter().enumerate() {
            named::dns_subdomain(name, &at.index(index), errors);
        }
    }
}

/// What is wrong with a host name that is set over all others. `at` is where the spec stands.
pub fn hostname_override(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(name) = spec.hostname_override() else { return };
    let place = at.field("hostnameOverride");
    named::dns_subdomain(name, &place, errors);
    if name.len() > HOSTNAME_LEN_MAX {
        errors.too_long(&place, HOSTNAME_LEN_MAX);
    }
    if spec.set_hostname_as_fqdn() == Some(true) {
        errors.forbidden(&place, "may not be specified when `setHostnameAsFQDN` is true");
    }
    if spec.host_network() {
        errors.forbidden(&place, "may not be specified when `hostNetwork` is true");
    }
}
