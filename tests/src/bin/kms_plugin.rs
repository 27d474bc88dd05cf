//! A KMS v2 plugin in a process of its own: what a cloud's or an HSM's is to the server. Arguments: the path of its socket, and that of
//! a file that says how it behaves, which is read again for every call.
//!
//! The file has a `name=value` a line. `key` is the id of the key that encrypts (`key-1`), `healthz` and `version` are what Status
//! says. `fail`, `hang`, `garbage` and `large` name calls (`status`, `encrypt`, `decrypt`) that are refused, never answered, or answered
//! with what is no message or far too much of one. `wrong` is one of `key-id`, `long-key-id`, `long-ciphertext`, `long-annotations`, `annotation-name` (Encrypt) and
//! `short-key` (Decrypt). `lost` names keys that can no longer decrypt.
//!
//! Prints `ready` once it listens, and a line a call, `encrypt key-1`, which also stands at the end of `FILE.calls` before the call is
//! answered. It speaks the wire by itself, so that a client is not tested
//! with its own reading of the interface.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::future::pending;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;

/// gRPC's frame: a flag and a length stand before a message.
const FRAME_LEN: usize = 5;
/// Bytes of an answer that nobody may take.
const LARGE: usize = 1 << 20;
const OK: u32 = 0;
const FAILED_PRECONDITION: u32 = 9;
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;
const ANNOTATION: &str = "version.kms.example.com";

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: std::collections::HashMap<String, Vec<u8>>,
}

/// The answer of Decrypt, and the question of Encrypt, which has a uid as well.
#[derive(Clone, PartialEq, Message)]
struct Plain {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "3")]
    annotations: std::collections::HashMap<String, Vec<u8>>,
}

/// A call that is refused.
struct Refused(u32, &'static str);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let socket = arguments.next().context("no socket")?;
    let control = arguments.next().context("no control file")?;
    if socket.exists() {
        std::fs::remove_file(&socket)?;
    }
    let listener = UnixListener::bind(&socket)?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
        let control = control.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, control.clone()));
            let served =
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

/// How it behaves now.
struct Behaviour(BTreeMap<String, String>);

impl Behaviour {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str, default: &'static str) -> String {
        self.0.get(name).map_or_else(|| default.to_owned(), Clone::clone)
    }

    /// Whether the list of that name has this word.
    fn has(&self, name: &str, word: &str) -> bool {
        self.0.get(name).is_some_and(|list| list.split(',').any(|item| item == word))
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, control: PathBuf) -> Result<Response<Body>> {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let body = request.into_body().collect().await?.to_bytes();
    let message = body.get(FRAME_LEN..).context("a message without a frame")?;
    let behaviour = Behaviour::read(&control);
    note(&control, &format!("{call} {}\n", behaviour.get("key", "key-1")))?;
    if behaviour.has("hang", &call) {
        pending::<()>().await;
    }
    let answered = if behaviour.has("fail", &call) {
        Err(Refused(UNAVAILABLE, "the vault is shut"))
    } else if behaviour.has("garbage", &call) {
        Ok(vec![0xff; 64])
    } else if behaviour.has("large", &call) {
        Ok(vec![0; LARGE])
    } else {
        match call.as_str() {
            "status" => Ok(status(&behaviour).encode_to_vec()),
            "encrypt" => encrypt(&behaviour, message).map(|answer| answer.encode_to_vec()),
            "decrypt" => decrypt(&behaviour, message).map(|answer| answer.encode_to_vec()),
            _ => Err(Refused(UNIMPLEMENTED, "no such call")),
        }
    };
    Ok(response(answered)?)
}

fn note(control: &Path, line: &str) -> Result<()> {
    let mut calls = OpenOptions::new().create(true).append(true).open(control.with_added_extension("calls"))?;
    calls.write_all(line.as_bytes())?;
    print!("{line}");
    Ok(())
}

fn response(answered: Result<Vec<u8>, Refused>) -> http::Result<Response<Body>> {
    let response = Response::builder().header("content-type", "application/grpc");
    match answered {
        Err(Refused(code, why)) => {
            let response = response.header("grpc-status", code).header("grpc-message", why);
            response.body(Full::new(Bytes::new()).boxed())
        }
        Ok(message) => {
            let mut framed = vec![0];
            framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
            framed.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(OK));
            let trailers = async move { Some(Ok(trailers)) };
            response.body(Full::new(Bytes::from(framed)).with_trailers(trailers).boxed())
        }
    }
}

fn status(behaviour: &Behaviour) -> StatusResponse {
    StatusResponse {
        version: behaviour.get("version", "v2"),
        healthz: behaviour.get("healthz", "ok"),
        key_id: behaviour.get("key", "key-1"),
    }
}

fn encrypt(behaviour: &Behaviour, message: &[u8]) -> Result<EncryptResponse, Refused> {
    let request = Plain::decode(message).map_err(|_| Refused(UNAVAILABLE, "no message"))?;
    let id = behaviour.get("key", "key-1");
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| Refused(UNAVAILABLE, "no randomness"))?;
    let mut sealed = request.plaintext;
    let place = Aad::from(id.as_bytes());
    let done = key(&id).seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place, &mut sealed);
    done.map_err(|_| Refused(UNAVAILABLE, "no cipher"))?;
    let mut answer = EncryptResponse {
        ciphertext: [&nonce[..], &sealed].concat(),
        key_id: id,
        annotations: [(ANNOTATION.to_owned(), b"1".to_vec())].into(),
    };
    match behaviour.get("wrong", "").as_str() {
        "key-id" => answer.key_id = "another".to_owned(),
        "long-key-id" => answer.key_id = "k".repeat(1025),
        "long-ciphertext" => answer.ciphertext.resize(1025, 0),
        "long-annotations" => {
            answer.annotations.insert("large.kms.example.com".to_owned(), vec![0; 32 << 10]);
        }
        "annotation-name" => {
            answer.annotations.insert("nodomain".to_owned(), Vec::new());
        }
        _ => {}
    }
    Ok(answer)
}

fn decrypt(behaviour: &Behaviour, message: &[u8]) -> Result<Plain, Refused> {
    let request = DecryptRequest::decode(message).map_err(|_| Refused(UNAVAILABLE, "no message"))?;
    let refused = Refused(FAILED_PRECONDITION, "not encrypted here");
    if behaviour.has("lost", &request.key_id) || request.annotations.get(ANNOTATION).is_none_or(|one| one != b"1") {
        return Err(refused);
    }
    let Some((nonce, sealed)) = request.ciphertext.split_first_chunk::<NONCE_LEN>() else { return Err(refused) };
    let mut sealed = sealed.to_vec();
    let place = Aad::from(request.key_id.as_bytes());
    let opened = key(&request.key_id).open_in_place(Nonce::assume_unique_for_key(*nonce), place, &mut sealed);
    let Ok(plain) = opened else { return Err(refused) };
    let mut plaintext = plain.to_vec();
    if behaviour.has("wrong", "short-key") {
        plaintext.truncate(31);
    }
    Ok(Plain { plaintext, uid: String::new() })
}

/// The key of this id. It is no secret: this is a test's plugin.
fn key(id: &str) -> LessSafeKey {
    let bytes = digest::digest(&digest::SHA256, id.as_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_ref()).expect("32 bytes are a key"))
}
