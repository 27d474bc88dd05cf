//! What stands in a key file: a head with the version, and a line a key, the newest first.
//!
//! ```text
//! portcullis-seal-key v1
//! key seal-3f9a0b1c22d4e5f6 2026-11-22T09:00:00Z 65536 <secret, base64> <check value>
//! ```
//!
//! The count is that of values that were reserved. The check value is made with the key itself: a bit that flipped on the disk is
//! found when the file is read, and not by secrets that no longer open.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::time::{parse_time, time_text};
use zeroize::Zeroizing;

use crate::cipher::random;
use crate::secret::Secret;

use super::{KeyFileError, WRITES_PER_KEY_MAX};

const HEAD: &str = "portcullis-seal-key ";
const VERSION: &str = "v1";
const KEY: &str = "key";
/// Keys in a file.
pub(super) const KEYS_MAX: usize = 64;
/// Keys in a file that somebody adds a key to; the rest is for successors of keys that are used up.
pub(super) const KEYS_BY_HAND_MAX: usize = 48;
/// Bytes of a file: so many keys, and some comment.
pub(super) const FILE_LEN_MAX: u64 = 64 << 10;
const SECRET_LEN: usize = 32;
const CHECK_LEN: usize = 8;
const ID_LEN_MAX: usize = 64;
/// What the check value is made of, with the id behind it.
const CHECK_WORD: &[u8] = b"portcullis seal key check value\0";

/// Why a text is no key file. Lines are counted from 1, and never repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It does not begin as one.
    #[error("it does not begin with {HEAD:?}{VERSION}")]
    Head,
    /// Another version wrote it.
    #[error("its version is {0:?}, and only {VERSION} is known here")]
    Version(String),
    /// A line is no key.
    #[error("line {line}: {what}")]
    Line {
        /// Which line.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It is larger than so many keys can be.
    #[error("it has more than {FILE_LEN_MAX} bytes")]
    TooLarge,
    /// There is no key in it.
    #[error("it has no key")]
    NoKey,
    /// There are too many.
    #[error("it has {KEYS_MAX} keys: remove the last lines, whose keys nothing is sealed under any more")]
    TooManyKeys,
}

/// What may be known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name, as it stands in what it sealed.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Values that it sealed at most.
    pub writes: u64,
}

/// A line.
pub(super) struct KeyLine {
    pub(super) info: KeyInfo,
    pub(super) secret: Secret<Vec<u8>>,
}

/// A file's lines, the newest first.
#[derive(Default)]
pub(super) struct KeyText(Vec<KeyLine>);

impl KeyText {
    pub(super) fn parse(text: &[u8]) -> Result<Self, TextError> {
        let text = str::from_utf8(text).map_err(|_| TextError::Head)?;
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let head = lines.next().map_or("", |(_, line)| line);
        match head.strip_prefix(HEAD) {
            Some(VERSION) => {}
            Some(version) => return Err(TextError::Version(version.chars().take(ID_LEN_MAX).collect())),
            None => return Err(TextError::Head),
        }
        let mut keys: Vec<KeyLine> = Vec::new();
        for (line, content) in lines {
            if content.trim().is_empty() || content.starts_with('#') {
                continue;
            }
            let key = parse_line(content).map_err(|what| TextError::Line { line, what })?;
            if keys.iter().any(|known| known.info.id == key.info.id) {
                return Err(TextError::Line { line, what: "the id of another line" });
            }
            if keys.len() == KEYS_MAX {
                return Err(TextError::TooManyKeys);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(TextError::NoKey) } else { Ok(Self(keys)) }
    }

    pub(super) fn print(&self) -> Zeroizing<Vec<u8>> {
        // In one piece: a buffer that grows leaves copies of keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(256 * (self.0.len() + 1)));
        out.extend_from_slice(format!("{HEAD}{VERSION}\n").as_bytes());
        out.extend_from_slice(
            b"# Keep a copy of this file, and keep it apart from the data: without it what it sealed is lost.\n",
        );
        for KeyLine { info, secret } in &self.0 {
            let KeyInfo { id, created, writes } = info;
            out.extend_from_slice(format!("{KEY} {id} {} {writes} ", time_text(*created)).as_bytes());
            out.extend_from_slice(Zeroizing::new(STANDARD.encode(&**secret)).as_bytes());
            out.extend_from_slice(format!(" {}\n", check_value(id, secret)).as_bytes());
        }
        out
    }

    pub(super) fn lines(&self) -> &[KeyLine] {
        &self.0
    }

    pub(super) fn newest(&self) -> Option<&KeyLine> {
        self.0.first()
    }

    /// Puts a new key before the others, of whom there are fewer than `keys_max`, and returns its id.
    pub(super) fn add_key(&mut self, keys_max: usize) -> Result<String, KeyFileError> {
        if self.0.len() >= keys_max {
            return Err(KeyFileError::TooManyKeys(self.0.len()));
        }
        let secret = Secret::new(Vec::from(random::<SECRET_LEN>().map_err(|_| KeyFileError::NoRandomness)?));
        let name = u64::from_be_bytes(random().map_err(|_| KeyFileError::NoRandomness)?);
        let id = format!("seal-{name:016x}");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = i64::try_from(since.as_secs()).unwrap_or_default();
        self.0.insert(0, KeyLine { info: KeyInfo { id: id.clone(), created, writes: 0 }, secret });
        Ok(id)
    }

    /// Counts so many values for the newest key, and returns its id.
    pub(super) fn reserve(&mut self, values: u64) -> Option<String> {
        let newest = self.0.first_mut()?;
        newest.info.writes += values;
        Some(newest.info.id.clone())
    }
}

fn parse_line(line: &str) -> Result<KeyLine, &'static str> {
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or("it has too few words");
    let (kind, id, created, writes, secret, check) = (word()?, word()?, word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err("it has too many words");
    }
    if kind != KEY {
        return Err("it is no key");
    }
    let is_id = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if id.is_empty() || id.len() > ID_LEN_MAX || !id.chars().all(is_id) {
        return Err("the id is not made of letters, digits and dashes");
    }
    let created = parse_time(created).map_err(|_| "the time is none")?;
    let writes = writes.parse().ok().filter(|writes| *writes <= WRITES_PER_KEY_MAX);
    let writes = writes.ok_or("the count is none")?;
    let secret = Secret::new(STANDARD.decode(secret).map_err(|_| "the secret is not base64")?);
    if secret.len() != SECRET_LEN {
        return Err("the secret has not 32 bytes");
    }
    if check_value(id, &secret) != check {
        return Err("the secret is not the one that was written: the line was damaged");
    }
    Ok(KeyLine { info: KeyInfo { id: id.to_owned(), created, writes }, secret })
}

/// A few bytes that only this key makes, and that tell nothing about it.
fn check_value(id: &str, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, &[CHECK_WORD, id.as_bytes()].concat());
    tag.as_ref().iter().take(CHECK_LEN).map(|byte| format!("{byte:02x}")).collect()
}
