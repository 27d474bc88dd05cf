//! Which plugins there are, in which order they are asked, and which of them are on (upstream: `pkg/kubeapiserver/options/plugins.go`,
//! `--enable-admission-plugins`, `--disable-admission-plugins`).
//!
//! The names are upstream's, all of them, so that a command line that works there is understood here: what this build does not have is
//! accepted where upstream has it on, and refused where the operator relies on it.

use std::fmt;
use std::sync::Arc;

use portcullis_client::DialRule;
use portcullis_gate::Profile;

use super::always_pull_images::AlwaysPullImages;
use super::certificate_approval::CertificateApproval;
use super::certificate_signing::CertificateSigning;
use super::certificate_subject_restriction::CertificateSubjectRestriction;
use super::configuration::{AdmissionConfiguration, AdmissionConfigurationError, Given, PluginFault};
use super::default_ingress_class::DefaultIngressClass;
use super::default_service_account::DefaultServiceAccount;
use super::default_storage_class::DefaultStorageClass;
use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::deny_service_external_ips::DenyServiceExternalIPs;
use super::device_claims::DeviceClaims;
use super::event_rate_limit::EventRateLimit;
use super::extended_resource_toleration::ExtendedResourceToleration;
use super::image_policy_webhook::ImagePolicyWebhook;
use super::limit_pod_hard_anti_affinity_topology::LimitPodHardAntiAffinityTopology;
use super::limit_ranger::LimitRanger;
use super::namespace_auto_provision::NamespaceAutoProvision;
use super::namespace_exists::NamespaceExists;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_declared_features::NodeDeclaredFeatureValidator;
use super::node_restriction::NodeRestriction;
use super::owner_references::OwnerReferencesPermissionEnforcement;
use super::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::pod_node_selector::PodNodeSelector;
use super::pod_resize::PodResizeValidator;
use super::pod_security::PodSecurity;
use super::pod_toleration_restriction::PodTolerationRestriction;
use super::pod_topology_labels::PodTopologyLabels;
use super::policy_parameters::PolicyParameters;
use super::priority::Priority;
use super::resource_quota::ResourceQuota;
use super::role_escalation::RoleEscalation;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;
use super::storage_object_in_use_protection::StorageObjectInUseProtection;
use super::taint_nodes_by_condition::TaintNodesByCondition;
use super::{PLUGINS_MAX, Plugin};

/// When a plugin is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    /// Unless the operator turns it off.
    On,
    /// Unless the operator turns it on.
    Off,
    /// Unless the operator turns it off, under the locked profile; as `Off` under upstream's (A27).
    Locked,
    /// It is a rule of the API rather than an operator's choice, so it has no name on the command line.
    Always,
}

/// A plugin of the list.
#[derive(Debug)]
struct Known {
    name: &'static str,
    switch: Switch,
    make: Make,
}

/// How a plugin is made.
#[derive(Clone, Copy, Debug)]
enum Make {
    /// This build does not have it.
    Missing,
    /// Of nothing.
    Plain(fn() -> Box<dyn Plugin>),
    /// Of what its operator says, if anything.
    Configured(fn(Given<'_>) -> Result<Box<dyn Plugin>, PluginFault>),
}

const fn missing(name: &'static str, switch: Switch) -> Known {
    Known { name, switch, make: Make::Missing }
}

const fn built(name: &'static str, switch: Switch, make: fn() -> Box<dyn Plugin>) -> Known {
    Known { name, switch, make: Make::Plain(make) }
}

/// One that takes a part of the AdmissionConfiguration.
const fn configured(
    name: &'static str,
    switch: Switch,
    make: fn(Given<'_>) -> Result<Box<dyn Plugin>, PluginFault>,
) -> Known {
    Known { name, switch, make: Make::Configured(make) }
}

/// The node's own rules (A14).
const NODE_RESTRICTION: &str = "NodeRestriction";

/// Every plugin, in upstream's order. A new one is a file beside this and its line here.
const ORDER: &[Known] = &[
    missing("AlwaysAdmit", Switch::Off),
    built("NamespaceAutoProvision", Switch::Off, || Box::new(NamespaceAutoProvision)),
    built("NamespaceLifecycle", Switch::On, || Box::new(NamespaceLifecycle)),
    built("NamespaceExists", Switch::Off, || Box::new(NamespaceExists)),
    built("LimitPodHardAntiAffinityTopology", Switch::Off, || Box::new(LimitPodHardAntiAffinityTopology)),
    built("LimitRanger", Switch::On, || Box::new(LimitRanger)),
    built("ServiceAccount", Switch::On, || Box::new(ServiceAccount)),
    // Off upstream, on here under both profiles: A14.
    built(NODE_RESTRICTION, Switch::On, || Box::new(NodeRestriction)),
    built("TaintNodesByCondition", Switch::On, || Box::new(TaintNodesByCondition)),
    built("AlwaysPullImages", Switch::Off, || Box::new(AlwaysPullImages)),
    configured("ImagePolicyWebhook", Switch::Off, ImagePolicyWebhook::configured),
    configured("PodSecurity", Switch::On, PodSecurity::configured),
    configured("PodNodeSelector", Switch::Off, |given| Ok(Box::new(PodNodeSelector::of(given)?))),
    built("Priority", Switch::On, || Box::new(Priority)),
    built("DefaultTolerationSeconds", Switch::On, || Box::new(DefaultTolerationSeconds)),
    configured("PodTolerationRestriction", Switch::Off, |given| Ok(Box::new(PodTolerationRestriction::of(given)?))),
    configured("EventRateLimit", Switch::Off, EventRateLimit::configured),
    built("ExtendedResourceToleration", Switch::Off, || Box::new(ExtendedResourceToleration)),
    built("DefaultStorageClass", Switch::On, || Box::new(DefaultStorageClass)),
    built("StorageObjectInUseProtection", Switch::On, || Box::new(StorageObjectInUseProtection)),
    missing("PodGroupProtection", Switch::On),
    built("OwnerReferencesPermissionEnforcement", Switch::Off, || Box::new(OwnerReferencesPermissionEnforcement)),
    built("PersistentVolumeClaimResize", Switch::On, || Box::new(PersistentVolumeClaimResize)),
    built("RuntimeClass", Switch::On, || Box::new(RuntimeClass)),
    built("CertificateApproval", Switch::On, || Box::new(CertificateApproval)),
    built("CertificateSigning", Switch::On, || Box::new(CertificateSigning)),
    // Comes with its resource, which upstream serves behind a gate that is off.
    missing("ClusterTrustBundleAttest", Switch::On),
    built("CertificateSubjectRestriction", Switch::On, || Box::new(CertificateSubjectRestriction)),
    built("DefaultIngressClass", Switch::On, || Box::new(DefaultIngressClass)),
    // Off upstream: A23.
    built("DenyServiceExternalIPs", Switch::Locked, || Box::new(DenyServiceExternalIPs)),
    built("PodTopologyLabels", Switch::On, || Box::new(PodTopologyLabels)),
    missing("PodGroupWorkloadExists", Switch::On),
    built("NodeDeclaredFeatureValidator", Switch::On, || Box::new(NodeDeclaredFeatureValidator)),
    missing("JobValidation", Switch::On),
    built("PodResizeValidator", Switch::On, || Box::new(PodResizeValidator)),
    missing("MutatingAdmissionPolicy", Switch::On),
    missing("MutatingAdmissionWebhook", Switch::On),
    missing("ValidatingAdmissionPolicy", Switch::On),
    missing("ValidatingAdmissionWebhook", Switch::On),
    configured("ResourceQuota", Switch::On, |given| Ok(Box::new(ResourceQuota::of(given)?))),
    missing("AlwaysDeny", Switch::Off),
    built("DefaultServiceAccount", Switch::Always, || Box::new(DefaultServiceAccount)),
    built("DeviceClaims", Switch::Always, || Box::new(DeviceClaims)),
    built("PolicyParameters", Switch::Always, || Box::new(PolicyParameters)),
    built("RoleEscalation", Switch::Always, || Box::new(RoleEscalation)),
];

const _: () = assert!(ORDER.len() <= PLUGINS_MAX);

/// A choice of plugins that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// No plugin has this name.
    #[error("--{flag}: there is no admission plugin {name:?}")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// What was given.
        name: String,
    },
    /// The plugin is turned on and off.
    #[error("--enable-admission-plugins and --disable-admission-plugins both name {name:?}: leave it out of one")]
    Both {
        /// Which.
        name: String,
    },
    /// The operator relies on a plugin that this build does not have.
    #[error("--enable-admission-plugins: {name:?} is not built yet: leave it out, nothing enforces it")]
    NotBuilt {
        /// Which.
        name: String,
    },
    /// A plugin can not be made of what it is told.
    #[error("--admission-control-config-file: {0}")]
    Configuration(#[from] AdmissionConfigurationError),
}

/// The plugins that are on.
#[derive(Clone)]
pub struct Selection {
    /// Their names, in their order; also of those that this build does not have.
    on: Vec<&'static str>,
    plugins: Vec<Arc<dyn Plugin>>,
}

impl fmt::Debug for Selection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(&self.on).finish()
    }
}

impl Selection {
    /// Puts the operator's wishes over the defaults of the locked profile.
    ///
    /// # Errors
    /// For a name that is none, is named twice over, or asks for what is not there.
    pub fn new(enable: &[String], disable: &[String]) -> Result<Selection, SelectionError> {
        let configuration = AdmissionConfiguration::default();
        Selection::configured(enable, disable, configuration, &DialRule::default(), Profile::Locked)
    }

    /// As [`Selection::new`], with what plugins are told, whom they may ask, and the profile whose defaults are in force.
    ///
    /// # Errors
    /// Also for a plugin that can not be made of what it is told.
    pub fn configured(
        enable: &[String],
        disable: &[String],
        mut configuration: AdmissionConfiguration,
        dial: &DialRule,
        profile: Profile,
    ) -> Result<Selection, SelectionError> {
        check_names("enable-admission-plugins", enable)?;
        check_names("disable-admission-plugins", disable)?;
        if let Some(name) = enable.iter().find(|name| disable.contains(name)) {
            return Err(SelectionError::Both { name: name.clone() });
        }
        configuration.check(told_in_vain)?;
        let named = |names: &[String], known: &Known| names.iter().any(|name| name == known.name);
        let mut selection = Selection { on: Vec::new(), plugins: Vec::new() };
        for known in ORDER {
            let is_on = match known.switch {
                Switch::Always => true,
                Switch::On => !named(disable, known),
                Switch::Off => named(enable, known),
                Switch::Locked if profile == Profile::Locked => !named(disable, known),
                Switch::Locked => named(enable, known),
            };
            if is_on {
                selection.on.push(known.name);
                selection.plugins.extend(known.plugin(&mut configuration, dial)?);
            }
        }
        Ok(selection)
    }

    /// Whether a plugin is on.
    pub fn has(&self, name: &str) -> bool {
        self.on.contains(&name)
    }

    /// Whether nodes are held to what is theirs. Where they are not, the Node authoriser refuses them (A14).
    pub fn restricts_nodes(&self) -> bool {
        self.has(NODE_RESTRICTION)
    }

    /// Returns the plugins that are on and that this build has. Those who share a selection share them.
    pub(crate) fn plugins(&self) -> Vec<Arc<dyn Plugin>> {
        self.plugins.clone()
    }
}

impl Default for Selection {
    /// What is on when the operator says nothing.
    fn default() -> Self {
        Selection::new(&[], &[]).expect("what is on by default needs no configuration")
    }
}

impl Known {
    /// Makes it; none where it is on unasked and this build does not have it.
    fn plugin(
        &self,
        configuration: &mut AdmissionConfiguration,
        dial: &DialRule,
    ) -> Result<Option<Arc<dyn Plugin>>, SelectionError> {
        let plugin = match (self.make, self.switch) {
            (Make::Missing, Switch::Off) => return Err(SelectionError::NotBuilt { name: self.name.to_owned() }),
            (Make::Missing, _) => return Ok(None),
            (Make::Plain(make), _) => make(),
            (Make::Configured(make), _) => configuration.give(self.name, dial, make)?,
        };
        Ok(Some(Arc::from(plugin)))
    }
}

/// What is wrong with telling something to the plugin of this name. One that is off may be told what it will do when it is on.
fn told_in_vain(name: &str) -> Option<PluginFault> {
    let known = ORDER.iter().find(|known| known.name == name);
    match known.map(|known| known.make) {
        None => Some(PluginFault::Unknown),
        Some(Make::Missing) => Some(PluginFault::NotBuilt),
        Some(Make::Plain(_)) => Some(PluginFault::TakesNone),
        Some(Make::Configured(_)) => None,
    }
}

fn check_names(flag: &'static str, names: &[String]) -> Result<(), SelectionError> {
    let is_known = |name: &str| ORDER.iter().any(|known| known.name == name && known.switch != Switch::Always);
    match names.iter().find(|name| !is_known(name)) {
        Some(name) => Err(SelectionError::Unknown { flag, name: name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_choice_that_cannot_be_is_refused() {
        let check = |enable: &str, disable: &str, expected: &str| {
            let error = Selection::new(&names(enable), &names(disable)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{enable} {disable}");
        };
        check("Moorings", "", "--enable-admission-plugins: there is no admission plugin \"Moorings\"");
        check("", "noderestriction", "--disable-admission-plugins: there is no admission plugin \"noderestriction\"");
        check(
            "NodeRestriction",
            "NodeRestriction",
            "--enable-admission-plugins and --disable-admission-plugins both name \"NodeRestriction\": leave it out of one",
        );
        check(
            "AlwaysDeny",
            "",
            "--enable-admission-plugins: \"AlwaysDeny\" is not built yet: leave it out, nothing enforces it",
        );
        for known in ORDER.iter().filter(|known| known.switch == Switch::Always) {
            let error = Selection::new(&[], &names(known.name)).unwrap_err();
            assert!(matches!(error, SelectionError::Unknown { .. }), "{}", known.name);
        }
    }

    #[test]
    fn a14_node_restriction_is_on_unless_it_is_turned_off() {
        assert!(Selection::default().restricts_nodes());
        assert!(Selection::new(&[], &[]).unwrap().restricts_nodes());
        assert!(!Selection::new(&[], &names("NodeRestriction")).unwrap().restricts_nodes());
    }

    #[test]
    fn a23_external_addresses_are_denied_under_the_locked_profile() {
        let check = |profile: Profile, enable: &str, disable: &str, expected: bool| {
            let configuration = AdmissionConfiguration::default();
            let (enable, disable) = (names(enable), names(disable));
            let made = Selection::configured(&enable, &disable, configuration, &DialRule::default(), profile);
            assert_eq!(made.unwrap().has("DenyServiceExternalIPs"), expected, "{profile:?} {enable:?} {disable:?}");
        };
        check(Profile::Locked, "", "", true);
        check(Profile::Locked, "DenyServiceExternalIPs", "", true);
        check(Profile::Locked, "", "DenyServiceExternalIPs", false);
        check(Profile::Upstream, "", "", false);
        check(Profile::Upstream, "DenyServiceExternalIPs", "", true);
        check(Profile::Upstream, "", "DenyServiceExternalIPs", false);
    }

    #[test]
    fn what_is_on_by_default_may_be_named() {
        for known in ORDER.iter().filter(|known| known.switch == Switch::On) {
            assert!(Selection::new(&names(known.name), &[]).unwrap().has(known.name));
            assert!(!Selection::new(&[], &names(known.name)).unwrap().has(known.name));
        }
    }

    #[test]
    fn operators_find_every_plugin_in_its_place() {
        let page = include_str!("../../../../docs/admission.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
        let rows = rows.filter_map(|(name, rest)| Some((name, rest.split_once(" | ")?.0)));
        let listed: Vec<(&str, &str)> = rows.filter(|(_, state)| ["on", "off", "locked"].contains(state)).collect();
        let state = |switch| match switch {
            Switch::On | Switch::Always => "on",
            Switch::Off => "off",
            Switch::Locked => "locked",
        };
        let chosen = ORDER.iter().filter(|known| known.switch != Switch::Always);
        assert_eq!(listed, chosen.map(|known| (known.name, state(known.switch))).collect::<Vec<_>>());
    }

    #[test]
    fn a_plugin_has_one_name_and_one_place() {
        for (at, known) in ORDER.iter().enumerate() {
            assert!(ORDER.iter().skip(at + 1).all(|other| other.name != known.name), "{}", known.name);
            if let Make::Plain(make) = known.make {
                assert_eq!(make().name(), known.name);
            }
        }
    }
}
