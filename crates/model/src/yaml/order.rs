//! The order of keys in YAML answers: letters after everything else, numbers inside names by their value, so that `a2`
//! stands before `a10`.

//!
//! The order is upstream's and no total one: `08` stands before `0b`, `0b` before `1.5`, `1.5` before `08`. So the
//! standard library's sort, which may panic then, is not for it.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// Sorts by key: by bytes first, so that the outcome depends on the keys only, then by [`compare`] in a merge sort. Of
/// equal keys only the last stays.
pub(super) fn sort<'a, T: Copy>(items: &mut Vec<T>, key: impl Fn(&T) -> &'a str) {
    items.sort_by(|a, b| key(a).cmp(key(b)));
    items.dedup_by(|later, kept| {
        let is_same = key(later) == key(kept);
        if is_same {
            *kept = *later;
        }
        is_same
    });
    let mut runs: VecDeque<Vec<T>> = items.iter().map(|&item| vec![item]).collect();
    while let Some(left) = runs.pop_front() {
        let Some(right) = runs.pop_front() else {
            *items = left;
            return;
        };
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let from = if compare(key(a), key(b)) == Ordering::Greater { &mut right } else { &mut left };
            merged.extend(from.next());
        }
        merged.extend(left);
        merged.extend(right);
        runs.push_back(merged);
    }
}

/// Compares two keys.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let common = common_prefix(left, right);
    let (head, left_rest) = left.split_at(common);
    let right_rest = right.get(common..).unwrap_or_default();
    let (Some(a), Some(b)) = (left_rest.chars().next(), right_rest.chars().next()) else {
        return left_rest.len().cmp(&right_rest.len());
    };
    match (a.is_alphabetic(), b.is_alphabetic()) {
        (true, true) => return a.cmp(&b),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let after_digits =
        (a == '0' || b == '0') && head.chars().rev().take_while(|c| is_digit(*c)).any(|digit| digit != '0');
    let (a_value, a_len) = number(left_rest, after_digits);
    let (b_value, b_len) = number(right_rest, after_digits);
    a_value.cmp(&b_value).then(a_len.cmp(&b_len)).then(a.cmp(&b))
}

/// Length in bytes of what two texts have in common.
fn common_prefix(left: &str, right: &str) -> usize {
    let pairs = left.char_indices().zip(right.chars());
    let mut len = 0;
    for ((at, a), b) in pairs {
        if a != b {
            return at;
        }
        len = at + a.len_utf8();
    }
    len
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// The number at the start of a text and its length in digits. Inside a longer number leading zeros count, which a one
/// in front of both sides sees to.
fn number(text: &str, is_inside: bool) -> (i64, usize) {
    let mut value = i64::from(is_inside);
    let mut len = 0;
    for digit in text.chars().take_while(|c| is_digit(*c)) {
        // Upstream's numbers wrap as well.
        value = value.wrapping_mul(10).wrapping_add(i64::from(u32::from(digit) - u32::from('0')));
        len += 1;
    }
    (value, len)
}
