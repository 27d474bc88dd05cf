//! CertificateSubjectRestriction: nobody asks the signer of client certificates for the group that may do everything: such a certificate
//! could not be taken back.

use portcullis_gate::GROUP_MASTERS;
use portcullis_kinds::certificates::certificate_signing_request::organizations;
use portcullis_kinds::views::{self, certificates_v1::CertificateSigningRequest};

use super::{Attempt, Operation, Pass, Plugin, signer};
use crate::registry::Served;

/// The signer whose certificates the server takes from clients.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// The plugin.
pub struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is(signer::GROUP, signer::REQUESTS)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let Some(new) = attempt.new().filter(|_| attempt.subresource().is_empty()) else { return Pass::on() };
        let spec = views::read::<CertificateSigningRequest<'_>>(new).spec();
        if spec.signer_name() != SIGNER {
            return Pass::on();
        }
        Pass::Now(match organizations(spec) {
            Err(error) => Err(attempt.forbidden(&format!("failed to parse CSR: {error}"))),
            Ok(organizations) if organizations.iter().any(|name| name == GROUP_MASTERS) => {
                let why = format!("use of {SIGNER} signer with {GROUP_MASTERS} group is not allowed");
                Err(attempt.forbidden(&why))
            }
            Ok(_) => Ok(()),
        })
    }
}
