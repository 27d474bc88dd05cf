//! Gives back the memory that holds the program's own file (docs/decisions/0020).
//!
//! The kernel maps 64 KiB around each place of the program that is used for the first time, and takes nothing back while there is memory
//! left. A start uses a little of everything once; what is left afterwards counts as this process's. A page that is needed again comes
//! out of the page cache, without reading the disk.

#![allow(unsafe_code)]

use std::{collections::HashSet, ffi::c_void, fs, io, num::ParseIntError, ptr::NonNull};

use nix::{
    errno::Errno,
    sys::mman::{MmapAdvise, madvise},
};

/// Where the kernel says what is mapped, some lines a mapping.
const MAPPINGS: &str = "/proc/self/smaps";
/// Rights of what may be run, and what a program reads beside it; this process's own if it ever were written to, which it may not be.
const CODE: &str = "r-xp";
const CONSTANTS: &str = "r--p";
/// The line that says how much of a mapping is not what its file has.
const OWN: &str = "Anonymous:";

/// Why it was not given back. Nothing else is the matter then.
#[derive(Debug, thiserror::Error)]
pub enum GiveBackError {
    /// What is mapped cannot be known: there is no `/proc`, for instance.
    #[error("cannot read {MAPPINGS}")]
    UnknownMappings {
        /// What the system said.
        source: io::Error,
    },
    /// The kernel wrote a line that cannot be understood.
    #[error("cannot understand {line:?} in {MAPPINGS}")]
    StrangeMapping {
        /// The line.
        line: String,
    },
    /// The kernel refused.
    #[error("cannot give it back")]
    Refused {
        /// What it said.
        source: Errno,
    },
}

/// What is mapped of a file for reading only, and was not changed since.
#[derive(Debug, PartialEq)]
struct Mapping<'a> {
    start: usize,
    bytes: usize,
    rights: &'a str,
    file: &'a str,
}

/// Gives back the pages of the program and its libraries, and says how many bytes were looked at. To the process nothing changes: a page
/// comes back by itself when it is used. Takes as long as the kernel needs to count this process's pages (a millisecond for 200 MiB), and
/// each page that is used again about a microsecond.
pub fn give_back() -> Result<usize, GiveBackError> {
    let said = fs::read_to_string(MAPPINGS).map_err(|source| GiveBackError::UnknownMappings { source })?;
    let unchanged = unchanged(&said)?;
    // A file of which nothing can be run is neither the program nor a library.
    let files: HashSet<&str> = unchanged.iter().filter(|found| found.rights == CODE).map(|found| found.file).collect();
    let mut given = 0;
    for Mapping { start, bytes, file, .. } in unchanged {
        let first = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(start));
        let Some(first) = first.filter(|_| files.contains(file)) else { continue };
        // SAFETY: the advice drops pages, and what is read there next is what the file has. That is what these pages hold: they are of a
        // file, nobody may write to them, and the kernel counts none that differs from it, so whoever reads one through a reference sees
        // the same bytes before and after. That stays so between the look and the advice: rights of these places change, and they are
        // mapped and unmapped, only when libraries are loaded, and this program loads none after its start.
        unsafe { madvise(first, bytes, MmapAdvise::MADV_DONTNEED) }
            .map_err(|source| GiveBackError::Refused { source })?;
        given += bytes;
    }
    Ok(given)
}

/// The mappings of files, for reading only, of which nothing was changed.
fn unchanged(said: &str) -> Result<Vec<Mapping<'_>>, GiveBackError> {
    let (mut all, mut last) = (Vec::new(), None);
    for line in said.lines() {
        match line.strip_prefix(OWN) {
            Some(changed) => all.extend(last.take().filter(|_| changed.trim() == "0 kB")),
            // A name with a colon at its end begins each line but the first of a mapping.
            None if line.split_ascii_whitespace().next().is_some_and(|name| name.ends_with(':')) => {}
            None => last = mapping(line).map_err(|_| GiveBackError::StrangeMapping { line: line.to_owned() })?,
        }
    }
    Ok(all)
}

/// What the first line of a mapping says, if it is of a file and for reading only: `start-end rights offset device inode path`.
fn mapping(line: &str) -> Result<Option<Mapping<'_>>, ParseIntError> {
    let mut fields = line.split_ascii_whitespace();
    let range = fields.next().and_then(|range| range.split_once('-'));
    let rights = fields.next().filter(|rights| [CODE, CONSTANTS].contains(rights));
    // The kernel's own ([vdso]) has no file.
    let file = line.find('/').map(|at| &line[at..]);
    let (Some((start, end)), Some(rights), Some(file)) = (range, rights, file) else { return Ok(None) };
    let (start, end) = (usize::from_str_radix(start, 16)?, usize::from_str_radix(end, 16)?);
    Ok(Some(Mapping { start, bytes: end.saturating_sub(start), rights, file }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_read_of_files_is_named() {
        let check = |line: &str, expected: Option<(usize, usize, &str)>| {
            let expected = expected.map(|(start, bytes, file)| (start, bytes, file.to_owned()));
            let found = mapping(line).unwrap().map(|found| (found.start, found.bytes, found.file.to_owned()));
            assert_eq!(found, expected, "{line}");
        };
        let line = "55ace642d000-55ace642f000 r-xp 00616000 fe:00 9977860   /usr/bin/portcullis";
        check(line, Some((0x55ac_e642_d000, 0x2000, "/usr/bin/portcullis")));
        check("1000-3000 r--p 00000000 fe:00 1 /a b (deleted)", Some((0x1000, 0x2000, "/a b (deleted)")));
        check("1000-3000 rw-p 00000000 fe:00 1 /usr/bin/portcullis", None);
        check("1000-3000 rwxp 00000000 fe:00 1 /usr/bin/portcullis", None);
        check("1000-3000 r-xs 00000000 fe:00 1 /usr/bin/portcullis", None);
        check("7ffd1000-7ffd3000 r-xp 00000000 00:00 0                          [vdso]", None);
        check("1000-3000 r-xp 00000000 00:00 0", None);
        check("", None);
        assert!(mapping("1000-30x0 r-xp 00000000 fe:00 1 /usr/bin/portcullis").is_err());
    }

    #[test]
    fn what_was_changed_is_not_named() {
        let said = "1000-3000 r-xp 00000000 fe:00 1 /a\nRss:   4 kB\nAnonymous:             0 kB\nVmFlags: rd ex\n\
                    3000-5000 r--p 00002000 fe:00 1 /a\nAnonymous:             4 kB\nVmFlags: rd\n\
                    5000-6000 rw-p 00004000 fe:00 1 /a\nAnonymous:             0 kB\n";
        let found = unchanged(said).unwrap();
        assert_eq!(found, [Mapping { start: 0x1000, bytes: 0x2000, rights: CODE, file: "/a" }]);
    }

    /// KiB of what can be given back that are in memory.
    fn held() -> usize {
        let said = fs::read_to_string(MAPPINGS).unwrap();
        let (mut is_named, mut held) = (false, 0);
        for line in said.lines() {
            match line.strip_prefix("Rss:") {
                Some(rss) if is_named => held += rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap(),
                Some(_) => {}
                None if line.contains(": ") => {}
                None => is_named = mapping(line).unwrap().is_some_and(|found| found.rights == CODE),
            }
        }
        held
    }

    #[test]
    fn the_process_goes_on_with_less() {
        // Something that uses code which is not used again.
        let written = || format!("{:?}", (1..100).map(|number| f64::from(number).sqrt()).collect::<Vec<_>>());
        let (first, before) = (written(), held());
        assert!(give_back().unwrap() >= before * 1024);
        let after = held();
        assert!(after < before, "{after} KiB of code, {before} before");
        assert_eq!(written(), first);
    }
}
