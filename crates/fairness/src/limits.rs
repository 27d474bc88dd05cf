//! Shares out all seats to the levels: what is a level's own, what of it is always kept for it, what it may have at most.

use crate::configuration::{Level, LevelKind};

/// The seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Its own.
    pub(crate) nominal: u64,
    /// Those of its own that nobody may borrow.
    pub(crate) lower: u64,
    /// All that it may use, its own and borrowed ones.
    pub(crate) upper: u64,
}

/// Returns the limits of each level, in the order given. Own seats are rounded up, so together they may be as many more than
/// `seats` as there are levels.
pub(crate) fn share_out(seats: u32, levels: &[&Level]) -> Vec<Limits> {
    let seats = u64::from(seats);
    let all: u64 = levels.iter().map(|level| u64::from(level.shares)).sum();
    let of = |level: &&Level| {
        let nominal = (seats * u64::from(level.shares)).div_ceil(all.max(1));
        let lower = nominal - percent(nominal, level.lendable_percent.min(100));
        let upper = match level.kind {
            LevelKind::Exempt | LevelKind::Limited { borrowing_limit_percent: None, .. } => seats.max(nominal),
            LevelKind::Limited { borrowing_limit_percent: Some(limit), .. } => nominal + percent(nominal, limit),
        };
        Limits { nominal, lower, upper }
    };
    levels.iter().map(of).collect()
}

/// Rounds half up, as upstream's `math.Round` does.
fn percent(of: u64, percent: u32) -> u64 {
    (of * u64::from(percent) + 50) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Overload;

    fn level(shares: u32, lendable_percent: u32, borrowing_limit_percent: Option<u32>) -> Level {
        let kind = LevelKind::Limited { borrowing_limit_percent, overload: Overload::Reject };
        Level { name: shares.to_string(), uid: String::new(), shares, lendable_percent, kind }
    }

    /// The levels of every cluster at 600 seats, as upstream's `nominal_limit_seats` and `lower_limit_seats` show them.
    #[test]
    fn the_suggested_levels_get_what_they_get_upstream() {
        let rows = [
            (0, 0, 0, 0),
            (30, 33, 74, 50),
            (40, 25, 98, 73),
            (10, 0, 25, 25),
            (40, 50, 98, 49),
            (100, 90, 245, 24),
            (20, 50, 49, 24),
            (5, 0, 13, 13),
        ];
        let levels: Vec<Level> = rows.iter().map(|row| level(row.0, row.1, None)).collect();
        let limits = share_out(600, &levels.iter().collect::<Vec<_>>());
        for (row, limits) in rows.iter().zip(limits) {
            assert_eq!(limits, Limits { nominal: row.2, lower: row.3, upper: 600 }, "{row:?}");
        }
    }

    #[test]
    fn borrowing_has_its_limit_and_nothing_divides_by_zero() {
        let check = |seats, level: &Level, expected| {
            assert_eq!(share_out(seats, &[level]), [expected], "{level:?}");
        };
        check(10, &level(1, 0, Some(0)), Limits { nominal: 10, lower: 10, upper: 10 });
        check(10, &level(1, 100, Some(50)), Limits { nominal: 10, lower: 0, upper: 15 });
        check(10, &level(1, 900, Some(400)), Limits { nominal: 10, lower: 0, upper: 50 });
        check(10, &level(0, 0, Some(50)), Limits { nominal: 0, lower: 0, upper: 0 });
        check(0, &level(7, 0, None), Limits::default());
        check(
            u32::MAX,
            &level(u32::MAX, 0, None),
            Limits { nominal: 4294967295, lower: 4294967295, upper: 4294967295 },
        );
    }
}
