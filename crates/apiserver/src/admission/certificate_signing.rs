//! CertificateSigning: who writes a certificate, or a condition, into the status of a request must be allowed to `sign` for its signer,
//! beside the right to write `certificatesigningrequests/status` (KEP-1513).

use portcullis_kinds::certificates::certificate_signing_request::{STATUS, is_signed_otherwise};
use portcullis_kinds::views::{self, certificates_v1::CertificateSigningRequest};
use portcullis_model::go_text::quoted;

use super::{Attempt, Operation, Pass, Plugin, signer};
use crate::registry::Served;

/// The plugin.
pub struct CertificateSigning;

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Update && served.is(signer::GROUP, signer::REQUESTS)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if attempt.subresource() != STATUS {
            return Pass::on();
        }
        Pass::Later(Box::pin(async move {
            let (Some(new), Some(old)) = (attempt.new(), attempt.old) else {
                return Err(attempt.forbidden("there is no request to sign"));
            };
            let old: CertificateSigningRequest<'_> = views::read(old);
            let new: CertificateSigningRequest<'_> = views::read(new);
            let name = old.spec().signer_name();
            if !is_signed_otherwise(new.status(), old.status()) || signer::may(attempt, "sign", name).await {
                return Ok(());
            }
            let why = format!("user not permitted to sign requests with signerName {}", quoted(name));
            Err(attempt.forbidden(&why))
        }))
    }
}
