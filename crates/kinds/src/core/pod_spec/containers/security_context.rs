//! What a container may do (upstream: `ValidateSecurityContext` and the profiles, which pods share with their containers).

use crate::views::core_v1::{AppArmorProfile, SeccompProfile, SecurityContext, WindowsSecurityContextOptions};
use crate::views::{self};
use crate::vocabulary::{Errors, Path, local_paths, names};

/// Kinds of profiles, of system calls and of AppArmor.
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const LOCALHOST: &str = "Localhost";
/// Longest path to a profile.
const APP_ARMOR_PATH_LEN_MAX: usize = 4095;
/// Longest credential spec in KiB, and in bytes.
const CREDENTIAL_SPEC_KIB_MAX: usize = 64;
const CREDENTIAL_SPEC_LEN_MAX: usize = CREDENTIAL_SPEC_KIB_MAX * 1024;
/// Shortest domain of a Windows user that is too long.
const DOMAIN_LEN_END: usize = 256;
/// Longest name of a Windows user.
const USER_LEN_MAX: usize = 104;
/// Longest NetBIOS name.
const NET_BIOS_LEN_MAX: usize = 15;

/// A container's security context. `is_on_host_users` says whether its users are the host's.
pub(super) fn validate(context: SecurityContext<'_>, is_on_host_users: bool, at: &Path<'_>, errors: &mut Errors) {
    context.check_run_as_user(at, errors);
    context.check_run_as_group(at, errors);
    context.check_proc_mount(at, errors);
    if is_on_host_users && context.proc_mount() == Some("Unmasked") {
        errors.invalid(&at.field("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp_profile(context.seccomp_profile(), &at.field("seccompProfile"), errors);
    validate_escalation(context, at, errors);
    windows_options(context.windows_options(), &at.field("windowsOptions"), errors);
    app_armor_profile(context.app_armor_profile(), &at.field("appArmorProfile"), errors);
}

/// Who may do everything anyway cannot be kept from gaining more.
fn validate_escalation(context: SecurityContext<'_>, at: &Path<'_>, errors: &mut Errors) {
    if context.allow_privilege_escalation() != Some(false) {
        return;
    }
    let mut refuse = |why: &'static str| errors.invalid(at, views::shown(context.place()), why);
    if context.privileged() == Some(true) {
        refuse("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    for capability in context.capabilities().into_iter().flat_map(|capabilities| capabilities.add().iter()) {
        if capability == "CAP_SYS_ADMIN" {
            refuse("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
}

/// A profile of system calls, of a pod or a container.
pub fn seccomp_profile(profile: Option<SeccompProfile<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    match profile.type_() {
        "" => errors.required(&at.field("type"), "type is required when seccompProfile is set"),
        value => names::one_of(value, PROFILES, &at.field("type"), errors),
    }
    let at = at.field("localhostProfile");
    match (profile.type_() == LOCALHOST, profile.localhost_profile()) {
        (true, None) => errors.required(&at, "must be set when seccomp type is Localhost"),
        (true, Some(path)) => local_paths::descending(path, &at, errors),
        (false, Some(_)) => {
            errors.invalid(&at, views::shown(profile.place()), "can only be set when seccomp type is Localhost");
        }
        (false, None) => {}
    }
}

/// A profile of AppArmor, of a pod or a container.
pub fn app_armor_profile(profile: Option<AppArmorProfile<'_>>, at: &Path<'_>, errors: &mut Errors) {
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    let Some(profile) = profile else { return };
    let type_at = at.field("type");
    let at = at.field("localhostProfile");
    match (profile.type_(), profile.localhost_profile()) {
        (LOCALHOST, None) => errors.required(&at, MISSING),
        (LOCALHOST, Some(path)) => {
            if path.trim() != path {
                errors.invalid(&at, path, "must not be padded with whitespace");
            } else if path.is_empty() {
                errors.required(&at, MISSING);
            }
            if path.len() > APP_ARMOR_PATH_LEN_MAX {
                errors.too_long(&at, APP_ARMOR_PATH_LEN_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(path)) => {
            errors.invalid(&at, path, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.required(&type_at, "type is required when appArmorProfile is set"),
        (value, _) => errors.not_supported(&type_at, value, PROFILES),
    }
}

/// What only Windows knows, of a pod or a container.
pub fn windows_options(options: Option<WindowsSecurityContextOptions<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let Some(options) = options else { return };
    if let Some(name) = options.gmsa_credential_spec_name() {
        names::dns_subdomain(name, &at.field("gmsaCredentialSpecName"), errors);
    }
    if let Some(spec) = options.gmsa_credential_spec() {
        let at = at.field("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > CREDENTIAL_SPEC_LEN_MAX {
            let why = format!("gmsaCredentialSpec size must be under {CREDENTIAL_SPEC_KIB_MAX} KiB");
            errors.invalid(&at, spec, why);
        }
    }
    if let Some(name) = options.run_as_user_name() {
        let mut refuse = |why: String| errors.invalid(&at.field("runAsUserName"), name, why);
        windows_user(name, &mut refuse);
    }
}

/// `DOMAIN\user`, or a user alone.
fn windows_user(name: &str, refuse: &mut dyn FnMut(String)) {
    if name.is_empty() {
        return refuse("runAsUserName cannot be an empty string".to_owned());
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return refuse("runAsUserName cannot contain control characters".to_owned());
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, user)) if user.contains('\\') => {
            return refuse("runAsUserName cannot contain more than one backslash".to_owned());
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_LEN_END {
            refuse(format!("runAsUserName's Domain length must be under {DOMAIN_LEN_END} characters"));
        }
        if !is_net_bios(domain) && !is_windows_domain(domain) {
            refuse("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        refuse("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_LEN_MAX {
        refuse(format!("runAsUserName's User length must not be longer than {USER_LEN_MAX} characters"));
    }
    if !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        refuse("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        refuse(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned());
    }
}

fn is_net_bios(domain: &str) -> bool {
    let is_barred = |letter: char| matches!(letter, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    let len = domain.chars().count();
    (1..=NET_BIOS_LEN_MAX).contains(&len) && !domain.starts_with('.') && !domain.contains(is_barred)
}

/// Words with dots between them, that neither begin nor end with a hyphen.
fn is_windows_domain(domain: &str) -> bool {
    let is_word = |word: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !word.is_empty() && word.bytes().all(is_inner) && !word.starts_with('-') && !word.ends_with('-')
    };
    domain.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_user_is_one() {
        let check = |name: &str, expected: &[&str]| {
            let mut said = Vec::new();
            windows_user(name, &mut |why| said.push(why));
            assert_eq!(said, expected, "{name:?}");
        };
        for fine in ["Administrator", r"NT AUTHORITY\SYSTEM", r"corp.example.com\ana", "a b"] {
            check(fine, &[]);
        }
        check("", &["runAsUserName cannot be an empty string"]);
        check("a\tb", &["runAsUserName cannot contain control characters"]);
        check(r"a\b\c", &["runAsUserName cannot contain more than one backslash"]);
        let domain = "runAsUserName's Domain doesn't match the NetBios nor the DNS format";
        check(r"\ana", &[domain]);
        check(r"-far-too-long-a-name\ana", &[domain]);
        check(r"corp\", &["runAsUserName's User cannot be empty"]);
        check(". .", &["runAsUserName's User cannot contain only periods or spaces"]);
        check("a@b", &[r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#]);
        check(&"a".repeat(105), &["runAsUserName's User length must not be longer than 104 characters"]);
    }
}
