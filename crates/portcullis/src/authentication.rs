//! The flags of authentication, by upstream's names, and the authenticators they ask for, in upstream's order.
//!
//! A1: no flag opens more paths to anonymous requests than the four of L1; a file can list further ones, one by one. Everything is
//! refused here that upstream refuses, and that before anything is answered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::BoolishValueParser;
use portcullis_apiserver::{ExtensionAuthentication, RequestHeader as RequestHeaderPublished};
use portcullis_client::DialRule;
use portcullis_gate::{
    Anonymous, AnonymousPaths, AuthenticationConfiguration, Authenticators, ConfigurationFile, Credentials,
    FileFollower, FrontProxy, HttpsDial, JwtIssuers, LiveFile, OidcFlags, RequestHeaders, ReviewVersion, SystemNames,
    Tls, TokenAuthenticator, TokenWebhook, TokenWebhookSettings, Tokens, TrustFiles,
};

use crate::configuration::Defaults;
use crate::flags::{conflict, review_version, span};

/// Upstream's value.
const USERNAME_CLAIM: &str = "sub";
/// Upstream's value.
const SIGNING_ALG: &str = "RS256";

/// Who is believed to be whom.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Authentication")]
pub(crate) struct Authentication {
    /// An AuthenticationConfiguration: issuers of tokens, and paths that answer without credentials; followed while the server
    /// runs
    #[arg(long, value_name = "FILE")]
    authentication_config: Option<PathBuf>,
    /// Whether requests without credentials are answered at all. `true` opens nothing: it is /version, /healthz, /livez and
    /// /readyz in any case, and further paths are listed one by one in --authentication-config
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    anonymous_auth: Option<bool>,
    /// The CAs of client certificates, in the place of the cluster's own: put its ca.crt into the file too, or admin.kubeconfig
    /// proves nothing; followed while the server runs [default: ca.crt of the data directory]
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    #[command(flatten)]
    oidc: Oidc,
    #[command(flatten)]
    request_header: RequestHeader,
    #[command(flatten)]
    webhook: Webhook,
}

/// One issuer of tokens, by flags.
#[derive(Debug, Default, clap::Args)]
struct Oidc {
    /// The issuer of tokens that are taken; https only
    #[arg(long, value_name = "URL")]
    oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for
    #[arg(long, value_name = "ID")]
    oidc_client_id: Option<String>,
    /// The CAs of the issuer's server [default: the system's]
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name [default: sub]
    #[arg(long, value_name = "CLAIM")]
    oidc_username_claim: Option<String>,
    /// What stands before the name; `-` for nothing [default: the issuer's URL and #, nothing for the claim email]. Names that begin
    /// with system: even so, like groups, are refused under the locked defaults
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    oidc_username_prefix: Option<String>,
    /// The claim that holds the user's groups [default: none]
    #[arg(long, value_name = "CLAIM")]
    oidc_groups_claim: Option<String>,
    /// What stands before each group
    #[arg(long, value_name = "PREFIX")]
    oidc_groups_prefix: Option<String>,
    /// What tokens may be signed with, separated by commas [default: RS256]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    oidc_signing_algs: Vec<String>,
    /// A claim that tokens must have, with its value; can be given again
    #[arg(long = "oidc-required-claim", value_name = "CLAIM=VALUE", value_parser = claim)]
    oidc_required_claims: Vec<(String, String)>,
}

/// The front proxy.
#[derive(Debug, Default, clap::Args)]
struct RequestHeader {
    /// The CA of a front proxy, which says who a user is in headers; it must be another one than that of clients, unless
    /// --requestheader-allowed-names are given; followed while the server runs
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<PathBuf>,
    /// The names that the front proxy's certificate may have, separated by commas [default: any of its CA]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name, the first that is there counts: X-Remote-User
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_username_headers: Vec<String>,
    /// Headers with the user's uid: X-Remote-Uid
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups: X-Remote-Group
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_group_headers: Vec<String>,
    /// How headers with more about the user begin: X-Remote-Extra-
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_extra_headers_prefix: Vec<String>,
}

/// The webhook that is asked about tokens nobody else knows.
#[derive(Debug, Default, clap::Args)]
struct Webhook {
    /// Who is asked about tokens that nobody else knows, and how we prove who we are: a kubeconfig
    #[arg(long, value_name = "FILE")]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of the TokenReview that is sent: v1 or v1beta1 [default: v1beta1]
    #[arg(long, value_name = "VERSION", value_parser = review_version)]
    authentication_token_webhook_version: Option<ReviewVersion>,
    /// How long its answers are remembered; 0 for not at all [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    authentication_token_webhook_cache_ttl: Option<Duration>,
}

/// What other parts of the program give to the authenticators.
pub(crate) struct Pieces {
    /// What this API server calls itself in tokens.
    pub(crate) api_audiences: Vec<String>,
    /// The issuers of service account tokens, the first of which signs: no foreign issuer may have the name of one.
    pub(crate) own_issuers: Vec<String>,
    /// Who knows the cluster's own tokens, in their order: service account tokens, bootstrap tokens.
    pub(crate) own_tokens: Vec<Box<dyn TokenAuthenticator>>,
    /// Whom this server may ask.
    pub(crate) dial: DialRule,
    /// The listener's TLS, whose CAs are replaced when their files are.
    pub(crate) tls: Arc<Tls>,
    /// Which defaults are in force.
    pub(crate) defaults: Defaults,
}

/// Whose certificates count.
pub(crate) struct Trust {
    /// The CAs of client certificates, for the listener.
    pub(crate) client_ca_pem: Vec<u8>,
    client_ca_file: Option<PathBuf>,
    front_proxy: Option<Proxy>,
}

struct Proxy {
    proxy: Arc<FrontProxy>,
    ca_file: PathBuf,
    ca_pem: Vec<u8>,
}

/// The authenticators, and what must be followed for as long as the server runs ([`portcullis_gate::keep_fresh`]).
pub(crate) struct Built {
    /// Who finds out who sends a request.
    pub(crate) authenticators: Authenticators,
    /// Files.
    pub(crate) followers: Vec<Arc<dyn FileFollower>>,
    /// Whose certificates count, now and later.
    pub(crate) trust: Arc<TrustFiles>,
}

impl Authentication {
    /// Reads whose certificates count; `cluster_ca_pem` vouches for clients unless a flag says who does.
    ///
    /// # Errors
    /// Flags that do not go together are a usage error; a file that can not be used is named.
    pub(crate) fn trust(&self, cluster_ca_pem: &[u8]) -> Result<Trust> {
        self.check()?;
        let (client_ca_file, client_ca_pem) = match &self.client_ca_file {
            None => (None, cluster_ca_pem.to_vec()),
            Some(given) => {
                let path = std::path::absolute(given).context("--client-ca-file")?;
                let pem = read("--client-ca-file", &path)?;
                (Some(path), pem)
            }
        };
        let front_proxy = self.request_header.proxy(&client_ca_pem)?;
        if let Some(path) = &self.authentication_config {
            // It is taken later, when there is a runtime to dial its issuers; what is wrong with it is said before anything is made.
            let text = read("--authentication-config", path)?;
            AuthenticationConfiguration::parse(&text, &[])
                .with_context(|| format!("--authentication-config {}", path.display()))?;
        }
        Ok(Trust { client_ca_pem, client_ca_file, front_proxy })
    }

    /// What extension servers are told, so that they believe whom this server believes.
    pub(crate) fn published(&self, trust: &Trust) -> ExtensionAuthentication {
        let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
        let given = &self.request_header;
        let request_header = trust.front_proxy.as_ref().map(|proxy| RequestHeaderPublished {
            client_ca_pem: text(&proxy.ca_pem),
            allowed_names: given.requestheader_allowed_names.clone(),
            username_headers: given.requestheader_username_headers.clone(),
            uid_headers: given.requestheader_uid_headers.clone(),
            group_headers: given.requestheader_group_headers.clone(),
            extra_header_prefixes: given.requestheader_extra_headers_prefix.clone(),
        });
        ExtensionAuthentication { client_ca_pem: text(&trust.client_ca_pem), request_header }
    }

    /// Makes the authenticators. Needs a running runtime.
    ///
    /// # Errors
    /// As [`Authentication::trust`].
    pub(crate) fn build(&self, trust: Trust, pieces: Pieces) -> Result<Built> {
        self.check()?;
        let Pieces { api_audiences, own_issuers, own_tokens, dial, tls, defaults } = pieces;
        let mut followers: Vec<Arc<dyn FileFollower>> = Vec::new();
        let anonymous = Arc::new(Anonymous::on(match self.anonymous_auth {
            Some(allowed) => AnonymousPaths::of_flag(allowed),
            None => AnonymousPaths::default(),
        }));
        let mut chain = own_tokens;
        let names = match defaults {
            Defaults::Locked => SystemNames::Refused,
            Defaults::Upstream => SystemNames::Taken,
        };
        let issuers = JwtIssuers::new(Box::new(HttpsDial::new(dial.clone()))).with_system_names(names);
        let issuers = Arc::new(issuers);
        if let Some(given) = &self.authentication_config {
            let path = std::path::absolute(given).context("--authentication-config")?;
            let (flag, anonymous) = (self.anonymous_auth, Arc::clone(&anonymous));
            let file = ConfigurationFile::open(path, own_issuers, flag, Arc::clone(&issuers), anonymous);
            followers.push(Arc::new(file.context("--authentication-config")?));
            chain.push(Box::new(issuers));
        } else if let Some(flags) = self.oidc.flags()? {
            let configuration = AuthenticationConfiguration::from_flags(flags, &own_issuers)?;
            issuers.replace(&configuration).context("--oidc-issuer-url")?;
            chain.push(Box::new(issuers));
        }
        if let Some(webhook) = self.webhook.authenticator(dial)? {
            chain.push(Box::new(webhook));
        }
        let Trust { client_ca_pem, client_ca_file, front_proxy } = trust;
        let mut files = TrustFiles::new(tls, client_ca_file, client_ca_pem);
        let front_proxy = match front_proxy {
            None => None,
            Some(Proxy { proxy, ca_file, ca_pem }) => {
                files = files.with_front_proxy(Arc::clone(&proxy), ca_file, ca_pem)?;
                Some(proxy)
            }
        };
        let trust = Arc::new(files);
        followers.push(Arc::clone(&trust) as _);
        let credentials = Credentials { front_proxy, tokens: Tokens::new(api_audiences, chain), anonymous };
        Ok(Built { authenticators: Authenticators::of(credentials), followers, trust })
    }

    /// Says what does not go together, in upstream's words.
    fn check(&self) -> Result<(), clap::Error> {
        if !self.oidc.is_given() {
            return Ok(());
        }
        if self.authentication_config.is_some() {
            return Err(conflict("authentication-config file and oidc-* flags are mutually exclusive"));
        }
        if self.oidc.oidc_issuer_url.is_none() || self.oidc.oidc_client_id.is_none() {
            let message = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
            return Err(conflict(message));
        }
        Ok(())
    }
}

impl Oidc {
    fn is_given(&self) -> bool {
        let texts = [
            &self.oidc_issuer_url,
            &self.oidc_client_id,
            &self.oidc_username_claim,
            &self.oidc_username_prefix,
            &self.oidc_groups_claim,
            &self.oidc_groups_prefix,
        ];
        texts.into_iter().any(Option::is_some)
            || self.oidc_ca_file.is_some()
            || !self.oidc_signing_algs.is_empty()
            || !self.oidc_required_claims.is_empty()
    }

    fn flags(&self) -> Result<Option<OidcFlags>> {
        let (Some(issuer_url), Some(client_id)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            return Ok(None);
        };
        let certificate_authority = match &self.oidc_ca_file {
            None => String::new(),
            Some(path) => String::from_utf8(read("--oidc-ca-file", path)?).context("--oidc-ca-file is not text")?,
        };
        if self.oidc_ca_file.is_some() && certificate_authority.trim().is_empty() {
            anyhow::bail!("--oidc-ca-file is empty: leave it out, and the system's CAs are taken");
        }
        let or_default = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        let signing_algs = match self.oidc_signing_algs.as_slice() {
            [] => vec![SIGNING_ALG.to_owned()],
            given => given.to_vec(),
        };
        Ok(Some(OidcFlags {
            issuer_url: issuer_url.clone(),
            client_id: client_id.clone(),
            certificate_authority,
            username_claim: or_default(&self.oidc_username_claim, USERNAME_CLAIM),
            username_prefix: or_default(&self.oidc_username_prefix, ""),
            groups_claim: or_default(&self.oidc_groups_claim, ""),
            groups_prefix: or_default(&self.oidc_groups_prefix, ""),
            signing_algs,
            required_claims: self.oidc_required_claims.clone(),
        }))
    }
}

impl RequestHeader {
    fn proxy(&self, client_ca_pem: &[u8]) -> Result<Option<Proxy>> {
        let Some(given) = &self.requestheader_client_ca_file else {
            return Ok(None);
        };
        let ca_file = std::path::absolute(given).context("--requestheader-client-ca-file")?;
        let ca_pem = read("--requestheader-client-ca-file", &ca_file)?;
        let headers = RequestHeaders {
            allowed_names: self.requestheader_allowed_names.clone(),
            username: self.requestheader_username_headers.clone(),
            uid: self.requestheader_uid_headers.clone(),
            group: self.requestheader_group_headers.clone(),
            extra_prefix: self.requestheader_extra_headers_prefix.clone(),
        };
        let proxy = Arc::new(FrontProxy::new(&headers, &ca_pem, client_ca_pem)?);
        if !proxy.can_name_users() {
            tracing::warn!("without --requestheader-username-headers the front proxy can name nobody");
        }
        Ok(Some(Proxy { proxy, ca_file, ca_pem }))
    }
}

impl Webhook {
    fn authenticator(&self, dial: DialRule) -> Result<Option<TokenWebhook>> {
        let flag = "--authentication-token-webhook-config-file";
        let Some(given) = &self.authentication_token_webhook_config_file else {
            return Ok(None);
        };
        let mut settings = TokenWebhookSettings::new(std::path::absolute(given).context(flag)?, dial);
        if let Some(version) = self.authentication_token_webhook_version {
            settings.version = version;
        }
        if let Some(cache_ttl) = self.authentication_token_webhook_cache_ttl {
            settings.cache_ttl = cache_ttl;
        }
        Ok(Some(TokenWebhook::new(settings).context(flag)?))
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>> {
    Ok(LiveFile::new(path).read().context(flag)?.to_vec())
}

fn claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("looks like claim=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory as _;
    use portcullis_gate::TlsMaterial;
    use time::OffsetDateTime;

    use crate::flags;
    use crate::pki::{self, Pair, pem};

    use super::*;

    type Line = flags::Line<Authentication>;

    fn parse(flags: &str) -> Result<Authentication, clap::Error> {
        flags::parse(flags)
    }

    /// A directory with a PKI and the files of a test; `D` in flags stands for it.
    struct Host {
        directory: tempfile::TempDir,
        cluster: pki::Cluster,
    }

    impl Host {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let names = [pki::ServerName::Dns("localhost".to_owned())].into();
            let cluster = pki::Directory::of(directory.path()).prepare(names, OffsetDateTime::now_utc()).unwrap();
            Self { directory, cluster }
        }

        fn with(&self, name: &str, content: &str) -> &Self {
            std::fs::write(self.directory.path().join(name), content).unwrap();
            self
        }

        fn ca_pem(&self) -> Vec<u8> {
            pem("CERTIFICATE", self.cluster.authority.certificate()).into_bytes()
        }

        fn build(&self, flags: &str) -> Result<Built> {
            let authentication = parse(&flags.replace("D/", &format!("{}/", self.directory.path().display())))?;
            let trust = authentication.trust(&self.ca_pem())?;
            let Pair { certificate, key } = &self.cluster.serving;
            let material = TlsMaterial {
                cert_chain_pem: pem("CERTIFICATE", certificate).into_bytes(),
                key_pem: pem("PRIVATE KEY", key.secret_der()).into_bytes().into(),
                client_ca_pem: trust.client_ca_pem.clone(),
            };
            let pieces = Pieces {
                api_audiences: vec!["https://own".to_owned()],
                own_issuers: vec!["https://own".to_owned()],
                own_tokens: Vec::new(),
                dial: DialRule::default(),
                tls: Arc::new(Tls::new(&material)?),
                defaults: Defaults::Locked,
            };
            authentication.build(trust, pieces)
        }

        fn check(&self, flags: &str, expected: Result<usize, &str>) {
            match (self.build(flags), expected) {
                (Ok(built), Ok(followers)) => assert_eq!(built.followers.len(), followers, "{flags}"),
                (Err(error), Err(part)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(part), "{flags}: {error}");
                }
                (Ok(_), Err(part)) => panic!("{flags}: taken, expected {part}"),
                (Err(error), Ok(_)) => panic!("{flags}: {error:#}"),
            }
        }
    }

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
    }

    #[tokio::test]
    async fn a1_no_flag_opens_more_than_l1() {
        let check = |flags: &str, expected: Option<bool>| assert_eq!(parse(flags).unwrap().anonymous_auth, expected);
        check("", None);
        check("--anonymous-auth", Some(true));
        check("--anonymous-auth=true", Some(true));
        check("--anonymous-auth=false", Some(false));
        assert!(parse("--anonymous-auth=perhaps").is_err());
        let help = Line::command().render_long_help().to_string();
        assert!(help.contains("`true` opens nothing"), "{help}");

        let host = Host::new();
        host.with("a.yaml", &format!("{HEAD}anonymous: {{enabled: true, conditions: [{{path: /a}}]}}\n"));
        host.with("b.yaml", HEAD);
        host.with("c.yaml", &format!("{HEAD}anonymous: {{enabled: true, conditions: [{{path: '/*'}}]}}\n"));
        host.check("", Ok(1));
        host.check("--anonymous-auth=false", Ok(1));
        host.check("--authentication-config D/a.yaml", Ok(2));
        host.check("--authentication-config D/b.yaml --anonymous-auth=false", Ok(2));
        let twice = "--anonymous-auth flag cannot be set when anonymous field is configured";
        host.check("--authentication-config D/a.yaml --anonymous-auth=true", Err(twice));
        host.check("--authentication-config D/c.yaml", Err("wildcards do not exist here"));
        host.check("--authentication-config D/none.yaml", Err("--authentication-config"));
    }

    #[tokio::test]
    async fn an_issuer_is_given_by_flags_or_by_a_file() {
        let host = Host::new();
        host.with("a.yaml", HEAD).with("empty.crt", "").with("no.crt", "-----BEGIN NOTHING-----");
        let issuer = "--oidc-issuer-url https://issuer.example.com --oidc-client-id kubernetes";
        host.check(&format!("{issuer} --oidc-ca-file D/pki/ca.crt"), Ok(1));
        let all = "--oidc-username-claim email --oidc-username-prefix - --oidc-groups-claim groups \
                   --oidc-groups-prefix g: --oidc-signing-algs RS256,ES256 --oidc-required-claim a=b \
                   --oidc-required-claim c=d --oidc-ca-file D/pki/ca.crt";
        host.check(&format!("{issuer} {all}"), Ok(1));
        let together = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
        for flags in
            ["--oidc-issuer-url https://a", "--oidc-client-id a", "--oidc-groups-claim g", "--oidc-ca-file D/x"]
        {
            host.check(flags, Err(together));
            let exclusive = "authentication-config file and oidc-* flags are mutually exclusive";
            host.check(&format!("{flags} --authentication-config D/a.yaml"), Err(exclusive));
        }
        host.check("--oidc-issuer-url http://a --oidc-client-id b", Err("URL scheme must be https"));
        host.check("--oidc-issuer-url https://own --oidc-client-id b", Err("must not overlap"));
        host.check(&format!("{issuer} --oidc-signing-algs none"), Err("unsupported signing algorithm \"none\""));
        host.check(&format!("{issuer} --oidc-signing-algs HS256"), Err("unsupported signing algorithm \"HS256\""));
        host.check(&format!("{issuer} --oidc-ca-file D/empty.crt"), Err("--oidc-ca-file is empty"));
        host.check(&format!("{issuer} --oidc-ca-file D/no.crt"), Err("certificateAuthority"));
        host.check(&format!("{issuer} --oidc-ca-file D/none.crt"), Err("--oidc-ca-file"));
        host.check(&format!("{issuer} --oidc-required-claim a"), Err("looks like claim=value"));
    }

    #[tokio::test]
    async fn ncc_f9w_a_front_proxy_has_a_ca_of_its_own_or_names() {
        let host = Host::new();
        host.with("no.crt", "nothing");
        let headers = "--requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
                       --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-uid-headers X-Remote-Uid";
        host.check(&format!("--requestheader-client-ca-file D/pki/front-proxy-ca.crt {headers}"), Ok(1));
        host.check("--requestheader-client-ca-file D/pki/front-proxy-ca.crt", Ok(1));
        let shared = "--requestheader-client-ca-file holds a CA of --client-ca-file";
        // The cluster's CA is that of clients, whether a flag says so or not.
        host.check(&format!("--requestheader-client-ca-file D/pki/ca.crt {headers}"), Err(shared));
        let both = "--requestheader-client-ca-file D/pki/front-proxy-ca.crt --client-ca-file D/pki/front-proxy-ca.crt";
        host.check(&format!("{both} {headers}"), Err(shared));
        host.check(&format!("{both} {headers} --requestheader-allowed-names front-proxy-client"), Ok(1));
        host.check("--requestheader-client-ca-file D/no.crt", Err("--requestheader-client-ca-file can not be used"));
        host.check("--requestheader-client-ca-file D/none.crt", Err("--requestheader-client-ca-file"));
        let named = "--requestheader-client-ca-file D/pki/front-proxy-ca.crt --requestheader-username-headers X:User";
        host.check(named, Err("no name of a header"));
    }

    #[tokio::test]
    async fn client_cas_and_webhooks_come_from_files() {
        let host = Host::new();
        host.with("no.crt", "nothing").with("no.kubeconfig", "nothing");
        host.check("--client-ca-file D/pki/ca.crt", Ok(1));
        host.check("--client-ca-file D/no.crt", Err("client CA is missing"));
        host.check("--client-ca-file D/none.crt", Err("--client-ca-file"));
        let webhook = "--authentication-token-webhook-config-file";
        host.check(&format!("{webhook} D/no.kubeconfig"), Err(webhook));
        host.check("--authentication-token-webhook-version v2", Err("there are v1 and v1beta1"));
        host.check("--authentication-token-webhook-cache-ttl=-1s", Err("--authentication-token-webhook-cache-ttl"));
        host.check("--authentication-token-webhook-version v1 --authentication-token-webhook-cache-ttl 0", Ok(1));
    }
}
