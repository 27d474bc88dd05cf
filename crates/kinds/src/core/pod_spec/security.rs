//! As whom a pod runs, and how far it is kept from its node: the pod's security context, the profiles that containers have too, and what
//! the operating system leaves open (upstream: `validatePodSpecSecurityContext`, `validateHostUsers`, `validateOS`).

use std::collections::HashSet;

use super::Context;
use super::containers;
use super::containers::security_context::{app_armor_profile, seccomp_profile, windows_options};
use crate::views::core_v1::{PodSecurityContext, PodSpec};
use crate::vocabulary::{Errors, Path, names, number};

/// Highest number of a user or group.
const ID_MAX: i64 = i32::MAX as i64;
/// Longest name of a kernel parameter.
const SYSCTL_LEN_MAX: usize = 253;

const SYSCTL_PATTERN: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// What is wrong with the security context of a pod. `at` is where it stands; the pod's use of its host's namespaces counts with it.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let security = spec.security_context();
    if let Some(security) = security {
        ids(security, at, errors);
    }
    if spec.host_pid() && spec.share_process_namespace() == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.field("shareProcessNamespace"), true, why);
    }
    let Some(security) = security else { return };
    sysctls(security, spec, context, &at.field("sysctls"), errors);
    security.check_fs_group_change_policy(at, errors);
    seccomp_profile(security.seccomp_profile(), &at.field("seccompProfile"), errors);
    windows_options(security.windows_options(), &at.field("windowsOptions"), errors);
    app_armor_profile(security.app_armor_profile(), &at.field("appArmorProfile"), errors);
    security.check_supplemental_groups_policy(at, errors);
    if let Some(policy) = security.se_linux_change_policy() {
        let is_old = context.old.and_then(|old| old.security_context()?.se_linux_change_policy()).is_some();
        // `MountOption` waits for the gate SELinuxMount.
        let known: &[&str] = if is_old { &["MountOption", "Recursive"] } else { &["Recursive"] };
        names::one_of(policy, known, &at.field("seLinuxChangePolicy"), errors);
    }
}

fn ids(security: PodSecurityContext<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut check = |id: Option<i64>, at: &Path<'_>| {
        if let Some(id) = id {
            number::between(id, 0, ID_MAX, at, errors);
        }
    };
    check(security.fs_group(), &at.field("fsGroup"));
    check(security.run_as_user(), &at.field("runAsUser"));
    check(security.run_as_group(), &at.field("runAsGroup"));
    for (index, id) in security.supplemental_groups().iter().enumerate() {
        check(Some(id), &at.field("supplementalGroups").index(index));
    }
}

/// Kernel parameters: named once each, and none of a namespace that the pod shares with its host.
fn sysctls(
    security: PodSecurityContext<'_>,
    spec: PodSpec<'_>,
    context: Context<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let list = security.sysctls();
    if list.is_empty() {
        return;
    }
    let old = context.old;
    let had_shared = old.is_some_and(|old| {
        let mut sysctls = old.security_context().into_iter().flat_map(|security| security.sysctls().iter());
        sysctls.any(|one| shared_namespace(one.name(), old).is_some())
    });
    let mut seen = HashSet::with_capacity(list.len());
    for (index, one) in list.iter().enumerate() {
        let (element, name) = (at.index(index), one.name());
        let at = element.field("name");
        let is_new = seen.insert(name);
        if name.is_empty() {
            errors.required(&at, "");
        } else if !is_sysctl(name) {
            let why = format!("must have at most {SYSCTL_LEN_MAX} characters and match regex {SYSCTL_PATTERN}");
            errors.invalid(&at, name, why);
        } else if !is_new {
            errors.duplicate(&at, name);
        }
        if let Some(why) = shared_namespace(name, spec).filter(|_| !had_shared) {
            errors.invalid(&at, name, why);
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_end =
            |octet: Option<u8>| octet.is_some_and(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit());
        let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-' || octet == b'_';
        is_end(part.bytes().next()) && is_end(part.bytes().last()) && part.bytes().all(fits)
    };
    name.len() <= SYSCTL_LEN_MAX && name.split(['.', '/']).all(is_part)
}

/// What to say of a kernel parameter that would change the host's, because the pod shares its namespace.
fn shared_namespace(name: &str, spec: PodSpec<'_>) -> Option<&'static str> {
    // `net/ipv4/conf/eth0.1/x` is the same as `net.ipv4.conf.eth0/1.x`: the first separator tells.
    let is_slashed = name.find(['.', '/']).is_some_and(|at| name.as_bytes().get(at) == Some(&b'/'));
    let dot = if is_slashed { "/" } else { "." };
    let is_below = |parts: &[&str], ends: bool| {
        let mut rest = name;
        let mut is_first = true;
        parts.iter().all(|part| {
            let after = if is_first { Some(rest) } else { rest.strip_prefix(dot) };
            is_first = false;
            after.and_then(|after| after.strip_prefix(part)).map(|after| rest = after).is_some()
        }) && (!ends || rest.is_empty())
    };
    let is_ipc = is_below(&["kernel", "sem"], true)
        || is_below(&["kernel", "shm"], false)
        || is_below(&["kernel", "msg"], false)
        || is_below(&["fs", "mqueue", ""], false);
    if spec.host_network() && is_below(&["net", ""], false) {
        return Some("may not be specified when 'hostNetwork' is true");
    }
    (spec.host_ipc() && is_ipc).then_some("may not be specified when 'hostIPC' is true")
}

/// A pod with users of its own shares no other namespace with its host. `at` is where the spec stands.
pub fn host_users(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.host_users() != Some(false) {
        return;
    }
    // Clients know these paths as they are.
    let shared = [("hostNetwork", spec.host_network()), ("HostPID", spec.host_pid()), ("HostIPC", spec.host_ipc())];
    for (name, _) in shared.into_iter().filter(|(_, is_shared)| *is_shared) {
        errors.forbidden(&at.field(name), "when `hostUsers` is false");
    }
}

/// A pod that says for which system it is has nothing of the other one. `at` is where the spec stands.
pub fn os(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(os) = spec.os() else { return };
    match os.name() {
        "" => errors.required(&at.field("os.name"), "cannot be empty"),
        "linux" => {
            nothing_of_windows(spec, at, errors);
            containers::validate_linux(spec, at, errors);
        }
        "windows" => {
            nothing_of_linux(spec, at, errors);
            containers::validate_windows(spec, at, errors);
        }
        other => errors.not_supported(&at.field("os"), other, &["linux", "windows"]),
    }
}

/// Either no container runs on the host itself, or all do, and then the pod has the host's network (KEP-1981). `at` is where the spec
/// stands.
pub fn host_process(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let of_pod = spec.security_context().and_then(|security| security.windows_options()?.host_process());
    let (mut count, mut on_host) = (0_usize, 0_usize);
    for (list, index, container) in containers::all(spec) {
        let own = container.security_context().and_then(|security| security.windows_options()?.host_process());
        count += 1;
        on_host += usize::from(own.or(of_pod) == Some(true));
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let list = at.field(list);
            let container = list.index(index);
            let why = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            errors.invalid(&container.field("securityContext.windowsOptions.hostProcess"), own, why);
        }
    }
    if on_host == 0 {
        return;
    }
    if on_host != count {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(at, "", why);
    }
    if !spec.host_network() {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&at.field("hostNetwork"), false, why);
    }
}

/// What the spec itself may not have on Linux.
fn nothing_of_windows(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.security_context().is_some_and(|security| security.windows_options().is_some()) {
        let why = "windows options cannot be set for a linux pod";
        errors.forbidden(&at.field("securityContext.windowsOptions"), why);
    }
}

/// What the spec itself may not have on Windows.
fn nothing_of_linux(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    type Security<'t> = PodSecurityContext<'t>;
    let inside = at.field("securityContext");
    let security = spec.security_context();
    let has = |field| security.is_some_and(|security: Security<'_>| security.place().get(field).is_present());
    let mut refuse = |is_there: bool, at: &Path<'_>| {
        if is_there {
            errors.forbidden(at, "cannot be set for a windows pod");
        }
    };
    refuse(has(Security::APP_ARMOR_PROFILE), &inside.field("appArmorProfile"));
    refuse(has(Security::SE_LINUX_OPTIONS), &inside.field("seLinuxOptions"));
    refuse(spec.host_users().is_some(), &at.field("hostUsers"));
    refuse(spec.host_pid(), &at.field("hostPID"));
    refuse(spec.host_ipc(), &at.field("hostIPC"));
    refuse(has(Security::SECCOMP_PROFILE), &inside.field("seccompProfile"));
    refuse(has(Security::FS_GROUP), &inside.field("fsGroup"));
    refuse(has(Security::FS_GROUP_CHANGE_POLICY), &inside.field("fsGroupChangePolicy"));
    refuse(security.is_some_and(|security| !security.sysctls().is_empty()), &inside.field("sysctls"));
    refuse(spec.share_process_namespace().is_some(), &at.field("shareProcessNamespace"));
    refuse(has(Security::RUN_AS_USER), &inside.field("runAsUser"));
    refuse(has(Security::RUN_AS_GROUP), &inside.field("runAsGroup"));
    refuse(has(Security::SUPPLEMENTAL_GROUPS), &inside.field("supplementalGroups"));
    refuse(has(Security::SUPPLEMENTAL_GROUPS_POLICY), &inside.field("supplementalGroupsPolicy"));
    refuse(has(Security::SE_LINUX_CHANGE_POLICY), &inside.field("seLinuxChangePolicy"));
}
