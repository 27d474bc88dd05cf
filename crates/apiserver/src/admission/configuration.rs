//! What plugins are told by their operator: AdmissionConfiguration of `apiserver.config.k8s.io/v1` (upstream:
//! `--admission-control-config-file`, `apiserver/pkg/admission/config.go`).
//!
//! The file names plugins, each with a file of its own or with its configuration inline. Upstream skips what it does not know: a name
//! with a typing error then configures nothing. Here whatever nobody reads is refused at start, with the file, the plugin and the field.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use portcullis_client::DialRule;
use portcullis_gate::{BoxError, Document, StrictError};
use portcullis_model::status::{FieldError, aggregate};
use thiserror::Error;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
const KIND: &str = "AdmissionConfiguration";
/// Its groups and versions; the first is the one to use.
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"];
/// Files from before there was a list of plugins: a field that they have, and the plugin whose configuration they are.
const BARE: [(&str, &str); 2] =
    [("imagePolicy", "ImagePolicyWebhook"), ("podNodeSelectorPluginConfig", "PodNodeSelector")];

/// Why a configuration is not taken.
#[derive(Debug, Error)]
pub enum AdmissionConfigurationError {
    /// A file can not be read.
    #[error("unable to read admission control configuration from {path:?}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is longer than anybody would write it.
    #[error("{path:?} has more than {FILE_BYTES_MAX} bytes")]
    FileTooLong {
        /// Which.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{path:?}: {fault}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        fault: StrictError,
    },
    /// One plugin can not be configured.
    #[error("{}plugin {plugin:?}: {fault}", place(.path))]
    Plugin {
        /// The file; empty for a plugin that no file speaks of.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// What is wrong.
        fault: PluginFault,
    },
}

/// Why a plugin can not be made as it is configured.
#[derive(Debug, Error)]
pub enum PluginFault {
    /// It has no name.
    #[error("name: Required value")]
    Nameless,
    /// No plugin has this name.
    #[error("there is no such admission plugin")]
    Unknown,
    /// It is there twice; upstream takes the first, without a word.
    #[error("it is configured twice")]
    Duplicate,
    /// This build does not have it.
    #[error("it is not built yet: leave it out, nothing reads it")]
    NotBuilt,
    /// It can not be configured.
    #[error("it takes no configuration")]
    TakesNone,
    /// It can not be without configuration.
    #[error("no configuration has been provided: name a file in --admission-control-config-file")]
    Missing,
    /// It has both a file and a configuration inline, or neither.
    #[error("one of path and configuration must be given")]
    OneSource,
    /// The configuration does not look like one of this plugin.
    #[error(transparent)]
    Unreadable(#[from] StrictError),
    /// It says what makes no sense.
    #[error("{}", aggregate(.0))]
    Invalid(Vec<FieldError>),
    /// What it says can not be used.
    #[error(transparent)]
    Unusable(BoxError),
}

/// What one plugin is told.
struct Told {
    /// The file that holds it.
    path: PathBuf,
    document: Document,
}

/// What plugins are told, by their names.
#[derive(Default)]
pub struct AdmissionConfiguration {
    told: BTreeMap<String, Told>,
}

/// What a plugin that takes configuration is made of.
pub struct Given<'g> {
    /// What the operator wrote for it, if anything.
    pub configuration: Option<Document>,
    /// Who may be asked.
    pub dial: &'g DialRule,
}

impl fmt::Debug for AdmissionConfiguration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.told.keys()).finish()
    }
}

impl AdmissionConfiguration {
    /// Reads the file and those that it names. Blocks.
    ///
    /// # Errors
    /// One of them can not be read, or says what nobody would read.
    pub fn load(path: &Path) -> Result<Self, AdmissionConfigurationError> {
        let document = read(path)?;
        let unreadable = |fault| AdmissionConfigurationError::Unreadable { path: path.to_owned(), fault };
        let (version, kind) = document.version_and_kind();
        if kind != KIND || !VERSIONS.contains(&version) {
            let bare = BARE.iter().find(|(field, _)| kind.is_empty() && version.is_empty() && document.has(field));
            let Some((_, plugin)) = bare else {
                return Err(unreadable(document.of_another_kind(format!("{KIND} of {}", VERSIONS[0]))));
            };
            let told = Told { path: path.to_owned(), document };
            return Ok(Self { told: [((*plugin).to_owned(), told)].into() });
        }
        let listed = document.read(|fields| {
            fields.objects("plugins", |fields| {
                (fields.string("name"), fields.string("path"), fields.value("configuration"))
            })
        });
        let mut told = BTreeMap::new();
        for (plugin, named, inline) in listed.map_err(unreadable)? {
            let wrong =
                |fault| AdmissionConfigurationError::Plugin { path: path.to_owned(), plugin: plugin.clone(), fault };
            if plugin.is_empty() {
                return Err(wrong(PluginFault::Nameless));
            }
            let entry = match (named.as_str(), inline) {
                ("", Some(value)) => {
                    Told { path: path.to_owned(), document: Document::of(value).map_err(|fault| wrong(fault.into()))? }
                }
                ("", None) | (_, Some(_)) => return Err(wrong(PluginFault::OneSource)),
                (named, None) => {
                    let path = folder(path).join(named);
                    Told { document: read(&path)?, path }
                }
            };
            if told.insert(plugin.clone(), entry).is_some() {
                return Err(wrong(PluginFault::Duplicate));
            }
        }
        Ok(Self { told })
    }

    /// Makes a plugin of what it is told.
    pub(super) fn give<T>(
        &mut self,
        plugin: &str,
        dial: &DialRule,
        make: impl FnOnce(Given<'_>) -> Result<T, PluginFault>,
    ) -> Result<T, AdmissionConfigurationError> {
        let (path, configuration) = match self.told.remove(plugin) {
            Some(told) => (told.path, Some(told.document)),
            None => (PathBuf::new(), None),
        };
        let given = Given { configuration, dial };
        make(given).map_err(|fault| AdmissionConfigurationError::Plugin { path, plugin: plugin.to_owned(), fault })
    }

    /// Refuses what is told to one for whom there is a fault.
    pub(super) fn check(&self, fault: impl Fn(&str) -> Option<PluginFault>) -> Result<(), AdmissionConfigurationError> {
        let mut faults = self.told.iter().filter_map(|(plugin, told)| {
            let fault = fault(plugin)?;
            Some(AdmissionConfigurationError::Plugin { path: told.path.clone(), plugin: plugin.clone(), fault })
        });
        faults.next().map_or(Ok(()), Err)
    }
}

fn place(path: &Path) -> String {
    if path.as_os_str().is_empty() { String::new() } else { format!("{path:?}: ") }
}

/// The folder that relative paths in a file begin at.
fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn read(path: &Path) -> Result<Document, AdmissionConfigurationError> {
    let failed = |source| AdmissionConfigurationError::File { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(AdmissionConfigurationError::FileTooLong { path: path.to_owned() });
    }
    Document::parse(&text).map_err(|fault| AdmissionConfigurationError::Unreadable { path: path.to_owned(), fault })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_gate::Profile;

    use super::*;
    use crate::admission::Selection;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
    const PODS: &str = "{apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration";

    /// Writes the file and one beside it, and makes the plugins.
    fn selected(text: &str, beside: &str) -> Result<Selection, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("beside.yaml"), beside).unwrap();
        let shown = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
        let configuration = AdmissionConfiguration::load(&path).map_err(|error| shown(error.to_string()))?;
        Selection::configured(&[], &[], configuration, &DialRule::default(), Profile::Locked)
            .map_err(|error| shown(error.to_string()))
    }

    #[test]
    fn a_configuration_reaches_its_plugin() {
        let check = |text: &str, beside: &str| {
            let selection = selected(text, beside);
            assert!(selection.as_ref().is_ok_and(|selection| selection.has("PodSecurity")), "{text}: {selection:?}");
        };
        let inline = format!("{HEAD}- name: PodSecurity\n  configuration: {PODS}, defaults: {{enforce: baseline}}}}\n");
        check(&inline, "");
        check(&inline.replace("apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"), "");
        check(&format!("{HEAD}- name: PodSecurity\n  path: beside.yaml\n"), &format!("{PODS}}}"));
        check("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration", "");
        check("imagePolicy: {kubeConfigFile: none}", "");
    }

    #[test]
    fn what_nobody_reads_is_refused() {
        let check = |text: &str, beside: &str, expected: &str| {
            assert_eq!(selected(text, beside).err().as_deref(), Some(expected), "{text}");
        };
        let one = |plugin: &str| format!("{HEAD}- {plugin}\n");
        let path = "--admission-control-config-file: \"admission.yaml\"";
        check(
            &one("{name: Moorings, configuration: {}}"),
            "",
            &format!("{path}: plugin \"Moorings\": there is no such admission plugin"),
        );
        check(
            &one("{name: MutatingAdmissionPolicy, configuration: {}}"),
            "",
            &format!("{path}: plugin \"MutatingAdmissionPolicy\": it is not built yet: leave it out, nothing reads it"),
        );
        check(
            &one("{name: CertificateSigning, configuration: {}}"),
            "",
            &format!("{path}: plugin \"CertificateSigning\": it takes no configuration"),
        );
        check(
            &one(&format!("{{name: PodSecurity, configuration: {PODS}, defaults: {{enforc: x}}}}}}")),
            "",
            &format!("{path}: plugin \"PodSecurity\": strict decoding error: unknown field \"defaults.enforc\""),
        );
        check(
            &one("{name: PodSecurity, path: beside.yaml}"),
            &format!("{PODS}, default: {{}}}}"),
            "--admission-control-config-file: \"beside.yaml\": plugin \"PodSecurity\": strict decoding error: unknown field \"default\"",
        );
        let twice =
            format!("{HEAD}- {{name: PodSecurity, path: beside.yaml}}\n- {{name: PodSecurity, configuration: {{}}}}\n");
        check(&twice, &format!("{PODS}}}"), "\"admission.yaml\": plugin \"PodSecurity\": it is configured twice");
        check(
            &one("{name: PodSecurity}"),
            "",
            "\"admission.yaml\": plugin \"PodSecurity\": one of path and configuration must be given",
        );
        check(&one("{path: beside.yaml}"), PODS, "\"admission.yaml\": plugin \"\": name: Required value");
        check(
            &one("{name: PodSecurity, config: {}}"),
            "",
            "\"admission.yaml\": strict decoding error: unknown field \"plugins[0].config\"",
        );
        check(
            &one("{name: PodSecurity, path: none}"),
            "",
            "unable to read admission control configuration from \"none\"",
        );
        check(
            "apiVersion: v1\nkind: Pod",
            "",
            "\"admission.yaml\": no kind \"Pod\" is registered for version \"v1\": use AdmissionConfiguration of \
             apiserver.config.k8s.io/v1",
        );
        check("[]", "", "\"admission.yaml\": expected an object");
    }
}
