//! A server that the program under test calls, and a listener that nobody must call.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::credentials::Authority;

/// Bytes of a line of a request's head.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// An HTTPS server that gives every request the same answer.
pub struct Webhook {
    address: SocketAddr,
    authority_pem: String,
    requests: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Starts one whose answers begin with this, as `302 Found\r\nLocation: ...`, and have no content.
    pub fn start(answer: &str) -> Result<Self> {
        let authority = Authority::stranger()?;
        let (certificate, key) = authority.serve()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        let address = listener.local_addr()?;
        let (requests, is_over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let thread = {
            let (requests, is_over) = (Arc::clone(&requests), Arc::clone(&is_over));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    // Whoever hangs up in the handshake has asked nothing.
                    let _ = stream.map_err(Into::into).and_then(|stream| serve(stream, &config, &answer, &requests));
                }
            })
        };
        Ok(Self { address, authority_pem: authority.pem().to_owned(), requests, is_over, thread: Some(thread) })
    }

    /// The kubeconfig with which a server finds it, as JSON; the authority is in a file of this name.
    pub fn kubeconfig(&self, authority: &str) -> String {
        let cluster = serde_json::json!({
            "server": format!("https://{}/ask", self.address), "certificate-authority": authority,
        });
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "webhook", "cluster": cluster}],
            "users": [{"name": "apiserver", "user": {}}],
            "contexts": [{"name": "webhook", "context": {"cluster": "webhook", "user": "apiserver"}}],
            "current-context": "webhook",
        })
        .to_string()
    }

    /// The certificate of its authority.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The contents of the requests that came.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Somebody has to come for it to look.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Reads one request to its end and answers it. Returns its content.
fn serve(stream: TcpStream, config: &Arc<ServerConfig>, answer: &str, requests: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream));
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.by_ref().take(LINE_LEN_MAX).read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            len = value.trim().parse()?;
        }
    }
    let mut content = vec![0; len];
    reader.read_exact(&mut content)?;
    // Before it is answered: whoever asked may look as soon as it is.
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&content).into_owned());
    let stream = reader.get_mut();
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// A port to which nobody must connect.
pub struct Trap {
    address: SocketAddr,
    caught: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Trap {
    /// Opens one.
    pub fn open() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        let (address, caught) = (listener.local_addr()?, Arc::<Mutex<Vec<SocketAddr>>>::default());
        let counted = Arc::clone(&caught);
        std::thread::spawn(move || {
            while let Ok((_, peer)) = listener.accept() {
                counted.lock().unwrap_or_else(PoisonError::into_inner).push(peer);
            }
        });
        Ok(Self { address, caught })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many have connected, this caller apart, who comes behind all who did before.
    pub fn caught(&self) -> Result<usize> {
        let own = TcpStream::connect(self.address)?.local_addr()?;
        loop {
            let mut caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = caught.iter().position(|peer| *peer == own) {
                caught.remove(at);
                return Ok(caught.len());
            }
            drop(caught);
            std::thread::yield_now();
        }
    }
}
