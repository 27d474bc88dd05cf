//! No container may be a process of its Windows node.

use super::words::setters;
use super::{Check, Judged, Level, Violation};
use crate::views::core_v1::WindowsSecurityContextOptions;

pub(super) const CHECK: Check =
    Check { id: "windowsHostProcess", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn is_on(options: Option<WindowsSecurityContextOptions<'_>>) -> bool {
    options.and_then(|options| options.host_process()) == Some(true)
}

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let names = subject.saying(|security| is_on(security.windows_options()));
    let who = setters(subject.itself_says(|security| is_on(security.windows_options())), &names)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation { reason: "hostProcess", detail })
}
