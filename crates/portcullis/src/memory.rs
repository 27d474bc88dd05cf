//! How much memory the store may take when nobody says: half of what this process may have at all; in which pages it comes; and when what
//! the program itself takes is given back.

use std::{fs, time::Duration};

use portcullis_node::program_pages;

/// Where the kernel says how much a control group may have, and how much there is.
const GROUP_LIMIT: &str = "/sys/fs/cgroup/memory.max";
const MACHINE: &str = "/proc/meminfo";
const MIB: usize = 1 << 20;
/// When the program is given back for the first time: a start is over by then.
const PROGRAM_GIVEN_BACK_FIRST: Duration = Duration::from_secs(2);
/// How often from there on. What is used meanwhile is mapped again, for some hundred microseconds of processor time in all.
const PROGRAM_GIVEN_BACK_EVERY: Duration = Duration::from_secs(300);

/// The budget in bytes: as given, in MiB, or half of the group's or machine's memory.
pub(crate) fn budget(given: Option<u32>) -> usize {
    if let Some(mib) = given {
        return usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(MIB);
    }
    let group = fs::read_to_string(GROUP_LIMIT).ok().and_then(|text| text.trim().parse().ok());
    let machine = fs::read_to_string(MACHINE).ok().and_then(|text| total(&text));
    match group.into_iter().chain(machine).min() {
        Some(bytes) => bytes / 2,
        None => portcullis_store::budget::LIMIT_BYTES_DEFAULT,
    }
}

/// Whether this process, and what it becomes, may be given huge pages where the system gives them to everybody (docs/decisions/0011). A kernel
/// that does not know the question goes on as it did.
pub(crate) fn allow_huge_pages(are_allowed: bool) {
    let _ = nix::sys::prctl::set_thp_disable(!are_allowed);
}

/// Gives what of the program is not being used back, again and again (docs/decisions/0020).
pub(crate) async fn give_program_back() {
    let mut pause = PROGRAM_GIVEN_BACK_FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = PROGRAM_GIVEN_BACK_EVERY;
        // The kernel counts all pages of this process for it, which may be many.
        match tokio::task::spawn_blocking(program_pages::give_back).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the memory of what is not used of the program is not given back");
                return;
            }
            // The runtime ends.
            Err(_) => return,
        }
    }
}

/// The total of the machine, in bytes.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let check = |text: &str, expected: Option<usize>| assert_eq!(total(text), expected, "{text}");
        check("MemTotal:       24684852 kB\nMemFree: 1 kB\n", Some(24_684_852 * 1024));
        check("MemFree: 1 kB\n", None);
        check("MemTotal: many\n", None);
        assert_eq!(budget(Some(64)), 64 * MIB);
    }
}
