//! Fetching an issuer's documents over HTTPS: its certificate is verified, redirects are errors, and every address is checked
//! before it is dialled (A21, A26).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{StatusCode, Uri};
use portcullis_client::{Access, Client, DialRule, Outgoing, Trust};

use crate::BoxFuture;

use super::discovery::{Dial, FETCH_TIMEOUT, Fetch, FetchError};

/// Servers of one issuer that are remembered: that of its discovery document, that of its keys, and those that came before.
const CLIENTS_MAX: usize = 4;

/// Dials issuers under a rule.
pub struct HttpsDial {
    rule: DialRule,
}

impl HttpsDial {
    /// Dials what a rule lets it.
    pub fn new(rule: DialRule) -> Self {
        Self { rule }
    }
}

impl Dial for HttpsDial {
    fn fetcher(&self, url: &str, certificate_authority: &str) -> Result<Arc<dyn Fetch>, FetchError> {
        let trust = match certificate_authority {
            "" => Trust::System,
            pem => Trust::Authorities(pem.as_bytes().to_vec()),
        };
        let fetcher = HttpsFetch { trust, rule: self.rule.clone(), clients: Mutex::default() };
        // What can not be used is known now, and not when the first token comes.
        fetcher.client(url)?;
        Ok(Arc::new(fetcher))
    }
}

struct HttpsFetch {
    trust: Trust,
    rule: DialRule,
    clients: Mutex<BTreeMap<String, Arc<Client>>>,
}

impl HttpsFetch {
    /// Returns a client of the server that a URL names, and the rest of the URL.
    fn client(&self, url: &str) -> Result<(Arc<Client>, String), FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError("it is no URL".to_owned()))?;
        let authority = uri.authority().ok_or_else(|| FetchError("it names no host".to_owned()))?;
        let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let server = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&server) {
            return Ok((Arc::clone(client), path));
        }
        let client = Client::new(&Access::anonymous(&server, self.trust.clone()), self.rule.clone());
        let client = Arc::new(client.map_err(|error| FetchError(error.to_string()))?);
        if clients.len() == CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(server, Arc::clone(&client));
        Ok((client, path))
    }
}

impl Fetch for HttpsFetch {
    fn get<'a>(&'a self, url: &'a str, len_max: usize) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let (client, path) = self.client(url)?;
            let outgoing = Outgoing { timeout: FETCH_TIMEOUT, response_bytes_max: len_max, ..Outgoing::get(&path) };
            let answer = client.send(&outgoing).await.map_err(|error| FetchError(error.to_string()))?;
            match answer.status {
                StatusCode::OK => Ok(answer.body),
                status => Err(FetchError(format!("the answer is {status}"))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Response;
    use portcullis_client::test_server::{Authority, Received, Server, Settings};

    use super::*;

    fn serve(request: &Received) -> Response<Bytes> {
        let (status, body) = match request.path.as_str() {
            "/keys?p=1" => (200, "0123456789"),
            "/moved" => (302, ""),
            _ => (404, "nothing"),
        };
        let answer = Response::builder().status(status).header("location", "https://192.0.2.1/");
        answer.body(Bytes::from(body)).unwrap()
    }

    #[tokio::test]
    async fn a21_a26_documents_come_from_verified_servers_and_nowhere_else() {
        let (authority, other) = (Authority::new(), Authority::new());
        let server = Server::start(Settings::new(authority.issue("127.0.0.1")), serve).await;
        let at = |path: &str| format!("https://{}{path}", server.address);
        let get = async |rule: DialRule, ca: &str, url: &str, len_max: usize| {
            let fetcher = HttpsDial::new(rule).fetcher(url, ca)?;
            fetcher.get(url, len_max).await
        };
        let loopback = || DialRule { loopback_allowed: true, ..DialRule::default() };
        let good = get(loopback(), &authority.pem, &at("/keys?p=1"), 10).await;
        assert_eq!(good.unwrap(), "0123456789");
        let refused = async |rule: DialRule, ca: &str, url: &str, part: &str| {
            let error = get(rule, ca, url, 9).await.unwrap_err().to_string();
            assert!(error.contains(part), "{url}: {error}");
        };
        refused(loopback(), &authority.pem, &at("/keys?p=1"), "longer than 9 bytes").await;
        refused(loopback(), &authority.pem, &at("/none"), "404").await;
        refused(loopback(), &authority.pem, &at("/moved"), "redirect").await;
        refused(loopback(), &other.pem, &at("/keys?p=1"), "handshake").await;
        refused(DialRule::default(), &authority.pem, &at("/keys?p=1"), "loopback").await;
        refused(loopback(), &authority.pem, "http://127.0.0.1/keys", "https").await;
        refused(loopback(), "nothing", &at("/keys?p=1"), "certificate authority").await;
        assert!(server.received().iter().all(|request| !request.headers.contains_key("authorization")));
    }
}
