//! What a disk may hold after the power went: everything that was synced, and of the rest anything.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::disk::{Image, Node, Op, write_at};
use crate::random::Dice;

/// What disks write whole, as long as the power stays.
const SECTOR_BYTES: usize = 512;

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of it is there: the process was killed.
    Kill,
    /// None of it.
    Forget,
    /// Each write, or each sector of it, or each byte, may be there or not, in any order.
    Scatter,
}

impl Crash {
    pub const ALL: [Crash; 3] = [Crash::Kill, Crash::Forget, Crash::Scatter];
}

#[derive(Clone)]
enum Unsynced {
    Write { at: usize, bytes: Arc<[u8]> },
    Truncate(usize),
}

#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

/// What is durable after so many operations, and what is not yet.
#[derive(Clone, Default)]
pub struct Durable {
    names: BTreeMap<PathBuf, Node>,
    unsynced_names: Vec<Op>,
    files: Vec<File>,
}

impl Durable {
    /// Everything of an image is durable.
    pub fn of(image: &Image) -> Durable {
        let files = image.files.iter().map(|content| File { synced: content.clone(), unsynced: Vec::new() }).collect();
        Durable { names: image.names.clone(), unsynced_names: Vec::new(), files }
    }

    pub fn advance(&mut self, op: &Op, dice: &mut Dice) {
        match op {
            Op::Name(_, node) => {
                if let Some(Node::File(file)) = node
                    && self.files.len() <= *file
                {
                    self.files.resize_with(file + 1, File::default);
                }
                self.unsynced_names.push(op.clone());
            }
            Op::Rename(..) => self.unsynced_names.push(op.clone()),
            Op::SyncNames(directory) => {
                let is_in = |path: &PathBuf| path.parent() == Some(directory);
                let (now, later) = std::mem::take(&mut self.unsynced_names).into_iter().partition(|op| match op {
                    Op::Name(path, _) | Op::Rename(path, _) => is_in(path),
                    _ => false,
                });
                self.unsynced_names = later;
                Vec::into_iter(now).for_each(|op| name(&mut self.names, &op));
            }
            Op::Write { file, at, bytes } => {
                self.files[*file].unsynced.push(Unsynced::Write { at: *at, bytes: bytes.clone() });
            }
            Op::Truncate { file, size } => self.files[*file].unsynced.push(Unsynced::Truncate(*size)),
            Op::Sync(file) => {
                let File { synced, unsynced } = &mut self.files[*file];
                unsynced.drain(..).for_each(|one| apply(synced, &one));
            }
            Op::SyncFailed(file) => {
                let file = &mut self.files[*file];
                file.synced = file.after(Crash::Scatter, dice);
                file.unsynced.clear();
            }
        }
    }

    /// What is left when the power goes now.
    pub fn crash(&self, crash: Crash, dice: &mut Dice) -> Image {
        let mut names = self.names.clone();
        for op in &self.unsynced_names {
            if crash == Crash::Kill || (crash == Crash::Scatter && dice.below(2) == 0) {
                name(&mut names, op);
            }
        }
        let named: Vec<usize> = names
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Directory => None,
            })
            .collect();
        // Whatever is in a directory that is not there is not there either.
        let all = names.clone();
        let depth = |path: &PathBuf| path.parent().is_some_and(|parent| all.contains_key(parent));
        names.retain(|path, node| *node == Node::Directory || depth(path));
        let content = |(number, file): (usize, &File)| {
            if named.contains(&number) { file.after(crash, dice) } else { Vec::new() }
        };
        Image { names, files: self.files.iter().enumerate().map(content).collect() }
    }
}

fn name(names: &mut BTreeMap<PathBuf, Node>, op: &Op) {
    match op {
        Op::Name(path, Some(node)) => drop(names.insert(path.clone(), *node)),
        Op::Name(path, None) => drop(names.remove(path)),
        Op::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        _ => {}
    }
}

fn apply(content: &mut Vec<u8>, one: &Unsynced) {
    match one {
        Unsynced::Write { at, bytes } => write_at(content, *at, bytes),
        Unsynced::Truncate(size) => content.truncate(*size),
    }
}

impl File {
    fn after(&self, crash: Crash, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.synced.clone();
        match crash {
            Crash::Kill => self.unsynced.iter().for_each(|one| apply(&mut content, one)),
            Crash::Forget => {}
            Crash::Scatter => {
                let mut order: Vec<&Unsynced> = self.unsynced.iter().collect();
                if dice.below(2) == 0 {
                    for at in (1..order.len()).rev() {
                        order.swap(at, dice.below(at + 1));
                    }
                }
                // Often nearly all, often nearly nothing.
                let kept_of_eight = dice.below(9);
                for one in order {
                    scatter(&mut content, one, kept_of_eight, dice);
                }
            }
        }
        content
    }
}

fn scatter(content: &mut Vec<u8>, one: &Unsynced, kept_of_eight: usize, dice: &mut Dice) {
    let mut is_kept = || dice.below(8) < kept_of_eight;
    match one {
        Unsynced::Truncate(_) => {
            if is_kept() {
                apply(content, one);
            }
        }
        Unsynced::Write { at, bytes } => {
            let whole = is_kept();
            if dice.below(4) != 0 {
                if whole {
                    apply(content, one);
                }
                return;
            }
            // Torn: sector by sector, and one of them in the middle, either way.
            let (torn, is_front) = (dice.below(bytes.len().max(1)), dice.below(2) == 0);
            let mut from = 0;
            while from < bytes.len() {
                let end = bytes.len().min(from + SECTOR_BYTES - (at + from) % SECTOR_BYTES);
                let kept = match (from..end).contains(&torn) {
                    true if is_front => from..torn,
                    true => torn..end,
                    false if dice.below(2) == 0 => from..end,
                    false => from..from,
                };
                if !kept.is_empty() {
                    write_at(content, at + kept.start, &bytes[kept]);
                }
                from = end;
            }
        }
    }
}
