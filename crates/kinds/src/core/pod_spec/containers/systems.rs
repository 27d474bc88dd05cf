//! What containers of one operating system have and those of another do not (upstream: the visits of containers in `validateWindows`
//! and `validateLinux`; KEP-2802).

use crate::views::core_v1::{PodSpec, SecurityContext};
use crate::vocabulary::{Errors, Path};

/// What only Linux has.
const OF_LINUX: [crate::views::Field; 10] = [
    SecurityContext::APP_ARMOR_PROFILE,
    SecurityContext::SE_LINUX_OPTIONS,
    SecurityContext::SECCOMP_PROFILE,
    SecurityContext::CAPABILITIES,
    SecurityContext::READ_ONLY_ROOT_FILESYSTEM,
    SecurityContext::PRIVILEGED,
    SecurityContext::ALLOW_PRIVILEGE_ESCALATION,
    SecurityContext::PROC_MOUNT,
    SecurityContext::RUN_AS_USER,
    SecurityContext::RUN_AS_GROUP,
];

/// What containers of a Windows pod may not have. `at` is where the spec stands.
pub fn validate_windows(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (list, index, container) in super::all(spec) {
        let Some(context) = container.security_context() else { continue };
        for field in OF_LINUX.into_iter().filter(|field| context.place().get(*field).is_present()) {
            let list = at.field(list);
            let container = list.index(index);
            let context = container.field("securityContext");
            errors.forbidden(&context.field(field.name()), "cannot be set for a windows pod");
        }
    }
}

/// What containers of a Linux pod may not have. `at` is where the spec stands.
pub fn validate_linux(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (list, index, container) in super::all(spec) {
        if container.security_context().is_some_and(|context| context.windows_options().is_some()) {
            let list = at.field(list);
            let container = list.index(index);
            let why = "windows options cannot be set for a linux pod";
            errors.forbidden(&container.field("securityContext").field("windowsOptions"), why);
        }
    }
}
