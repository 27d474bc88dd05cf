//! Indexes of an indexed job as text, `1,3-5,7` (upstream: `validateIndexesFormat`).

use portcullis_model::go_text::quoted;

/// From the first index to the last, both within.
type Interval = (i64, i64);

/// How many indexes a text names, when all are below the job's completions and each is above the one before.
///
/// # Errors
/// What is wrong with the text, in upstream's words.
pub fn count(text: &str, completions: i32) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut before) = (0, None);
    for part in text.split(',') {
        let (first, last) = interval(part, completions)?;
        if let Some(before) = before.filter(|before| *before >= first) {
            return Err(not_increasing(before, first));
        }
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

/// The first index that two texts both name. Parts that make no sense are passed over: they are complained about where they stand.
pub fn overlap(one: &str, other: &str, completions: i32) -> Option<i64> {
    let read =
        |text: &str| -> Vec<Interval> { text.split(',').filter_map(|part| interval(part, completions).ok()).collect() };
    let (one, other) = (read(one), read(other));
    let (mut ones, mut others) = (one.iter().peekable(), other.iter().peekable());
    while let (Some((first, last)), Some((other_first, other_last))) = (ones.peek(), others.peek()) {
        if first <= other_last && other_first <= last {
            return Some(*first.max(other_first));
        }
        if first <= other_first {
            ones.next()
        } else {
            others.next()
        };
    }
    None
}

fn interval(part: &str, completions: i32) -> Result<Interval, String> {
    let (first, last) = match part.split_once('-') {
        Some((first, last)) => (first, Some(last)),
        None => (part, None),
    };
    if last.is_some_and(|last| last.contains('-')) {
        let part = quoted(part);
        return Err(format!(
            "the fragment {part} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let first = index(first, completions)?;
    let Some(last) = last else { return Ok((first, first)) };
    let last = index(last, completions)?;
    if first >= last {
        return Err(not_increasing(first, last));
    }
    Ok((first, last))
}

fn index(text: &str, completions: i32) -> Result<i64, String> {
    // A sign before it is read as Go reads it; a minus cannot be here, for it separates.
    let index: i64 =
        text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quoted(text)))?;
    if index >= i64::from(completions) {
        return Err(format!("too large index: {}", quoted(text)));
    }
    Ok(index)
}

fn not_increasing(before: i64, now: i64) -> String {
    format!("non-increasing order, previous: {before}, current: {now}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted() {
        let check = |text: &str, completions: i32, expected: Result<i64, &str>| {
            assert_eq!(count(text, completions), expected.map_err(str::to_owned), "{text}");
        };
        check("", 4, Ok(0));
        check("0", 4, Ok(1));
        check("0-1,3", 4, Ok(3));
        check("4", 4, Err(r#"too large index: "4""#));
        check("0-4", 4, Err(r#"too large index: "4""#));
        check("other", 4, Err(r#"cannot convert string to integer for index: "other""#));
        check("0,", 4, Err(r#"cannot convert string to integer for index: """#));
        check("1-1", 4, Err("non-increasing order, previous: 1, current: 1"));
        check("0-2,2", 4, Err("non-increasing order, previous: 2, current: 2"));
        let three = "the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'";
        check("0-1-2", 4, Err(three));
    }

    #[test]
    fn overlaps_are_found() {
        let check = |one: &str, other: &str, expected: Option<i64>| assert_eq!(overlap(one, other, 100), expected);
        check("", "1", None);
        check("0-3,7", "4-6,8", None);
        check("0-3,7", "4-7", Some(7));
        check("x,5", "2-9", Some(5));
    }
}
