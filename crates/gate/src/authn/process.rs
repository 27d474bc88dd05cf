//! Identities of this process's own parts: a controller under `up` is told who it is when it is started, and comes in by the
//! same gate as everyone else.

use std::sync::Arc;

use crate::arrival::{Arrived, PeerCredential};

use super::{Authentication, Authenticator};

pub(super) struct Process;

impl Authenticator for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn authenticate<'a>(&'a self, arrived: &'a Arrived) -> Authentication<'a> {
        match arrived.peer.credential() {
            PeerCredential::Process(identity) => Authentication::Identified(Arc::clone(identity)),
            _ => Authentication::Silent,
        }
    }
}
