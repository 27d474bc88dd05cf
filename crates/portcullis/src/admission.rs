//! Which admission plugins are on and what they are told: `--enable-admission-plugins`, `--disable-admission-plugins` and
//! `--admission-control-config-file`, with upstream's names and meaning.

use std::path::PathBuf;

use portcullis_apiserver::admission::{AdmissionConfiguration, Selection, SelectionError};
use portcullis_client::DialRule;
use portcullis_gate::Profile;

/// The flags.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct AdmissionArguments {
    /// Admission plugins to turn on besides those that are on by default, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Admission plugins to turn off although they are on by default. Without NodeRestriction, nodes are refused
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
    /// An AdmissionConfiguration: what plugins are told, such as the exemptions of PodSecurity
    #[arg(long, value_name = "FILE")]
    admission_control_config_file: Option<PathBuf>,
}

impl AdmissionArguments {
    /// Refuses what the plugins could not be made of, before anything else is made.
    pub(crate) fn check(&self) -> Result<(), SelectionError> {
        self.made(&DialRule::default(), Profile::default()).map(drop)
    }

    /// Whether nodes are held to what is theirs.
    pub(crate) fn restricts_nodes(&self) -> Result<bool, SelectionError> {
        Ok(self.made(&DialRule::default(), Profile::default())?.restricts_nodes())
    }

    fn made(&self, dial: &DialRule, profile: Profile) -> Result<Selection, SelectionError> {
        let configuration = self.admission_control_config_file.as_deref().map(AdmissionConfiguration::load);
        let configuration = configuration.transpose()?.unwrap_or_default();
        let (enable, disable) = (&self.enable_admission_plugins, &self.disable_admission_plugins);
        Selection::configured(enable, disable, configuration, dial, profile)
    }

    /// The plugins that are on, which ask whom they may.
    pub(crate) fn selection(&self, dial: &DialRule, profile: Profile) -> Result<Selection, SelectionError> {
        let selection = self.made(dial, profile)?;
        if !selection.restricts_nodes() {
            // A14: whoever reads the log must see why no node joins.
            tracing::warn!(plugin = "NodeRestriction", "turned off: every system:node: identity is refused");
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::flags;

    #[test]
    fn what_is_said_is_selected() {
        let check = |line: &str, on: &[&str], off: &[&str]| {
            let arguments = flags::parse::<AdmissionArguments>(line).unwrap();
            let selection = arguments.selection(&DialRule::default(), Profile::Locked).unwrap();
            assert!(on.iter().all(|name| selection.has(name)) && !off.iter().any(|name| selection.has(name)));
        };
        check("", &["NodeRestriction", "CertificateApproval"], &["OwnerReferencesPermissionEnforcement"]);
        check(
            "--enable-admission-plugins NodeRestriction,OwnerReferencesPermissionEnforcement",
            &["NodeRestriction", "OwnerReferencesPermissionEnforcement"],
            &[],
        );
        check(
            "--disable-admission-plugins=NodeRestriction --disable-admission-plugins=CertificateSigning",
            &["CertificateApproval"],
            &["NodeRestriction", "CertificateSigning"],
        );
    }

    #[test]
    fn a_configuration_file_is_checked_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        let check = |text: &str, expected: Result<(), &str>| {
            let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
            std::fs::write(&path, format!("{head}{text}")).unwrap();
            let line = format!("--admission-control-config-file {}", path.display());
            let checked = flags::parse::<AdmissionArguments>(&line).unwrap().check();
            let got = checked.map_err(|error| error.to_string());
            let as_expected = match (&got, expected) {
                (Ok(()), Ok(())) => true,
                (Err(error), Err(part)) => error.contains(part),
                _ => false,
            };
            assert!(as_expected, "{text}: {got:?}");
        };
        check("", Ok(()));
        check(
            "plugins: [{name: NodeRestriction, configuration: {}}]",
            Err("\"NodeRestriction\": it takes no configuration"),
        );
        check("plugin: []", Err("unknown field \"plugin\""));
        let missing = flags::parse::<AdmissionArguments>("--admission-control-config-file /nowhere/a").unwrap().check();
        assert!(missing.unwrap_err().to_string().contains("unable to read"));
    }
}
