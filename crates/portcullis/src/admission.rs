//! Which admission plugins are on: `--enable-admission-plugins` and `--disable-admission-plugins`, with upstream's names and meaning.

use portcullis_apiserver::admission::{Selection, SelectionError};

/// The flags.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct AdmissionArguments {
    /// Admission plugins to turn on besides those that are on by default, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Admission plugins to turn off although they are on by default. Without NodeRestriction, nodes are refused
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
}

impl AdmissionArguments {
    /// The plugins that are on.
    pub(crate) fn selection(&self) -> Result<Selection, SelectionError> {
        let selection = Selection::new(&self.enable_admission_plugins, &self.disable_admission_plugins)?;
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
            let selection = flags::parse::<AdmissionArguments>(line).unwrap().selection().unwrap();
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
}
