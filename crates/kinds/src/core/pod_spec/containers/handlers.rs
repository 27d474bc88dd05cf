//! What is done to a container from outside: the actions of probes and of its life's events (upstream: `validateHandler`,
//! `validateLifecycle`; KEP-3960 for sleep, KEP-4960 for stop signals).

use crate::views::core_v1::{
    ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, PodSpec, Probe, SleepAction, TCPSocketAction,
};
use crate::vocabulary::{Errors, Path, names, ports};

/// Signals that stop a container on Windows.
const SIGNALS_OF_WINDOWS: &[&str] = &["SIGKILL", "SIGTERM"];
const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// All that an action can be; exactly one is meant to be there.
#[derive(Clone, Copy)]
pub(super) struct Handler<'a> {
    exec: Option<ExecAction<'a>>,
    http_get: Option<HTTPGetAction<'a>>,
    tcp_socket: Option<TCPSocketAction<'a>>,
    grpc: Option<GRPCAction<'a>>,
    sleep: Option<SleepAction<'a>>,
}

impl<'a> Handler<'a> {
    pub(super) fn of_probe(probe: Probe<'a>) -> Handler<'a> {
        Handler {
            exec: probe.exec(),
            http_get: probe.http_get(),
            tcp_socket: probe.tcp_socket(),
            grpc: probe.grpc(),
            sleep: None,
        }
    }

    fn of_event(event: LifecycleHandler<'a>) -> Handler<'a> {
        Handler {
            exec: event.exec(),
            http_get: event.http_get(),
            tcp_socket: event.tcp_socket(),
            grpc: None,
            sleep: event.sleep(),
        }
    }
}

/// What happens when the container starts and stops.
pub(super) fn validate_lifecycle(lifecycle: Lifecycle<'_>, spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let grace = spec.termination_grace_period_seconds();
    for (event, name) in [(lifecycle.post_start(), "postStart"), (lifecycle.pre_stop(), "preStop")] {
        if let Some(event) = event {
            validate(Handler::of_event(event), grace, &at.field(name), errors);
        }
    }
    let Some(signal) = lifecycle.stop_signal() else { return };
    match spec.os().map_or("", |os| os.name()) {
        "" => {
            let why = "may not be set for containers with empty `spec.os.name`";
            errors.forbidden(&at.field("stopSignal"), why);
        }
        "windows" => names::one_of(signal, SIGNALS_OF_WINDOWS, &at.field("stopSignal"), errors),
        _ => lifecycle.check_stop_signal(at, errors),
    }
}

/// One action. A second one is refused unread.
pub(super) fn validate(handler: Handler<'_>, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let mut one = One { is_taken: false };
    let exec = one.take(handler.exec, &at.field("exec"), errors);
    if exec.is_some_and(|exec| exec.command().is_empty()) {
        errors.required(&at.field("exec").field("command"), "");
    }
    if let Some(get) = one.take(handler.http_get, &at.field("httpGet"), errors) {
        http_get(get, &at.field("httpGet"), errors);
    }
    if let Some(socket) = one.take(handler.tcp_socket, &at.field("tcpSocket"), errors) {
        ports::number_or_name(socket.port(), &at.field("tcpSocket").field("port"), errors);
    }
    if let Some(call) = one.take(handler.grpc, &at.field("grpc"), errors) {
        call.check_port(&at.field("grpc"), errors);
    }
    if let Some(sleep) = one.take(handler.sleep, &at.field("sleep"), errors) {
        sleep_is_within(grace, sleep, &at.field("sleep"), errors);
    }
    if !one.is_taken {
        errors.required(at, "must specify a handler type");
    }
}

/// Lets the first action through.
struct One {
    is_taken: bool,
}

impl One {
    fn take<T>(&mut self, action: Option<T>, at: &Path<'_>, errors: &mut Errors) -> Option<T> {
        let action = action?;
        if self.is_taken {
            errors.forbidden(at, "may not specify more than 1 handler type");
            return None;
        }
        self.is_taken = true;
        Some(action)
    }
}

fn http_get(get: HTTPGetAction<'_>, at: &Path<'_>, errors: &mut Errors) {
    get.check_path(at, errors);
    ports::number_or_name(get.port(), &at.field("port"), errors);
    get.check_scheme(at, errors);
    for header in get.http_headers().iter() {
        let name = header.name();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            errors.invalid(&at.field("httpHeaders"), name, HEADER);
        }
    }
}

/// A container sleeps no longer than its pod is given to end.
fn sleep_is_within(grace: Option<i64>, sleep: SleepAction<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(grace) = grace else { return };
    if sleep.seconds() < 0 || sleep.seconds() > grace {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(at, sleep.seconds(), why);
    }
}
