//! Signers as authorisers know them: a virtual resource `signers` of `certificates.k8s.io`, named as in `spec.signerName`, of which one
//! domain's are granted as `<domain>/*` (upstream: `certauthorization.IsAuthorizedForSignerName`, KEP-1513).

use portcullis_gate::{Attributes, Selection, Target};

use super::Attempt;

/// The group of signers and of what they sign.
pub(super) const GROUP: &str = "certificates.k8s.io";
/// What they sign.
pub(super) const REQUESTS: &str = "certificatesigningrequests";

/// Whether the user may do this (`approve`, `sign`, `attest`) in the name of a signer, or of all of the signer's domain.
pub(super) async fn may(attempt: &Attempt<'_>, verb: &str, signer_name: &str) -> bool {
    if is_allowed(attempt, verb, signer_name).await {
        return true;
    }
    let domain = signer_name.split_once('/').map_or(signer_name, |(domain, _)| domain);
    is_allowed(attempt, verb, &format!("{domain}/*")).await
}

async fn is_allowed(attempt: &Attempt<'_>, verb: &str, name: &str) -> bool {
    let target = Target::Resource {
        group: GROUP,
        version: "*",
        namespace: "",
        resource: "signers",
        subresource: "",
        name,
        selectors: Selection::ALL,
    };
    attempt.authorizers().decide(&Attributes { user: attempt.identity(), verb, target }).await.is_allow()
}
