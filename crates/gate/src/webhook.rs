//! What the webhooks of authentication and authorisation have in common: how their kubeconfig becomes a client that verifies whom it
//! asks (A21) and dials only what may be dialled (A26).

use std::path::Path;
use std::time::Duration;

use portcullis_client::{Access, Client, DialRule, KubeconfigError, NoRandomness, SetupError, Trust};
use thiserror::Error;

/// Why a webhook can not be asked at all.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// Its kubeconfig can not be used.
    #[error(transparent)]
    KubeconfigUnusable(#[from] KubeconfigError),
    /// What the kubeconfig says can not be used.
    #[error(transparent)]
    ClientUnusable(#[from] SetupError),
    /// Nobody would vouch for it (A21).
    #[error(
        "a webhook that decides on access is always verified: replace insecure-skip-tls-verify by certificate-authority"
    )]
    Unverified,
    /// A time is out of range.
    #[error("timeout of the webhook must be more than 0s and at most {}s", limit.as_secs())]
    TimeoutOutOfRange {
        /// The longest that is possible.
        limit: Duration,
    },
    /// The cache can not be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The version of the reviews in which a webhook is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `v1`.
    V1,
    /// `v1beta1`, what upstream takes when flags say nothing.
    #[default]
    V1beta1,
}

impl ReviewVersion {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V1, Self::V1beta1];

    /// Returns its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }

    /// Finds the one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// Makes a client of a webhook from its kubeconfig.
pub(crate) fn client(kubeconfig: &Path, dial: &DialRule) -> Result<Client, WebhookError> {
    let access = Access::from_file(kubeconfig)?;
    if matches!(access.trust, Trust::Unverified) {
        return Err(WebhookError::Unverified);
    }
    Ok(Client::new(&access, dial.clone())?)
}

/// Makes a webhook's words fit for a line of the log and for an answer.
pub(crate) fn printable(words: &str, chars_max: usize) -> String {
    words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(chars_max).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use portcullis_client::test_server::{Authority, Server};

    use super::*;

    /// Writes a kubeconfig that leads to a server.
    pub(crate) fn kubeconfig(server: &Server, authority: &Authority, folder: &tempfile::TempDir) -> PathBuf {
        std::fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
        let path = folder.path().join("webhook.kubeconfig");
        let text = format!(
            "apiVersion: v1
kind: Config
clusters:
- name: webhook
  cluster:
    certificate-authority: ca.crt
    server: https://{}/review
contexts:
- name: webhook
  context: {{cluster: webhook}}
current-context: webhook
",
            server.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn words_fit_in_a_line() {
        let check = |words: &str, expected: &str| assert_eq!(printable(words, 5), expected);
        check("a\r\nb", "a  b");
        check("äöüßäö", "äöüßä");
    }
}
