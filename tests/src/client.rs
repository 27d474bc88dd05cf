//! A small HTTPS client: one request a connection, blocking, nothing but what a test needs. Every answer's shape is checked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;

/// Bytes of a line of an answer's head.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// A client certificate and its key.
pub struct Credentials {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// A certificate with its key.
    pub fn new(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        Self { certificate, key }
    }

    /// Reads `PREFIX.crt` and `PREFIX.key`.
    pub fn read(prefix: &Path) -> Result<Self> {
        let file = |ending| format!("{}.{ending}", prefix.display());
        Ok(Self {
            certificate: CertificateDer::from_pem_file(file("crt")).with_context(|| file("crt"))?,
            key: PrivateKeyDer::from_pem_file(file("key")).with_context(|| file("key"))?,
        })
    }

    /// Writes `PREFIX.crt` and `PREFIX.key`.
    pub fn write(&self, prefix: &Path) -> Result<()> {
        let key_label = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let parts = [("crt", "CERTIFICATE", self.certificate.as_ref()), ("key", key_label, self.key.secret_der())];
        for (ending, label, der) in parts {
            let file = format!("{}.{ending}", prefix.display());
            let text = STANDARD.encode(der);
            std::fs::write(&file, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")).context(file)?;
        }
        Ok(())
    }
}

/// Asks one server as one user.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    headers: Vec<(String, String)>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The content without its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    /// A client that trusts one authority and shows a certificate, or none.
    pub fn new(address: SocketAddr, authority: &Path, credentials: Option<Credentials>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).with_context(|| authority.display().to_string())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let mut tls = match credentials {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(vec![own.certificate], own.key)?,
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, tls: Arc::new(tls), headers: Vec::new() })
    }

    /// The same with one more header in every request.
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.headers.push((name.to_owned(), value.to_owned()));
        with
    }

    /// The same with a token.
    pub fn with_bearer(&self, token: &str) -> Self {
        self.with_header("Authorization", &format!("Bearer {token}"))
    }

    /// Where it asks and as whom, for connections of another shape.
    pub(crate) fn identity(&self) -> (SocketAddr, &ClientConfig, &[(String, String)]) {
        (self.address, &self.tls, &self.headers)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).expect("an answer")
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body)).expect("an answer")
    }

    /// DELETE without options.
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).expect("an answer")
    }

    /// Sends a request and reads the answer to its end.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        match body {
            None => self.open_raw(method, path, b"\r\n")?.answer(),
            Some(body) => self.send_content(method, path, "application/json", body.to_string().as_bytes()),
        }
    }

    /// Sends content of any kind and reads the answer to its end.
    pub fn send_content(&self, method: &str, path: &str, media_type: &str, content: &[u8]) -> Result<Answer> {
        let headers = format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n", content.len());
        self.open_raw(method, path, &[headers.as_bytes(), content].concat())?.answer()
    }

    /// Sends the beginning of a POST of JSON and waits until the server asks for the content.
    pub fn open_post(&self, path: &str, len: usize) -> Result<Open> {
        let expected = "Content-Type: application/json\r\nExpect: 100-continue";
        let mut open =
            self.open_raw("POST", path, format!("{expected}\r\nContent-Length: {len}\r\n\r\n").as_bytes())?;
        match open.head()? {
            asked if asked.status == 100 => Ok(open),
            refused => bail!("the server does not want the content: {refused:?}"),
        }
    }

    fn open_raw(&self, method: &str, path: &str, rest: &[u8]) -> Result<Open> {
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(self.tls.clone(), name)?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(self.address)?);
        let address = self.address;
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAccept: application/json\r\n");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // A server may answer before it has read everything, and stop reading: the answer tells.
        let _ = stream.write_all(&[head.as_bytes(), rest].concat()).and_then(|()| stream.flush());
        Ok(Open { reader: BufReader::new(stream), method: method.to_owned() })
    }
}

/// A request that was sent.
pub struct Open {
    reader: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    method: String,
}

impl Open {
    /// Sends content that was announced.
    pub fn write(&mut self, content: &str) -> Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(content.as_bytes())?;
        Ok(stream.flush()?)
    }

    /// Reads the head of the answer.
    pub fn head(&mut self) -> Result<Answer> {
        let line = self.line()?;
        let mut words = line.splitn(3, ' ');
        let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if version != "HTTP/1.1" {
            bail!("not an answer: {line:?}");
        }
        let mut answer = Answer { status: status.parse()?, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(':').with_context(|| format!("not a header: {line:?}"))?;
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads one line; of a watch it is an event.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.reader.by_ref().take(LINE_LEN_MAX).read_line(&mut line)?;
        let whole = line.strip_suffix('\n').context("the answer ended")?;
        Ok(whole.strip_suffix('\r').unwrap_or(whole).to_owned())
    }

    /// Reads the answer to its end and checks its shape.
    pub fn answer(mut self) -> Result<Answer> {
        let mut answer = self.head()?;
        if self.method != "HEAD" {
            answer.body = match (answer.header("transfer-encoding"), answer.header("content-length")) {
                (Some("chunked"), None) => self.chunks()?,
                (None, Some(length)) => {
                    let mut body = vec![0; length.parse()?];
                    self.reader.read_exact(&mut body).context("the answer is shorter than it says")?;
                    body
                }
                (coding, length) => bail!("an answer with transfer-encoding {coding:?} and content-length {length:?}"),
            };
        }
        check_shape(&answer)?;
        Ok(answer)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).context("a chunk without its size")?;
            let start = body.len();
            body.resize(start + size, 0);
            self.reader.read_exact(&mut body[start..]).context("a chunk that is shorter than it says")?;
            if !self.line()?.is_empty() {
                bail!("a chunk that does not end");
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// What holds for every answer of an API server.
fn check_shape(answer: &Answer) -> Result<()> {
    if !answer.body.is_empty() && answer.header("content-type").is_none() {
        bail!("content without its type: {answer:?}");
    }
    let body = answer.json();
    if body["kind"] == "Status" && body["status"] == "Failure" && body["code"] != answer.status {
        bail!("a Status of another code than the answer's: {} and {body}", answer.status);
    }
    Ok(())
}
