//! CertificateApproval: who approves or denies a request for a certificate must be allowed to `approve` for its signer, beside the right
//! to write `certificatesigningrequests/approval` (KEP-1513).

use portcullis_kinds::certificates::certificate_signing_request::APPROVAL;
use portcullis_kinds::views::{self, certificates_v1::CertificateSigningRequest};
use portcullis_model::go_text::quoted;

use super::{Attempt, Operation, Pass, Plugin, signer};
use crate::registry::Served;

/// The plugin.
pub struct CertificateApproval;

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Update && served.is(signer::GROUP, signer::REQUESTS)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if attempt.subresource() != APPROVAL {
            return Pass::on();
        }
        Pass::Later(Box::pin(async move {
            // The signer as stored: what is being written might name another.
            let Some(old) = attempt.old else { return Err(attempt.forbidden("there is no request to approve")) };
            let name = views::read::<CertificateSigningRequest<'_>>(old).spec().signer_name();
            if signer::may(attempt, "approve", name).await {
                return Ok(());
            }
            let why = format!("user not permitted to approve requests with signerName {}", quoted(name));
            Err(attempt.forbidden(&why))
        }))
    }
}
