//! Ports of the nodes: which ones services have, as one stored object (upstream: `portallocator`, a `RangeAllocation` at
//! `/registry/ranges/servicenodeports`; KEP-3668 for the two bands). It is changed in the commit of the service that takes or gives back
//! a port, on the condition that nobody else has changed it.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::decode_protobuf::{self, Envelope};
use portcullis_model::schema::{TypeId, encode_json, encode_protobuf};
use portcullis_store::{Entry, Operation};
use serde_json::Value;

use super::drawn::{Drawn, Kept};

/// Where the object is.
pub(crate) const KEY: &str = "/registry/ranges/servicenodeports";
/// What it is. It is stored in upstream's form everywhere, since nobody is served it.
const KIND: &str = "RangeAllocation";
/// Ports that are left to who asks for them: a thirty-second of the range, but no fewer and no more than these. In a range that is no
/// larger than the fewest: none.
const BAND_SHARE: usize = 32;
const BAND_MIN: usize = 16;
const BAND_MAX: usize = 128;
/// The port before the first that a dry run answers with.
const DRY_RUN_BEFORE: i32 = 32_768;
/// Up to which a dry run looks for a port that is free.
const DRY_RUN_LOOKED_UP_TO: i32 = 100;
/// Bits of a word.
const WORD: usize = 64;

pub(crate) const TAKEN: &str = "provided port is already allocated";
pub(crate) const FULL: &str = "range is full";

/// A range of ports, as in `--service-node-port-range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A text that is no range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a port range looks like 30000-32767, and 0 is no port")]
pub struct PortRangeError;

impl PortRange {
    /// Upstream's range.
    pub const UPSTREAM: PortRange = PortRange { first: 30_000, last: 32_767 };

    pub(crate) fn holds(self, port: i32) -> bool {
        (i32::from(self.first)..=i32::from(self.last)).contains(&port)
    }

    fn size(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// What is drawn from first, and what only when that has none left.
    fn bands(self) -> [RangeInclusive<u16>; 2] {
        let size = self.size();
        let band = if size <= BAND_MIN { 0 } else { (size / BAND_SHARE).clamp(BAND_MIN, BAND_MAX) };
        let drawn_from = self.first + band as u16;
        // An empty band begins behind its end.
        let lower = if band == 0 { RangeInclusive::new(1, 0) } else { self.first..=drawn_from - 1 };
        [drawn_from..=self.last, lower]
    }
}

impl Default for PortRange {
    fn default() -> Self {
        PortRange::UPSTREAM
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    /// `30000-32767`, `30000+2767` for so many more, or one port.
    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| PortRangeError);
        let (first, last) = if let Some((first, more)) = text.split_once('+') {
            let first = port(first)?;
            (first, first.checked_add(port(more)?).ok_or(PortRangeError)?)
        } else if let Some((first, last)) = text.split_once('-') {
            (port(first)?, port(last)?)
        } else {
            (port(text)?, port(text)?)
        };
        if first == 0 || last < first { Err(PortRangeError) } else { Ok(PortRange { first, last }) }
    }
}

/// A set of ports.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PortSet(Box<[u64]>);

impl PortSet {
    pub(crate) fn new() -> PortSet {
        PortSet(vec![0; (usize::from(u16::MAX) + 1) / WORD].into())
    }

    pub(crate) fn holds(&self, port: u16) -> bool {
        let port = usize::from(port);
        self.0.get(port / WORD).is_some_and(|word| word >> (port % WORD) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, port: u16) {
        let port = usize::from(port);
        if let Some(word) = self.0.get_mut(port / WORD) {
            *word |= 1 << (port % WORD);
        }
    }

    pub(crate) fn remove(&mut self, port: u16) {
        let port = usize::from(port);
        if let Some(word) = self.0.get_mut(port / WORD) {
            *word &= !(1 << (port % WORD));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> {
        let of_word = |(at, word): (usize, &u64)| {
            let (mut left, first) = (*word, at * WORD);
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                u16::try_from(first + bit).ok()
            })
        };
        self.0.iter().enumerate().flat_map(of_word)
    }

    /// Reads the stored object: bit 0 of the last byte is the first port of its range. Nothing when it is none.
    fn read(value: &[u8]) -> Option<PortSet> {
        let envelope = Envelope::read(value).ok().filter(|envelope| envelope.kind == KIND)?;
        let tree = decode_protobuf::decode(portcullis_kinds::schema(), type_id()?, envelope.raw).ok()?;
        let object: Value = serde_json::from_slice(&encode_json::to_vec(portcullis_kinds::schema(), &tree)).ok()?;
        let range: PortRange = object.get("range")?.as_str()?.parse().ok()?;
        let data = STANDARD.decode(object.get("data")?.as_str().unwrap_or_default()).ok()?;
        let mut ports = PortSet::new();
        for (at, octet) in data.iter().rev().enumerate() {
            for bit in (0..8usize).filter(|bit| octet >> bit & 1 == 1) {
                let port = usize::from(range.first) + at * 8 + bit;
                ports.insert(u16::try_from(port).ok().filter(|port| range.holds(i32::from(*port)))?);
            }
        }
        Some(ports)
    }

    /// Writes the object, as upstream has it in etcd; what is outside of the range is left out.
    fn write(&self, range: PortRange) -> Bytes {
        let mut octets = vec![0u8; range.size().div_ceil(8)];
        for port in self.iter().filter(|port| range.holds(i32::from(*port))) {
            let at = usize::from(port - range.first);
            if let Some(octet) = octets.get_mut(at / 8) {
                *octet |= 1 << (at % 8);
            }
        }
        // A number, its highest byte first and without zeros before it.
        let data: Vec<u8> = octets.into_iter().rev().skip_while(|octet| *octet == 0).collect();
        let text = format!(r#"{{"metadata":{{}},"range":"{range}","data":"{}"}}"#, STANDARD.encode(data));
        let schema = portcullis_kinds::schema();
        let read = |ty| decode_json::decode(schema, ty, text.into_bytes(), FieldValidation::Ignore).ok();
        // It is an object of its type by what it is written from, so none is lost.
        let message = type_id().and_then(read).map(|read| encode_protobuf::encode(schema, &read.tree));
        encode_protobuf::envelope("v1", KIND, &message.unwrap_or_default()).into()
    }

    /// Makes the change to what is stored.
    pub(crate) fn operation(&self, range: PortRange, entry: Option<&Entry>) -> Operation {
        match entry {
            Some(entry) => Operation::update(KEY, entry.version, self.write(range)),
            None => Operation::create(KEY, self.write(range)),
        }
    }

    /// The ports that are taken; none before the first. One that cannot be read is an error: a server that went on would give ports
    /// out twice.
    pub(crate) fn stored(entry: Option<&Entry>) -> Result<PortSet, Unreadable> {
        entry.map_or_else(|| Ok(PortSet::new()), |entry| PortSet::read(&entry.value).ok_or(Unreadable))
    }
}

/// The type of the object; no path serves it.
fn type_id() -> Option<TypeId> {
    portcullis_kinds::schema().by_name("api.core.v1.RangeAllocation")
}

/// What is stored is no allocation of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored allocation of node ports cannot be read")]
pub(crate) struct Unreadable;

/// What one write takes and gives back (upstream: `PortAllocationOperation`).
pub(crate) struct Ports<'a> {
    pub(crate) range: PortRange,
    /// What is taken in the state that the write is decided on.
    pub(crate) held: PortSet,
    pub(crate) drawn: &'a Drawn<u16>,
    pub(crate) dry_run: bool,
    pub(crate) taken: HashSet<i32>,
    pub(crate) released: Vec<i32>,
    pub(crate) kept: Vec<Kept<u16>>,
    /// The highest that is taken.
    highest: Option<i32>,
}

impl<'a> Ports<'a> {
    /// Nothing is taken yet.
    pub(crate) fn new(range: PortRange, held: PortSet, drawn: &'a Drawn<u16>, dry_run: bool) -> Ports<'a> {
        let (taken, released, kept) = (HashSet::new(), Vec::new(), Vec::new());
        Ports { range, held, drawn, dry_run, taken, released, kept, highest: None }
    }

    fn note(&mut self, port: i32) {
        self.taken.insert(port);
        self.highest = self.highest.max(Some(port));
    }

    fn is_held(&self, port: i32) -> bool {
        self.range.holds(port) && u16::try_from(port).is_ok_and(|port| self.held.holds(port))
    }

    /// Takes the port that was asked for. A dry run does not look if it is in the range (as upstream).
    pub(crate) fn take(&mut self, port: i32) -> Result<(), String> {
        if !self.dry_run && !self.range.holds(port) {
            let range = self.range;
            return Err(format!("provided port is not in the valid range. The range of valid ports is {range}"));
        }
        if self.is_held(port) || self.taken.contains(&port) {
            return Err(TAKEN.to_owned());
        }
        self.note(port);
        Ok(())
    }

    /// Takes one that is free.
    pub(crate) fn draw(&mut self, mut random: impl FnMut() -> u128) -> Result<i32, String> {
        if self.dry_run {
            return Ok(self.pretend());
        }
        for band in self.range.bands() {
            let (first, size) = (*band.start(), band.len());
            let from = random() as usize % size.max(1);
            for step in 0..size {
                let port = first + ((from + step) % size) as u16;
                if self.held.holds(port) || self.taken.contains(&i32::from(port)) {
                    continue;
                }
                let Some(kept) = self.drawn.keep(port) else { continue };
                self.kept.push(kept);
                self.note(port.into());
                return Ok(port.into());
            }
        }
        Err(FULL.to_owned())
    }

    /// A port to answer with.
    fn pretend(&mut self) -> i32 {
        let last = self.highest.map_or(DRY_RUN_BEFORE, |last| last.max(0));
        if let Some(port) = (last.saturating_add(1)..DRY_RUN_LOOKED_UP_TO).find(|port| self.take(*port).is_ok()) {
            return port;
        }
        self.note(last.saturating_add(1));
        last.saturating_add(1)
    }

    /// Gives one back.
    pub(crate) fn release(&mut self, port: i32) {
        if !self.dry_run {
            self.released.push(port);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_of_ports() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<PortRange>().ok().map(|range| range.to_string()).as_deref(), expected, "{text}");
        };
        check("30000-32767", Some("30000-32767"));
        check("30000+2767", Some("30000-32767"));
        check("30000", Some("30000-30000"));
        for wrong in ["", "0-10", "10-9", "a-b", "1-65536", "65535+1", "-1", "1-"] {
            check(wrong, None);
        }
        assert_eq!(PortRange::UPSTREAM.bands(), [30_086..=32_767, 30_000..=30_085]);
        assert_eq!(PortRange { first: 100, last: 115 }.bands()[0], 100..=115);
    }

    #[test]
    fn what_is_written_is_read_and_is_upstreams() {
        let range = PortRange::UPSTREAM;
        let mut ports = PortSet::new();
        assert_eq!(PortSet::read(&ports.write(range)).map(|ports| ports.iter().count()), Some(0));
        for port in [30_000, 30_123, 32_201, 32_767] {
            ports.insert(port);
        }
        ports.insert(80);
        let read = PortSet::read(&ports.write(range)).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), [30_000, 30_123, 32_201, 32_767]);
        // 32201 is the highest of two: 276 bytes, the first of them 2, in the message that upstream writes.
        let mut ports = PortSet::new();
        for port in [30_769, 32_201] {
            ports.insert(port);
        }
        let written = ports.write(range);
        let head = b"k8s\0\n\x15\n\x02v1\x12\x0fRangeAllocation\x12\xb6\x02\n\x10\n\0\x12\0\x1a\0\"\0*\x002\x008\0B\0\x12\x0b30000-32767\x1a\x94\x02\x02\0";
        assert!(written.starts_with(head), "{written:?}");
        for wrong in ["", "{}", r#"{"range":"1-2","data":"/w=="}"#, r#"{"range":"x","data":""}"#] {
            assert!(PortSet::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
        let other = encode_protobuf::envelope("v1", KIND, b"\x12\x031-2\x1a\x01\xff");
        assert!(PortSet::read(&other).is_none());
    }

    #[test]
    fn every_port_is_given_out_once() {
        let drawn = Drawn::default();
        let range = PortRange { first: 100, last: 199 };
        let mut ports = Ports::new(range, PortSet::new(), &drawn, false);
        assert_eq!(ports.take(150), Ok(()));
        assert_eq!(ports.take(150), Err(TAKEN.to_owned()));
        let outside = "provided port is not in the valid range. The range of valid ports is 100-199";
        assert_eq!(ports.take(99), Err(outside.to_owned()));
        let mut seed = 0;
        let mut random = || {
            seed += 7919;
            seed
        };
        let all: Vec<i32> = (0..99).map(|_| ports.draw(&mut random).unwrap()).collect();
        assert!(all.iter().take(83).all(|port| *port >= 116) && all.iter().skip(83).all(|port| *port < 116));
        assert_eq!(ports.draw(&mut random), Err(FULL.to_owned()));
        drop(ports);
        assert!(drawn.all().is_empty());
    }

    #[test]
    fn a_dry_run_takes_nothing_and_answers_all_the_same() {
        let drawn = Drawn::default();
        let mut held = PortSet::new();
        held.insert(30_001);
        let mut ports = Ports::new(PortRange::UPSTREAM, held.clone(), &drawn, true);
        assert_eq!(ports.take(80), Ok(()));
        assert_eq!(ports.take(30_001), Err(TAKEN.to_owned()));
        assert_eq!(ports.draw(|| 0), Ok(81));
        let mut ports = Ports::new(PortRange::UPSTREAM, held, &drawn, true);
        assert_eq!((ports.draw(|| 0), ports.draw(|| 0)), (Ok(32_769), Ok(32_770)));
        assert!(drawn.all().is_empty());
    }
}
