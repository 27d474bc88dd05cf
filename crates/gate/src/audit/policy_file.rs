//! The audit policy of an operator: a file that holds a `Policy` of `audit.k8s.io/v1`, read strictly.
//!
//! Upstream reads it once; here it is followed. One that can not be used leaves the last good one in force.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_audit::{Auditor, Criteria, GroupResources, Policy, PolicyDocument, RuleDocument};
use portcullis_model::status::{FieldError, aggregate};
use portcullis_model::strict::{Document, Fields, StrictError};
use thiserror::Error;

use crate::body::BoxError;
use crate::config::Profile;
use crate::live_file::{FileFollower, LiveFile, LiveFileError, Reload};

const GROUP: &str = "audit.k8s.io";
const VERSION: &str = "v1";
const KIND: &str = "Policy";

/// Why an audit policy is not taken.
#[derive(Debug, Error)]
pub enum AuditPolicyError {
    /// The file can not be read.
    #[error("audit policy")]
    File(#[from] LiveFileError),
    /// It is not what a policy looks like.
    #[error("audit policy: {0}")]
    Unreadable(#[from] StrictError),
    /// It would record nothing.
    #[error("audit policy: loaded illegal policy with 0 rules")]
    NoRules,
    /// It says what makes no sense.
    #[error("audit policy: {}", aggregate(.0))]
    Invalid(Vec<FieldError>),
}

/// A file whose policy is in force.
pub struct AuditPolicyFile {
    file: LiveFile,
    profile: Profile,
    auditor: Arc<Auditor>,
}

impl AuditPolicyFile {
    /// Reads the file and puts its policy in force. Blocks.
    ///
    /// # Errors
    /// The file can not be used; at start there is no last good one.
    pub fn open(path: PathBuf, profile: Profile, auditor: Arc<Auditor>) -> Result<Self, AuditPolicyError> {
        let file = LiveFile::new(path);
        let policy = read(&file.read()?)?;
        let followed = Self { file, profile, auditor };
        followed.put_in_force(policy);
        Ok(followed)
    }

    fn put_in_force(&self, policy: Policy) {
        let policy = match self.profile {
            Profile::Upstream => policy,
            Profile::Locked => {
                let asked = policy.asks_for_secrets();
                if !asked.is_empty() {
                    tracing::warn!(
                        resources = asked.join(","),
                        level_max = "Metadata",
                        "the audit policy asks for objects that hold secrets and tokens: they are not recorded (A25)"
                    );
                }
                policy.guarded()
            }
        };
        self.auditor.replace_policy(policy);
    }

    fn look(&self) -> Result<Reload, AuditPolicyError> {
        let Some(text) = self.file.read_changed()? else { return Ok(Reload::Unchanged) };
        self.put_in_force(read(&text)?);
        Ok(Reload::Replaced)
    }
}

impl FileFollower for AuditPolicyFile {
    fn name(&self) -> &'static str {
        "audit policy"
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        Ok(self.look()?)
    }
}

/// Reads a policy, YAML or JSON.
fn read(text: &[u8]) -> Result<Policy, AuditPolicyError> {
    let document = Document::parse(text)?;
    document.expect(GROUP, &[VERSION], KIND)?;
    let document = document.read(policy)?;
    if document.rules.is_empty() {
        return Err(AuditPolicyError::NoRules);
    }
    document.validate().map_err(AuditPolicyError::Invalid)
}

fn policy(fields: &mut Fields<'_>) -> PolicyDocument {
    // Nobody reads it, but files have it.
    fields.ignore("metadata");
    PolicyDocument {
        rules: fields.objects("rules", rule),
        omit_stages: fields.strings("omitStages"),
        omit_managed_fields: fields.bool("omitManagedFields").unwrap_or_default(),
    }
}

fn rule(fields: &mut Fields<'_>) -> RuleDocument {
    RuleDocument {
        level: fields.string("level"),
        omit_stages: fields.strings("omitStages"),
        omit_managed_fields: fields.bool("omitManagedFields"),
        criteria: Criteria {
            users: fields.strings("users"),
            user_groups: fields.strings("userGroups"),
            verbs: fields.strings("verbs"),
            resources: fields.objects("resources", |fields| GroupResources {
                group: fields.string("group"),
                resources: fields.strings("resources"),
                resource_names: fields.strings("resourceNames"),
            }),
            namespaces: fields.strings("namespaces"),
            non_resource_urls: fields.strings("nonResourceURLs"),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use portcullis_audit::{Attributes, Event, Level, NewRecord, Sink, Taken, Target};

    use super::*;

    const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

    struct Nowhere;

    impl Sink for Nowhere {
        fn name(&self) -> &'static str {
            "nowhere"
        }

        fn take<'a>(&'a self, _: &'a Event) -> Taken<'a> {
            Taken::Now(Ok(()))
        }
    }

    #[test]
    fn a_policy_is_read_strictly() {
        let check = |text: &str, expected: &str| {
            let got = match read(format!("{HEAD}{text}").as_bytes()) {
                Ok(_) => "taken".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expected, "{text}");
        };
        let all = concat!(
            "metadata: {name: x, labels: {a: b}}\nomitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n",
            "- level: Request\n  users: [ana]\n  userGroups: [g]\n  verbs: [get]\n  namespaces: ['', a]\n",
            "  resources:\n  - {group: '*', resources: ['*/scale', pods], resourceNames: [x]}\n",
            "  omitStages: [Panic]\n  omitManagedFields: false\n- level: None\n  nonResourceURLs: ['/healthz*']\n"
        );
        check(all, "taken");
        check("rules: []", "audit policy: loaded illegal policy with 0 rules");
        check("", "audit policy: loaded illegal policy with 0 rules");
        check("rules: [{}]", "audit policy: rules[0].level: Required value");
        check(
            "rules: [{level: None, user: [x]}]",
            r#"audit policy: strict decoding error: unknown field "rules[0].user""#,
        );
        check("rules: [{level: 1}]", "audit policy: strict decoding error: rules[0].level: expected a string");
        check(
            "rules: [{level: None, resources: [{groups: x}]}]",
            r#"audit policy: strict decoding error: unknown field "rules[0].resources[0].groups""#,
        );
        let twice = read(format!("{HEAD}rules: []\nrules: [{{level: None}}]").as_bytes()).unwrap_err().to_string();
        assert!(twice.contains(r#"key "rules" already set in map"#), "{twice}");
        let other = read(b"apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: []").unwrap_err().to_string();
        assert!(other.ends_with("use Policy of audit.k8s.io/v1"), "{other}");
    }

    fn level(auditor: &Arc<Auditor>, resource: &str) -> Level {
        let target = Target::Resource { group: "", version: "v1", resource, subresource: "", namespace: "", name: "" };
        let attributes = Attributes { user: None, verb: "get", target };
        auditor.open(&NewRecord { attributes, audit_id: "", uri: "", source_ips: &[], user_agent: "" }).level()
    }

    fn write(path: &Path, level: &str) {
        std::fs::write(path, format!("{HEAD}rules: [{{level: {level}}}]")).unwrap();
    }

    #[test]
    fn a25_the_last_good_policy_stays_and_secrets_are_not_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.yaml");
        for (profile, secrets) in [(Profile::Locked, Level::Metadata), (Profile::Upstream, Level::RequestResponse)] {
            let auditor = Auditor::new(Policy::standard(), vec![Box::new(Nowhere)]);
            write(&path, "RequestResponse");
            let file = AuditPolicyFile::open(path.clone(), profile, Arc::clone(&auditor)).unwrap();
            assert_eq!((level(&auditor, "pods"), level(&auditor, "secrets")), (Level::RequestResponse, secrets));
            assert_eq!(file.reload().unwrap(), Reload::Unchanged);
            write(&path, "Everything");
            assert!(file.reload().unwrap_err().to_string().contains(r#"Unsupported value: "Everything""#));
            std::fs::remove_file(&path).unwrap();
            assert!(file.reload().is_err());
            assert_eq!(level(&auditor, "pods"), Level::RequestResponse);
            write(&path, "None");
            assert_eq!(file.reload().unwrap(), Reload::Replaced);
            assert_eq!(level(&auditor, "pods"), Level::None);
        }
        assert!(AuditPolicyFile::open("/absent".into(), Profile::Locked, Auditor::none()).is_err());
    }
}
