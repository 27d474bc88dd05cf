//! Which plugins there are, in which order they are asked, and which of them are on (upstream: `pkg/kubeapiserver/options/plugins.go`,
//! `--enable-admission-plugins`, `--disable-admission-plugins`).
//!
//! The names are upstream's, all of them, so that a command line that works there is understood here: what this build does not have is
//! accepted where upstream has it on, and refused where the operator relies on it.

use super::certificate_approval::CertificateApproval;
use super::certificate_signing::CertificateSigning;
use super::certificate_subject_restriction::CertificateSubjectRestriction;
use super::node_restriction::NodeRestriction;
use super::owner_references::OwnerReferencesPermissionEnforcement;
use super::role_escalation::RoleEscalation;
use super::{PLUGINS_MAX, Plugin};

/// When a plugin is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    /// Unless the operator turns it off.
    On,
    /// Unless the operator turns it on.
    Off,
    /// It is a rule of the API rather than an operator's choice, so it has no name on the command line.
    Always,
}

/// A plugin of the list.
#[derive(Debug)]
struct Known {
    name: &'static str,
    switch: Switch,
    /// Makes it; none for those that this build does not have.
    make: Option<fn() -> Box<dyn Plugin>>,
}

const fn missing(name: &'static str, switch: Switch) -> Known {
    Known { name, switch, make: None }
}

const fn built(name: &'static str, switch: Switch, make: fn() -> Box<dyn Plugin>) -> Known {
    Known { name, switch, make: Some(make) }
}

/// The node's own rules (A14).
const NODE_RESTRICTION: &str = "NodeRestriction";

/// Every plugin, in upstream's order. A new one is a file beside this and its line here.
const ORDER: &[Known] = &[
    missing("AlwaysAdmit", Switch::Off),
    missing("NamespaceAutoProvision", Switch::Off),
    missing("NamespaceLifecycle", Switch::On),
    missing("NamespaceExists", Switch::Off),
    missing("LimitPodHardAntiAffinityTopology", Switch::Off),
    missing("LimitRanger", Switch::On),
    missing("ServiceAccount", Switch::On),
    // Off upstream, on here under both profiles: A14.
    built(NODE_RESTRICTION, Switch::On, || Box::new(NodeRestriction)),
    missing("TaintNodesByCondition", Switch::On),
    missing("AlwaysPullImages", Switch::Off),
    missing("ImagePolicyWebhook", Switch::Off),
    missing("PodSecurity", Switch::On),
    missing("PodNodeSelector", Switch::Off),
    missing("Priority", Switch::On),
    missing("DefaultTolerationSeconds", Switch::On),
    missing("PodTolerationRestriction", Switch::Off),
    missing("EventRateLimit", Switch::Off),
    missing("ExtendedResourceToleration", Switch::Off),
    missing("DefaultStorageClass", Switch::On),
    missing("StorageObjectInUseProtection", Switch::On),
    missing("PodGroupProtection", Switch::On),
    built("OwnerReferencesPermissionEnforcement", Switch::Off, || Box::new(OwnerReferencesPermissionEnforcement)),
    missing("PersistentVolumeClaimResize", Switch::On),
    missing("RuntimeClass", Switch::On),
    built("CertificateApproval", Switch::On, || Box::new(CertificateApproval)),
    built("CertificateSigning", Switch::On, || Box::new(CertificateSigning)),
    // Comes with its resource, which upstream serves behind a gate that is off.
    missing("ClusterTrustBundleAttest", Switch::On),
    built("CertificateSubjectRestriction", Switch::On, || Box::new(CertificateSubjectRestriction)),
    missing("DefaultIngressClass", Switch::On),
    missing("DenyServiceExternalIPs", Switch::Off),
    missing("PodTopologyLabels", Switch::On),
    missing("PodGroupWorkloadExists", Switch::On),
    missing("NodeDeclaredFeatureValidator", Switch::On),
    missing("JobValidation", Switch::On),
    missing("PodResizeValidator", Switch::On),
    missing("MutatingAdmissionPolicy", Switch::On),
    missing("MutatingAdmissionWebhook", Switch::On),
    missing("ValidatingAdmissionPolicy", Switch::On),
    missing("ValidatingAdmissionWebhook", Switch::On),
    missing("ResourceQuota", Switch::On),
    missing("AlwaysDeny", Switch::Off),
    built("RoleEscalation", Switch::Always, || Box::new(RoleEscalation)),
];

const _: () = assert!(ORDER.len() <= PLUGINS_MAX);

/// A choice of plugins that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// The plugins that are on.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Places in the order, rising.
    on: Vec<usize>,
}

impl Selection {
    /// Puts the operator's wishes over the defaults, which are the same in both profiles.
    ///
    /// # Errors
    /// For a name that is none, is named twice over, or asks for what is not there.
    pub fn new(enable: &[String], disable: &[String]) -> Result<Selection, SelectionError> {
        check_names("enable-admission-plugins", enable)?;
        check_names("disable-admission-plugins", disable)?;
        if let Some(name) = enable.iter().find(|name| disable.contains(name)) {
            return Err(SelectionError::Both { name: name.clone() });
        }
        let named = |names: &[String], known: &Known| names.iter().any(|name| name == known.name);
        let mut on = Vec::new();
        for (at, known) in ORDER.iter().enumerate() {
            let is_on = match known.switch {
                Switch::Always => true,
                Switch::On => !named(disable, known),
                Switch::Off if named(enable, known) && known.make.is_none() => {
                    return Err(SelectionError::NotBuilt { name: known.name.to_owned() });
                }
                Switch::Off => named(enable, known),
            };
            if is_on {
                on.push(at);
            }
        }
        Ok(Selection { on })
    }

    /// Whether a plugin is on.
    pub fn has(&self, name: &str) -> bool {
        self.on.iter().filter_map(|at| ORDER.get(*at)).any(|known| known.name == name)
    }

    /// Whether nodes are held to what is theirs. Where they are not, the Node authoriser refuses them (A14).
    pub fn restricts_nodes(&self) -> bool {
        self.has(NODE_RESTRICTION)
    }

    /// Makes the plugins that are on and that this build has.
    pub(super) fn plugins(&self) -> Vec<Box<dyn Plugin>> {
        self.on.iter().filter_map(|at| ORDER.get(*at)?.make).map(|make| make()).collect()
    }
}

impl Default for Selection {
    /// What is on when the operator says nothing.
    fn default() -> Self {
        let on = ORDER.iter().enumerate().filter(|(_, known)| known.switch != Switch::Off).map(|(at, _)| at).collect();
        Selection { on }
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
            "AlwaysPullImages",
            "",
            "--enable-admission-plugins: \"AlwaysPullImages\" is not built yet: leave it out, nothing enforces it",
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
    fn what_is_on_by_default_may_be_named() {
        for known in ORDER.iter().filter(|known| known.switch == Switch::On) {
            assert!(Selection::new(&names(known.name), &[]).unwrap().has(known.name));
            assert!(!Selection::new(&[], &names(known.name)).unwrap().has(known.name));
        }
    }

    #[test]
    fn a_plugin_has_one_name_and_one_place() {
        for (at, known) in ORDER.iter().enumerate() {
            assert!(ORDER.iter().skip(at + 1).all(|other| other.name != known.name), "{}", known.name);
            if let Some(make) = known.make {
                assert_eq!(make().name(), known.name);
            }
        }
    }
}
