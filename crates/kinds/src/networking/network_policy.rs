//! `NetworkPolicy` (upstream: `registry/networking/networkpolicy`, `apis/networking/validation`; ranges of ports KEP-2079).

use portcullis_model::tree::Tree;

use crate::core::pod_spec::cells;
use crate::rest::Rest;
use crate::strategy::{Cell, Strategy, WARNINGS_MAX};
use crate::views::meta_v1::LabelSelector;
use crate::views::networking_v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEdit, NetworkPolicyEgressRuleEdit, NetworkPolicyIngressRuleEdit,
    NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyPortEdit, NetworkPolicySpec,
};
use crate::views::{self, Edit, IntOrString, List, ListEdit, shown};
use crate::vocabulary::network::{holds_and_more, range, sloppy_range, warn_of_range};
use crate::vocabulary::{Errors, Path, names, number, ports, selectors};

/// What a policy may be about.
const DIRECTIONS: [&str; 2] = ["Ingress", "Egress"];
/// The protocol of a port that names none.
const PROTOCOL: &str = "TCP";

/// The rules of `NetworkPolicy`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| validate(tree, None, errors),
    validate_update: |tree, old, _, errors| validate(tree, Some(old), errors),
    warn_create: warn,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    cell,
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    let spec = views::read::<NetworkPolicy<'_>>(tree).spec();
    let (has_directions, has_egress) = (!spec.policy_types().is_empty(), !spec.egress().is_empty());
    let ingress_is_open = spec.ingress().iter().any(|rule| is_open(rule.ports()));
    let egress_is_open = spec.egress().iter().any(|rule| is_open(rule.ports()));
    let mut policy: NetworkPolicyEdit<'_> = views::write(tree);
    let mut spec = policy.spec_mut();
    if !has_directions {
        let mut types = spec.policy_types_mut();
        types.push_text("Ingress");
        if has_egress {
            types.push_text("Egress");
        }
    }
    if ingress_is_open {
        spec.ingress_mut().each(|rule| {
            let mut rule = NetworkPolicyIngressRuleEdit::at(rule);
            if is_open(rule.view().ports()) {
                name_protocols(rule.ports_mut());
            }
        });
    }
    if egress_is_open {
        spec.egress_mut().each(|rule| {
            let mut rule = NetworkPolicyEgressRuleEdit::at(rule);
            if is_open(rule.view().ports()) {
                name_protocols(rule.ports_mut());
            }
        });
    }
}

fn is_open(ports: List<'_, NetworkPolicyPort<'_>>) -> bool {
    ports.iter().any(|port| port.protocol().is_none())
}

fn name_protocols(mut ports: ListEdit<'_, NetworkPolicyPortEdit<'_>>) {
    ports.each(|port| {
        let mut port = NetworkPolicyPortEdit::at(port);
        if port.view().protocol().is_none() {
            port.set_protocol(PROTOCOL);
        }
    });
}

/// What of the stored policy a new one may keep although it would be refused where it is new.
#[derive(Clone, Copy)]
struct Kept<'t> {
    old: Option<NetworkPolicySpec<'t>>,
    /// Values in selectors that are no label's.
    label_values: bool,
}

impl<'t> Kept<'t> {
    fn of(old: Option<NetworkPolicySpec<'t>>) -> Kept<'t> {
        let has_others = |selector: LabelSelector<'_>| {
            let mut errors = Errors::new();
            selectors::label_selector(selector, &Path::ROOT, &mut errors);
            !errors.is_empty()
        };
        Kept { old, label_values: old.is_some_and(|old| has_others(old.pod_selector())) }
    }

    fn check_selector(self, selector: LabelSelector<'_>, at: &Path<'_>, errors: &mut Errors) {
        if self.label_values {
            selectors::label_selector_of_old(selector, at, errors);
        } else {
            selectors::label_selector(selector, at, errors);
        }
    }

    /// A range that the stored policy has anywhere may be spelled as it is.
    fn check_range(self, value: &str, at: &Path<'_>, errors: &mut Errors) {
        let mut found = Errors::new();
        range(value, at, &mut found);
        if !found.is_empty() && !self.has_range(value) {
            errors.extend(found.into_vec());
        }
    }

    fn has_range(self, value: &str) -> bool {
        let is_in = |block: IPBlock<'_>| block.cidr() == value || block.except().iter().any(|except| except == value);
        self.old.is_some_and(|old| blocks(old).any(|(.., block)| is_in(block)))
    }
}

/// Every range of addresses in a policy: the lists it is in, and where it is in them.
fn blocks<'t>(
    spec: NetworkPolicySpec<'t>,
) -> impl Iterator<Item = (&'static str, usize, &'static str, usize, IPBlock<'t>)> {
    let from = spec.ingress().iter().enumerate().flat_map(|(index, rule)| peers("ingress", index, "from", rule.from()));
    let to = spec.egress().iter().enumerate().flat_map(|(index, rule)| peers("egress", index, "to", rule.to()));
    from.chain(to)
}

fn peers<'t>(
    rules: &'static str,
    rule: usize,
    peers: &'static str,
    list: List<'t, NetworkPolicyPeer<'t>>,
) -> impl Iterator<Item = (&'static str, usize, &'static str, usize, IPBlock<'t>)> {
    list.iter().enumerate().filter_map(move |(index, peer)| Some((rules, rule, peers, index, peer.ip_block()?)))
}

fn validate(tree: &Tree, old: Option<&Tree>, errors: &mut Errors) {
    let spec_of = |tree| views::read::<NetworkPolicy<'_>>(tree).spec();
    let (spec, kept, at) = (spec_of(tree), Kept::of(old.map(spec_of)), Path::new("spec"));
    kept.check_selector(spec.pod_selector(), &at.field("podSelector"), errors);
    let list = at.field("ingress");
    for (index, rule) in spec.ingress().iter().enumerate() {
        let at = list.index(index);
        validate_ports(rule.ports(), &at.field("ports"), errors);
        validate_peers(rule.from(), kept, &at.field("from"), errors);
    }
    let list = at.field("egress");
    for (index, rule) in spec.egress().iter().enumerate() {
        let at = list.index(index);
        validate_ports(rule.ports(), &at.field("ports"), errors);
        validate_peers(rule.to(), kept, &at.field("to"), errors);
    }
    let at = at.field("policyTypes");
    if spec.policy_types().len() > DIRECTIONS.len() {
        let bad = shown(spec.place().get(NetworkPolicySpec::POLICY_TYPES));
        errors.invalid(&at, bad, "may not specify more than two policyTypes");
        return;
    }
    for (index, direction) in spec.policy_types().iter().enumerate() {
        names::one_of(direction, &DIRECTIONS, &at.index(index), errors);
    }
}

fn validate_ports(list: List<'_, NetworkPolicyPort<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, port) in list.iter().enumerate() {
        validate_port(port, &at.index(index), errors);
    }
}

fn validate_port(port: NetworkPolicyPort<'_>, above: &Path<'_>, errors: &mut Errors) {
    port.check_protocol(above, errors);
    let (at, end_at) = (above.field("port"), above.field("endPort"));
    match (port.port(), port.end_port()) {
        (Some(port), None) => ports::number_or_name(port, &at, errors),
        (Some(IntOrString::Int(first)), Some(last)) => {
            number::port(first.into(), &at, errors);
            if last < first {
                // The value that is shown is the other port's.
                errors.invalid(&end_at, i64::from(first), "must be greater than or equal to `port`");
            }
            number::port(last.into(), &end_at, errors);
        }
        (Some(IntOrString::String(name)), Some(last)) => {
            errors.invalid(&end_at, i64::from(last), "may not be specified when `port` is non-numeric");
            ports::name(name, &at, errors);
        }
        (None, Some(last)) => {
            errors.invalid(&end_at, i64::from(last), "may not be specified when `port` is not specified");
        }
        (None, None) => {}
    }
}

fn validate_peers(list: List<'_, NetworkPolicyPeer<'_>>, kept: Kept<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, peer) in list.iter().enumerate() {
        validate_peer(peer, kept, &at.index(index), errors);
    }
}

fn validate_peer(peer: NetworkPolicyPeer<'_>, kept: Kept<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (pods, namespaces, block) = (peer.pod_selector(), peer.namespace_selector(), peer.ip_block());
    if let Some(selector) = pods {
        kept.check_selector(selector, &at.field("podSelector"), errors);
    }
    if let Some(selector) = namespaces {
        kept.check_selector(selector, &at.field("namespaceSelector"), errors);
    }
    if let Some(block) = block {
        validate_block(block, kept, &at.field("ipBlock"), errors);
    }
    let selects = pods.is_some() || namespaces.is_some();
    if !selects && block.is_none() {
        errors.required(at, "must specify a peer");
    } else if selects && block.is_some() {
        errors.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

fn validate_block(block: IPBlock<'_>, kept: Kept<'_>, above: &Path<'_>, errors: &mut Errors) {
    let at = above.field("cidr");
    if block.cidr().is_empty() {
        errors.required(&at, "");
        return;
    }
    kept.check_range(block.cidr(), &at, errors);
    let Some(outer) = sloppy_range(block.cidr()) else { return };
    let list = above.field("except");
    for (index, except) in block.except().iter().enumerate() {
        let at = list.index(index);
        kept.check_range(except, &at, errors);
        if sloppy_range(except).is_some_and(|inner| !holds_and_more(outer, inner)) {
            errors.invalid(&at, except, "must be a strict subset of `cidr`");
        }
    }
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let top = Path::new("spec");
    for (rules, rule, peers, peer, block) in blocks(views::read::<NetworkPolicy<'_>>(tree).spec()) {
        let (rules, list) = (top.field(rules), block.except());
        let rule = rules.index(rule);
        let peers = rule.field(peers);
        let peer = peers.index(peer);
        let at = peer.field("ipBlock");
        warn_of_range(block.cidr(), &at.field("cidr"), warnings);
        let at = at.field("except");
        list.iter().enumerate().for_each(|(index, except)| warn_of_range(except, &at.index(index), warnings));
        if warnings.len() > WARNINGS_MAX {
            return;
        }
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let selector = views::read::<NetworkPolicy<'_>>(tree).spec().pod_selector();
    (column == "Pod-Selector").then(|| cells::selector(Some(selector)))
}

#[cfg(test)]
mod tests;
