//! Service account tokens and bootstrap tokens, as the operator says it: who issues, with which keys, for whom and for how long
//! (upstream: `--service-account-*`, `--api-audiences`, `--enable-bootstrap-token-auth`).
//!
//! Without flags the key is `pki/sa.key` under the data directory, made when it is missing. Key files are followed: new keys come
//! into force without a restart, and a file that can not be used changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{ArgAction, Args};
use portcullis_apiserver::{ServiceAccounts, openid};
use portcullis_gate::{
    BootstrapTokens, BoxError, Cluster, FileFollower, LiveFile, LiveFileError, Profile, Reload, ServiceAccountIssuer,
    ServiceAccountKeys, ServiceAccountTokens, TokenAuthenticator,
};
use portcullis_model::time::parse_duration;

use crate::pki::{Directory, files};

/// Seconds that `--service-account-max-token-expiration` may be (upstream's bounds).
const MAX_EXPIRATION_SECONDS: std::ops::RangeInclusive<i64> = 60 * 60..=1 << 32;
const SECOND_NANOS: i64 = 1_000_000_000;

/// The longest that a token may last under the locked profile: a day.
const LOCKED_EXPIRATION_SECONDS: i64 = 24 * 60 * 60;
/// The issuer when none is given.
const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// What legacy tokens in secrets name as their issuer, so nobody else may have this name.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct ServiceAccountArguments {
    /// Who issues service account tokens; can be given again: the first one issues, tokens of all are accepted
    #[arg(long, value_name = "ISSUER", default_value = DEFAULT_ISSUER, value_parser = issuer)]
    service_account_issuer: Vec<String>,
    /// Keys or certificates (PEM) that verify service account tokens; can be given again [default: D/pki/sa.pub]
    #[arg(long, value_name = "FILE")]
    service_account_key_file: Vec<PathBuf>,
    /// The private key (PEM) that signs service account tokens [default: D/pki/sa.key, made when it is missing]
    #[arg(long, value_name = "FILE")]
    service_account_signing_key_file: Option<PathBuf>,
    /// What this API server is called in the audiences of tokens, separated by commas [default: the issuers]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// The longest that a service account token may last, such as 24h; longer ones are shortened, with a warning [default: 24h,
    /// upstream no limit]
    #[arg(long, value_name = "DURATION", value_parser = max_expiration)]
    service_account_max_token_expiration: Option<i64>,
    /// Let the tokens that pods mount by default last a year instead of an hour [default: false, upstream true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    service_account_extend_token_expiration: Option<bool>,
    /// Where the OIDC discovery document says that the keys are [default: this server's /openid/v1/jwks]
    #[arg(long, value_name = "URL", value_parser = jwks_uri)]
    service_account_jwks_uri: Option<String>,
    /// Look up the service account of a token at every use; only true
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_parser = lookup, action = ArgAction::Set, hide = true)]
    service_account_lookup: bool,
    /// Accept bootstrap tokens, the secrets kube-system/bootstrap-token-ID
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    enable_bootstrap_token_auth: bool,
}

fn issuer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err("an issuer is a URL or a name without spaces".to_owned());
    }
    if text == LEGACY_ISSUER {
        return Err("this is the issuer of tokens that stand in secrets: choose another".to_owned());
    }
    if text.contains(['?', '#']) {
        return Err("an issuer has neither query nor fragment".to_owned());
    }
    if text.contains(':') && !text.starts_with("https://") {
        return Err("an issuer with a colon must be a URL with https, so that others can find its keys".to_owned());
    }
    Ok(text.to_owned())
}

fn max_expiration(text: &str) -> Result<i64, String> {
    let seconds = parse_duration(text).map_err(|error| error.to_string())? / SECOND_NANOS;
    if !MAX_EXPIRATION_SECONDS.contains(&seconds) {
        return Err("it must be between 1 hour and 2^32 seconds".to_owned());
    }
    Ok(seconds)
}

fn jwks_uri(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.starts_with('/') || text.chars().any(char::is_whitespace) {
        return Err("it must be a URL with https".to_owned());
    }
    Ok(text.to_owned())
}

fn lookup(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => {
            Err("it does not exist here: a token whose service account or secret is gone would still be good; delete \
                        the account to end its tokens"
                .to_owned())
        }
        _ => Err("it is true, or not given".to_owned()),
    }
}

impl ServiceAccountArguments {
    /// Reads the keys, or makes the one that is missing, and puts what issues and judges tokens together. `server` is where
    /// clients find this API server, as `https://host:port`. Lines for a person to read are added to `made`.
    pub(crate) fn prepare(
        &self,
        directory: &Directory,
        server: &str,
        profile: Profile,
        made: &mut Vec<String>,
    ) -> Result<TokenParts> {
        let files = self.files(directory, made)?;
        let keys = files.read()?;
        tracing::info!(issuer = self.service_account_issuer.first(), keys = ?keys.key_ids(), "service account tokens");
        let issuer = ServiceAccountIssuer::new(self.service_account_issuer.clone(), keys);
        let api_audiences = match self.api_audiences.as_slice() {
            [] => self.service_account_issuer.clone(),
            given => given.to_vec(),
        };
        let jwks_uri = self.service_account_jwks_uri.clone();
        let accounts = ServiceAccounts {
            issuer,
            api_audiences,
            // A11: a token that nobody renews ends the day it was made.
            max_expiration_seconds: self
                .service_account_max_token_expiration
                .or((profile == Profile::Locked).then_some(LOCKED_EXPIRATION_SECONDS)),
            // A11: an hour is an hour, unless the operator says otherwise.
            extend_expiration: self.service_account_extend_token_expiration.unwrap_or(profile == Profile::Upstream),
            jwks_uri: jwks_uri.unwrap_or_else(|| format!("{server}{}", openid::JWKS)),
        };
        Ok(TokenParts { accounts, files, takes_bootstrap_tokens: self.enable_bootstrap_token_auth })
    }

    fn files(&self, directory: &Directory, made: &mut Vec<String>) -> Result<KeyFiles> {
        let mut verifying = self.service_account_key_file.clone();
        let signing = match &self.service_account_signing_key_file {
            Some(given) => given.clone(),
            None => {
                let own = directory.service_account_key(made)?;
                verifying.push(own.verifying);
                own.signing
            }
        };
        let verifying = verifying.into_iter().map(LiveFile::new).collect();
        Ok(KeyFiles { signing: LiveFile::new(signing), verifying })
    }
}

/// What the other parts of the program need of tokens.
pub(crate) struct TokenParts {
    accounts: ServiceAccounts,
    files: KeyFiles,
    takes_bootstrap_tokens: bool,
}

impl TokenParts {
    /// Returns what the API server issues tokens with.
    pub(crate) fn service_accounts(&self) -> ServiceAccounts {
        self.accounts.clone()
    }

    /// Returns what this API server calls itself.
    pub(crate) fn api_audiences(&self) -> &[String] {
        &self.accounts.api_audiences
    }

    /// Makes those who know these tokens, in the order they are asked.
    pub(crate) fn authenticators(&self, cluster: &Arc<dyn Cluster>) -> Vec<Box<dyn TokenAuthenticator>> {
        let (issuer, audiences) = (Arc::clone(&self.accounts.issuer), self.accounts.api_audiences.clone());
        let mut chain: Vec<Box<dyn TokenAuthenticator>> =
            vec![Box::new(ServiceAccountTokens::new(issuer, audiences, Arc::clone(cluster)))];
        if self.takes_bootstrap_tokens {
            chain.push(Box::new(BootstrapTokens::new(Arc::clone(cluster))));
        }
        chain
    }

    /// Returns what puts new keys in force.
    pub(crate) fn follower(self) -> KeyFollower {
        KeyFollower { files: self.files, issuer: self.accounts.issuer }
    }
}

/// Where the keys are.
struct KeyFiles {
    signing: LiveFile,
    verifying: Vec<LiveFile>,
}

impl KeyFiles {
    fn read(&self) -> Result<ServiceAccountKeys> {
        let signing = self.signing.read()?;
        files::refuse_readable_by_others(self.signing.path())?;
        let mut verifying = Vec::new();
        for file in &self.verifying {
            let text = file.read()?;
            // Each by itself first, so that the complaint names the file.
            ServiceAccountKeys::check_verifying(&text).with_context(|| file.path().display().to_string())?;
            verifying.push(text);
        }
        let verifying = verifying.iter().map(|text| text.as_slice());
        ServiceAccountKeys::from_pem(&signing, verifying).context("the key that signs service account tokens")
    }

    /// Says whether a file is not what it was. Only all of them together are of use, so what one of them says may be lost when
    /// another can not be read: that one is news when it can.
    fn have_news(&self) -> Result<bool, LiveFileError> {
        let mut have_news = false;
        for file in std::iter::once(&self.signing).chain(&self.verifying) {
            have_news |= file.read_changed()?.is_some();
        }
        Ok(have_news)
    }
}

/// Puts keys in force when their files changed, and they are good.
pub(crate) struct KeyFollower {
    files: KeyFiles,
    issuer: Arc<ServiceAccountIssuer>,
}

impl KeyFollower {
    fn look(&self) -> Result<Reload> {
        files::refuse_readable_by_others(self.files.signing.path())?;
        if !self.files.have_news()? {
            return Ok(Reload::Unchanged);
        }
        let keys = self.files.read()?;
        tracing::info!(keys = ?keys.key_ids(), "service account tokens");
        self.issuer.replace_keys(keys);
        Ok(Reload::Replaced)
    }
}

impl FileFollower for KeyFollower {
    fn name(&self) -> &'static str {
        "service account keys"
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        Ok(self.look()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::flags;
    use crate::pki::files::Readers;

    fn parse(line: &str) -> Result<ServiceAccountArguments, clap::Error> {
        flags::parse(line)
    }

    fn prepared(line: &str, folder: &Path, profile: Profile) -> Result<TokenParts> {
        let mut made = Vec::new();
        parse(line).unwrap().prepare(&Directory::of(folder), "https://10.0.0.1:6443", profile, &mut made)
    }

    #[test]
    fn defaults() {
        let folder = tempfile::tempdir().unwrap();
        let parts = prepared("", folder.path(), Profile::Locked).unwrap();
        let accounts = parts.service_accounts();
        assert_eq!(accounts.issuer.name(), DEFAULT_ISSUER);
        assert_eq!(parts.api_audiences(), [DEFAULT_ISSUER]);
        assert_eq!(accounts.jwks_uri, "https://10.0.0.1:6443/openid/v1/jwks");
        assert_eq!(accounts.max_expiration_seconds, Some(LOCKED_EXPIRATION_SECONDS));
        assert!(!parts.takes_bootstrap_tokens);
        assert_eq!(parts.files.verifying.len(), 1);
    }

    #[test]
    fn a11_locked_does_not_extend_the_tokens_of_pods() {
        let folder = tempfile::tempdir().unwrap();
        let check = |line: &str, profile: Profile, expected: bool| {
            let parts = prepared(line, folder.path(), profile).unwrap();
            assert_eq!(parts.service_accounts().extend_expiration, expected, "{line} {profile:?}");
        };
        check("", Profile::Locked, false);
        check("", Profile::Upstream, true);
        check("--service-account-extend-token-expiration", Profile::Locked, true);
        check("--service-account-extend-token-expiration=true", Profile::Locked, true);
        check("--service-account-extend-token-expiration=false", Profile::Upstream, false);
    }

    #[test]
    fn a11_locked_tokens_last_a_day_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let check = |line: &str, profile: Profile, expected: Option<i64>| {
            let parts = prepared(line, folder.path(), profile).unwrap();
            assert_eq!(parts.service_accounts().max_expiration_seconds, expected, "{line} {profile:?}");
        };
        check("", Profile::Locked, Some(86_400));
        check("", Profile::Upstream, None);
        check("--service-account-max-token-expiration 48h", Profile::Locked, Some(172_800));
        check("--service-account-max-token-expiration 48h", Profile::Upstream, Some(172_800));
    }

    #[test]
    fn what_is_said_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let line = "--service-account-issuer https://a.example --service-account-issuer=https://b.example \
                    --api-audiences x,y --service-account-max-token-expiration 48h --enable-bootstrap-token-auth \
                    --service-account-jwks-uri https://keys.example/jwks --service-account-lookup=true";
        let parts = prepared(line, folder.path(), Profile::Locked).unwrap();
        let accounts = parts.service_accounts();
        assert_eq!(accounts.issuer.name(), "https://a.example");
        assert_eq!(parts.api_audiences(), ["x", "y"]);
        assert_eq!(accounts.max_expiration_seconds, Some(172_800));
        assert_eq!(accounts.jwks_uri, "https://keys.example/jwks");
        assert!(parts.takes_bootstrap_tokens);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let check = |line: &str, part: &str| {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        };
        check("--service-account-lookup=false", "does not exist here");
        check("--service-account-issuer=", "a URL or a name");
        check("--service-account-issuer http://a.example", "https");
        check("--service-account-issuer https://a.example?b", "query");
        check("--service-account-issuer kubernetes/serviceaccount", "stand in secrets");
        check("--service-account-max-token-expiration 10m", "between 1 hour");
        check("--service-account-max-token-expiration 3600", "missing unit");
        check("--service-account-jwks-uri http://a.example/jwks", "https");
    }

    #[test]
    fn key_files_are_named_when_they_are_bad() {
        let folder = tempfile::tempdir().unwrap();
        let check = |line: &str, part: &str| {
            let error = format!("{:#}", prepared(line, folder.path(), Profile::Locked).err().unwrap());
            assert!(error.contains(part), "{line}: {error}");
        };
        let path = folder.path().join("x.pem");
        check(&format!("--service-account-key-file {}", path.display()), "x.pem: No such file");
        fs::write(&path, "nothing").unwrap();
        check(&format!("--service-account-key-file {}", path.display()), "x.pem: it holds no");
        check(&format!("--service-account-signing-key-file {}", path.display()), "can be read by others");
        files::replace(&path, Readers::Owner, b"nothing").unwrap();
        check(&format!("--service-account-signing-key-file {}", path.display()), "it holds no private key");
    }

    #[test]
    fn key_files_are_reloaded_and_a_bad_one_changes_nothing() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let follower = prepared("", folder.path(), Profile::Locked).unwrap().follower();
        let KeyFollower { files, issuer } = &follower;
        let check = |expected: Result<Reload, &str>| match (follower.look(), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
            (got, _) => panic!("{got:?}, not {expected:?}"),
        };
        let first = issuer.jwks();
        check(Ok(Reload::Unchanged));
        assert_eq!(issuer.jwks(), first);
        // Another key beside the first: both verify.
        let mut made = Vec::new();
        let next = Directory::of(other.path()).service_account_key(&mut made).unwrap();
        let public = files.verifying.first().unwrap().path();
        let both = [fs::read(public).unwrap(), fs::read(&next.verifying).unwrap()].concat();
        fs::write(public, &both).unwrap();
        check(Ok(Reload::Replaced));
        let second = issuer.jwks();
        assert_eq!((first.matches("kid").count(), second.matches("kid").count()), (1, 2));
        for bad in ["", "nothing", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            fs::write(public, bad).unwrap();
            check(Err("sa.pub: "));
            check(Ok(Reload::Unchanged));
            assert_eq!(issuer.jwks(), second, "{bad}");
        }
        fs::remove_file(public).unwrap();
        check(Err("No such file"));
        check(Ok(Reload::Unchanged));
        assert_eq!(issuer.jwks(), second);
        // And back.
        fs::write(public, &both).unwrap();
        check(Ok(Reload::Replaced));
        assert_eq!(issuer.jwks(), second);
        let signing = files.signing.path();
        files::replace(signing, Readers::Everybody, &fs::read(&next.signing).unwrap()).unwrap();
        check(Err("can be read by others"));
        fs::set_permissions(signing, fs::metadata(&next.signing).unwrap().permissions()).unwrap();
        check(Ok(Reload::Replaced));
        assert_eq!(issuer.jwks(), second, "the new key signs; both verify as before");
    }
}
