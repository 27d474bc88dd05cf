//! Pod Security Standards: what a pod may ask of the machine it runs on, in three levels and a version for each minor release
//! (upstream: `k8s.io/pod-security-admission`, KEP-2579).
//!
//! A check is one file of the folder: what it forbids, from which version on, and upstream's words for it. [`evaluate`] asks those of a
//! level and version; which level that is in a namespace, [`Policy`] reads from its labels. Nothing here knows of a request.
//!
//! Reading order: this file, `words` (how upstream lists what it blames), then a check a file.

mod allow_privilege_escalation;
mod app_armor_profile;
mod capabilities_baseline;
mod capabilities_restricted;
mod host_namespaces;
mod host_path_volumes;
mod host_ports;
mod host_probes;
mod privileged;
mod proc_mount;
mod restricted_volumes;
mod run_as_non_root;
mod run_as_user;
mod se_linux_options;
mod seccomp_profile_baseline;
mod seccomp_profile_restricted;
mod sysctls;
mod windows_host_process;
mod words;

use std::fmt;

use portcullis_model::status::FieldError;

use crate::views::core_v1;
use crate::views::core_v1::{PodSpec, PodTemplateSpec};
use crate::views::meta_v1::ObjectMeta;
use words::Visited;

/// The labels of a namespace: level and version of what is enforced, recorded, and warned of.
pub const LABELS: [[&str; 2]; 3] = [
    ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"],
    ["pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/audit-version"],
    ["pod-security.kubernetes.io/warn", "pod-security.kubernetes.io/warn-version"],
];

/// How much is forbidden, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    Privileged,
    /// What is known to lead out of a container.
    Baseline,
    /// All that an ordinary application can do without.
    Restricted,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 3] = [Level::Privileged, Level::Baseline, Level::Restricted];

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }

    /// Finds the one of this name.
    ///
    /// # Errors
    /// None has it; the text is upstream's.
    pub fn parse(name: &str) -> Result<Level, &'static str> {
        let found = Level::ALL.into_iter().find(|level| level.as_str() == name);
        found.ok_or("must be one of privileged, baseline, restricted")
    }
}

/// The release whose checks are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// The newest that this build knows.
    Latest,
    /// `v1.` and this. One that is newer than this build knows means its newest.
    Minor(u64),
}

impl Version {
    /// Reads `latest` or `v1.x`.
    ///
    /// # Errors
    /// It is neither; the text is upstream's.
    pub fn parse(text: &str) -> Result<Version, &'static str> {
        const FAULT: &str = "must be \"latest\" or \"v1.x\"";
        if text == "latest" {
            return Ok(Version::Latest);
        }
        let digits = text.strip_prefix("v1.").ok_or(FAULT)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        // Go's numbers have a sign.
        let minor = digits.parse().ok().filter(|minor| is_plain && i64::try_from(*minor).is_ok());
        minor.map(Version::Minor).ok_or(FAULT)
    }

    fn has(self, since: u64) -> bool {
        match self {
            Version::Latest => true,
            Version::Minor(minor) => since <= minor,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => out.write_str("latest"),
            Version::Minor(minor) => write!(out, "v1.{minor}"),
        }
    }
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standard {
    /// How much is forbidden.
    pub level: Level,
    /// As of which release.
    pub version: Version,
}

impl Standard {
    /// A level as this build knows it.
    pub const fn latest(level: Level) -> Standard {
        Standard { level, version: Version::Latest }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.level.as_str(), self.version)
    }
}

/// What holds in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What pods are refused by.
    pub enforce: Standard,
    /// What is put on record.
    pub audit: Standard,
    /// What clients are warned of.
    pub warn: Standard,
}

impl Policy {
    /// Nothing is forbidden, nothing recorded, nobody warned.
    pub const PRIVILEGED: Policy = Policy {
        enforce: Standard::latest(Level::Privileged),
        audit: Standard::latest(Level::Privileged),
        warn: Standard::latest(Level::Privileged),
    };

    /// Puts the labels of a namespace over `defaults`, and says which of them mean nothing. A level that means nothing forbids as much as
    /// can be, and neither warns nor records: whoever mistypes a label loses no protection and is not flooded either. What is enforced is
    /// also warned of and recorded where no label says otherwise.
    pub fn of_labels<'l>(label: impl Fn(&str) -> Option<&'l str>, defaults: Policy) -> (Policy, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut read = |[level, version]: [&str; 2], otherwise: Level| Said {
            level: read(&label, level, Level::parse, &mut errors),
            version: read(&label, version, Version::parse, &mut errors),
            otherwise,
        };
        let [enforce, audit, warn] = LABELS;
        let enforce = read(enforce, Level::Restricted);
        let (audit, warn) = (read(audit, Level::Privileged), read(warn, Level::Privileged));
        let enforced = enforce.over(defaults.enforce);
        // Only what a label that means something enforces.
        let is_enforced = matches!(enforce.level, Some(Some(_)));
        let beside = |said: Said, default: Standard| {
            let mut standard = said.over(default);
            if is_enforced && said.level.is_none() && enforced.level > standard.level {
                standard.level = enforced.level;
                if said.version.is_none() {
                    standard.version = enforced.version;
                }
            }
            standard
        };
        let policy =
            Policy { enforce: enforced, audit: beside(audit, defaults.audit), warn: beside(warn, defaults.warn) };
        (policy, errors)
    }

    /// Whether nothing is forbidden, recorded or warned of.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }
}

/// What the labels of one mode say; the inner option is none for what means nothing.
#[derive(Clone, Copy)]
struct Said {
    level: Option<Option<Level>>,
    version: Option<Option<Version>>,
    /// The level in the place of one that means nothing.
    otherwise: Level,
}

impl Said {
    fn over(self, default: Standard) -> Standard {
        let level = self.level.map_or(default.level, |level| level.unwrap_or(self.otherwise));
        let version = self.version.map_or(default.version, |version| version.unwrap_or(Version::Latest));
        Standard { level, version }
    }
}

/// Reads a label if there is one; the inner option is none for what means nothing.
fn read<'l, T>(
    labels: impl Fn(&str) -> Option<&'l str>,
    label: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
    errors: &mut Vec<FieldError>,
) -> Option<Option<T>> {
    let value = labels(label)?;
    Some(match parse(value) {
        Ok(read) => Some(read),
        Err(why) => {
            errors.push(FieldError::invalid(format!("metadata.labels[{label}]"), value, why));
            None
        }
    })
}

/// What is judged: a pod, or the template of pods to be.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'t> {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta<'t>,
    /// What it runs.
    pub spec: PodSpec<'t>,
}

impl<'t> Subject<'t> {
    /// A pod.
    pub fn of_pod(pod: core_v1::Pod<'t>) -> Subject<'t> {
        Subject { metadata: pod.metadata(), spec: pod.spec() }
    }

    /// A template.
    pub fn of_template(template: PodTemplateSpec<'t>) -> Subject<'t> {
        Subject { metadata: template.metadata(), spec: template.spec() }
    }
}

/// A subject as checks are given it: all of them look at the same containers.
#[derive(Clone, Copy, Debug)]
struct Judged<'t> {
    metadata: ObjectMeta<'t>,
    spec: PodSpec<'t>,
    /// All of them, in upstream's order.
    containers: &'t [Visited<'t>],
}

impl Judged<'_> {
    /// Whether root inside is nobody outside (KEP-127).
    fn has_own_users(self) -> bool {
        self.spec.host_users() == Some(false)
    }

    fn is_windows(self) -> bool {
        self.spec.os().is_some_and(|os| os.name() == "windows")
    }
}

/// What one check has against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is forbidden, in short.
    pub reason: &'static str,
    /// Who does it and what to change.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.reason, self.detail)
    }
}

/// Tells what a check has against a pod; none for nothing.
type Judge = fn(Judged<'_>) -> Option<Violation>;

/// One control of the standards.
struct Check {
    /// Upstream's name for it. Checks of a level are asked in the order of these.
    id: &'static str,
    level: Level,
    /// Its forms, each with the minor release from which on it holds, rising.
    forms: &'static [(u64, Judge)],
    /// The check of the level below that this one replaces where both hold.
    replaces: Option<&'static str>,
}

/// Every check: those of the baseline first.
const CHECKS: [Check; 19] = [
    app_armor_profile::CHECK,
    capabilities_baseline::CHECK,
    host_namespaces::CHECK,
    host_path_volumes::CHECK,
    host_ports::CHECK,
    host_probes::CHECK,
    privileged::CHECK,
    proc_mount::BASELINE,
    se_linux_options::CHECK,
    seccomp_profile_baseline::CHECK,
    sysctls::CHECK,
    windows_host_process::CHECK,
    allow_privilege_escalation::CHECK,
    capabilities_restricted::CHECK,
    proc_mount::RESTRICTED,
    restricted_volumes::CHECK,
    run_as_non_root::CHECK,
    run_as_user::CHECK,
    seccomp_profile_restricted::CHECK,
];

impl Check {
    /// Returns the form that holds as of a version, if any does.
    fn judge(&self, version: Version) -> Option<Judge> {
        self.forms.iter().rev().find(|(since, _)| version.has(*since)).map(|(_, judge)| *judge)
    }
}

/// Returns what a standard has against a pod, in upstream's order.
pub fn evaluate(standard: Standard, subject: Subject<'_>) -> Vec<Violation> {
    let Standard { level, version } = standard;
    let asked = CHECKS.iter().filter(|check| check.level <= level);
    let asked: Vec<(&Check, Judge)> = asked.filter_map(|check| Some((check, check.judge(version)?))).collect();
    let replaced: Vec<&str> = asked.iter().filter_map(|(check, _)| check.replaces).collect();
    let stand = asked.iter().filter(|(check, _)| !replaced.contains(&check.id));
    let containers = subject.visited();
    let judged = Judged { metadata: subject.metadata, spec: subject.spec, containers: &containers };
    stand.filter_map(|(_, judge)| judge(judged)).collect()
}

/// Joins violations as an answer lists them, each with its detail.
pub fn details(violations: &[Violation]) -> String {
    words::joined(violations, ", ")
}

/// Joins violations as a list of pods names them: the reasons alone.
pub fn reasons(violations: &[Violation]) -> String {
    words::joined(violations.iter().map(|violation| violation.reason), ", ")
}

#[cfg(test)]
mod tests;
