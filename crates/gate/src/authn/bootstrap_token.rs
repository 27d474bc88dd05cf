//! Bootstrap tokens: a short secret by which a new node introduces itself (upstream: the bootstrap token authenticator; NCC-PCK,
//! NCC-WHE).
//!
//! Whatever is wrong with one, the answer is the same as to a token that nobody knows: who guesses ids learns nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use portcullis_model::time::parse_time;

use crate::cluster::{Cluster, StoredSecret};
use crate::identity::{GROUP_AUTHENTICATED, Identity};

use super::bearer::{KnownToken, TokenAuthenticator, TokenVerdict};

/// Letters of the two parts of a token.
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;
/// Letters of an extra group behind its prefix, the last one apart.
const GROUP_LEN_MAX: usize = 255;

const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
/// The group of all who show such a token.
const GROUP: &str = "system:bootstrappers";

/// Knows bootstrap tokens.
pub struct BootstrapTokens {
    cluster: Arc<dyn Cluster>,
}

impl BootstrapTokens {
    /// Makes the authenticator.
    pub fn new(cluster: Arc<dyn Cluster>) -> Self {
        Self { cluster }
    }

    fn judge(&self, token: &str, now: i64) -> Result<Identity, &'static str> {
        let (id, given) = parse(token).ok_or("it is no bootstrap token")?;
        let found = self.cluster.secret(NAMESPACE, &format!("{NAME_PREFIX}{id}"));
        // The comparison comes first, and is made against something also when there is no secret.
        let nothing = StoredSecret::default();
        let secret = found.as_ref().unwrap_or(&nothing);
        let held = data(secret, "token-secret");
        let is_held = verify_slices_are_equal(held, given.as_bytes()).is_ok();
        if !is_held || found.is_none() {
            return Err("there is no such token");
        }
        if secret.held.deletion_timestamp.is_some() {
            return Err("its secret is being deleted");
        }
        if secret.kind != SECRET_TYPE || data(secret, "token-id") != id.as_bytes() {
            return Err("its secret is not one of a bootstrap token");
        }
        if has_expired(data(secret, "expiration"), now) {
            return Err("it has expired");
        }
        if data(secret, "usage-bootstrap-authentication") != b"true" {
            return Err("it is not for authentication");
        }
        let mut groups =
            groups(data(secret, "auth-extra-groups")).ok_or("its secret names a group that it may not give")?;
        groups.push(GROUP_AUTHENTICATED.to_owned());
        Ok(Identity { name: format!("{USER_PREFIX}{id}"), uid: String::new(), groups, extra: BTreeMap::new() })
    }
}

impl TokenAuthenticator for BootstrapTokens {
    fn name(&self) -> &'static str {
        "bootstrap"
    }

    fn authenticate<'a>(&'a self, token: &'a str, _audiences: &'a [String]) -> TokenVerdict<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.judge(token, i64::try_from(now).unwrap_or(i64::MAX)) {
            Ok(identity) => {
                TokenVerdict::Known(KnownToken { identity: Arc::new(identity), audiences: Vec::new(), remark: None })
            }
            Err(reason) => {
                tracing::debug!(reason, "a bootstrap token was not taken");
                TokenVerdict::Unknown
            }
        }
    }
}

/// Splits `id.secret`; anything else is no bootstrap token.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |part: &str, len| {
        part.len() == len && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (plain(id, ID_LEN) && plain(secret, SECRET_LEN)).then_some((id, secret))
}

fn data<'a>(secret: &'a StoredSecret, key: &str) -> &'a [u8] {
    secret.data.get(key).map_or(&[], |value| value.as_slice())
}

/// A date that can not be read is one that has passed.
fn has_expired(expiration: &[u8], now: i64) -> bool {
    if expiration.is_empty() {
        return false;
    }
    let at = std::str::from_utf8(expiration).ok().and_then(|text| parse_time(text).ok());
    at.is_none_or(|at| at < now)
}

/// The groups, in order; nothing when one is not below `system:bootstrappers:`.
fn groups(extra: &[u8]) -> Option<Vec<String>> {
    let mut groups = BTreeSet::from([GROUP]);
    if !extra.is_empty() {
        for group in std::str::from_utf8(extra).ok()?.split(',') {
            groups.insert(Some(group).filter(|group| may_give(group))?);
        }
    }
    Some(groups.into_iter().map(str::to_owned).collect())
}

fn may_give(group: &str) -> bool {
    let Some(rest) = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let Some((last, before)) = rest.as_bytes().split_last() else { return false };
    before.len() <= GROUP_LEN_MAX
        && plain(*last)
        && before.iter().all(|byte| plain(*byte) || matches!(byte, b':' | b'-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use zeroize::Zeroizing;

    use super::*;
    use crate::cluster::{Held, Holder};

    const NOW: i64 = 1_800_000_000;

    struct One(StoredSecret);

    impl Cluster for One {
        fn find(&self, _: Holder, _: &str, _: &str) -> Option<Held> {
            None
        }

        fn secret(&self, namespace: &str, name: &str) -> Option<StoredSecret> {
            ((namespace, name) == ("kube-system", "bootstrap-token-abcdef")).then(|| self.0.clone())
        }
    }

    fn secret(change: impl FnOnce(&mut StoredSecret)) -> StoredSecret {
        let data =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        let mut secret = StoredSecret {
            kind: SECRET_TYPE.to_owned(),
            data: data.map(|(key, value)| (key.to_owned(), Zeroizing::new(value.into()))).into(),
            ..StoredSecret::default()
        };
        change(&mut secret);
        secret
    }

    fn judged(token: &str, secret: StoredSecret) -> Result<Identity, &'static str> {
        BootstrapTokens::new(Arc::new(One(secret))).judge(token, NOW)
    }

    const TOKEN: &str = "abcdef.0123456789abcdef";

    #[test]
    fn a_token_gives_its_user_and_groups() {
        let check = |extra: &str, expected: Option<&[&str]>| {
            let secret = secret(|secret| {
                secret.data.insert("auth-extra-groups".to_owned(), Zeroizing::new(extra.into()));
            });
            let identity = judged(TOKEN, secret).ok();
            assert!(identity.iter().all(|identity| identity.name == "system:bootstrap:abcdef"));
            assert_eq!(
                identity.map(|identity| identity.groups),
                expected.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect()),
                "{extra}"
            );
        };
        let all = "system:authenticated";
        check("", Some(&["system:bootstrappers", all]));
        check("system:bootstrappers:a", Some(&["system:bootstrappers", "system:bootstrappers:a", all]));
        check(
            "system:bootstrappers:b-1:c,system:bootstrappers:a",
            Some(&["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b-1:c", all]),
        );
        for bad in [
            "system:masters",
            "system:bootstrappers",
            "system:bootstrappers:",
            "system:bootstrappers:-",
            "system:bootstrappers:A",
            "system:bootstrappers:a,system:masters",
            "system:bootstrappers:a,",
            "system:bootstrappers:a, system:bootstrappers:b",
            "xsystem:bootstrappers:a",
        ] {
            check(bad, None);
        }
        check(
            &format!("system:bootstrappers:{}", "a".repeat(256)),
            Some(&["system:bootstrappers", &format!("system:bootstrappers:{}", "a".repeat(256)), all]),
        );
        check(&format!("system:bootstrappers:{}", "a".repeat(257)), None);
    }

    #[test]
    fn what_is_wrong_is_refused_and_unknown() {
        let check = |what: &str, change: &dyn Fn(&mut StoredSecret)| {
            assert!(judged(TOKEN, secret(change)).is_err(), "{what}");
        };
        let set = |secret: &mut StoredSecret, key: &str, value: &str| {
            secret.data.insert(key.to_owned(), Zeroizing::new(value.into()));
        };
        assert!(judged(TOKEN, secret(|_| {})).is_ok());
        assert!(judged(TOKEN, secret(|secret| set(secret, "expiration", "2030-01-01T00:00:00Z"))).is_ok());
        check("expired", &|secret| set(secret, "expiration", "2020-01-01T00:00:00Z"));
        check("expired elsewhere", &|secret| set(secret, "expiration", "2020-01-01T00:00:00+02:00"));
        check("no date", &|secret| set(secret, "expiration", "tomorrow"));
        check("another id", &|secret| set(secret, "token-id", "abcdee"));
        check("another secret", &|secret| set(secret, "token-secret", "0123456789abcdee"));
        check("a longer secret", &|secret| set(secret, "token-secret", "0123456789abcdef0"));
        check("no secret", &|secret| drop(secret.data.remove("token-secret")));
        check("only for signing", &|secret| set(secret, "usage-bootstrap-authentication", "false"));
        check("not said to be for authentication", &|secret| {
            drop(secret.data.remove("usage-bootstrap-authentication"))
        });
        check("another type", &|secret| "Opaque".clone_into(&mut secret.kind));
        check("being deleted", &|secret| secret.held.deletion_timestamp = Some(NOW + 100));
        let bootstrap = BootstrapTokens::new(Arc::new(One(secret(|_| {}))));
        let audiences = ["api".to_owned()];
        for token in ["abcdef.0123456789abcdee", "abcdeg.0123456789abcdef"] {
            assert!(matches!(bootstrap.authenticate(token, &audiences), TokenVerdict::Unknown), "{token}");
        }
    }

    #[test]
    fn the_form_is_exact() {
        let check = |token: &str, good: bool| assert_eq!(parse(token).is_some(), good, "{token}");
        check(TOKEN, true);
        check("ABCDEF.0123456789abcdef", false);
        check("abcdef0123456789abcdef", false);
        check("abcde.0123456789abcdef", false);
        check("abcdef.0123456789abcde", false);
        check("abcdef.0123456789abcdef.", false);
        check("abcdef.0123456789abcdef\n", false);
        check("../../.0123456789abcdef", false);
        check("", false);
    }
}
