//! Schedules in five fields (minute, hour, day of month, month, day of week) or by a word (upstream: `robfig/cron` v3,
//! `ParseStandard`, whose complaints reach clients).
//!
//! Only whether a schedule makes sense is said here; when it is due, its controller works out.

use portcullis_model::time::parse_duration;

use super::time_zone;

/// Fields of a schedule.
const FIELDS: usize = 5;

/// Schedules that have a word of their own.
const WORDS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// Before a span of time, from one run to the next.
const EVERY: &str = "@every ";
/// Before a zone, and a space after it.
const ZONES: &[&str] = &["TZ=", "CRON_TZ="];

/// What a field may hold. A name stands for its place in the list, from the least on.
struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

const BOUNDS: [Bounds; FIELDS] = [
    Bounds { least: 0, most: 59, names: &[] },
    Bounds { least: 0, most: 23, names: &[] },
    Bounds { least: 1, most: 31, names: &[] },
    Bounds {
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// Whether a schedule makes sense.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let schedule = without_zone(schedule)?;
    if schedule.starts_with('@') {
        return word(schedule);
    }
    // A text of many fields is refused by their number alone, which is why they are not kept.
    let count = schedule.split_whitespace().count();
    if count != FIELDS {
        let found: Vec<&str> = schedule.split_whitespace().collect();
        return Err(format!("expected exactly {FIELDS} fields, found {count}: [{}]", found.join(" ")));
    }
    for (text, bounds) in schedule.split_whitespace().zip(&BOUNDS) {
        for range in text.split(',').filter(|range| !range.is_empty()) {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

/// The schedule behind its zone. A zone that nothing follows is no field either.
fn without_zone(schedule: &str) -> Result<&str, String> {
    let Some(rest) = ZONES.iter().find_map(|prefix| schedule.strip_prefix(prefix)) else { return Ok(schedule) };
    let Some((zone, rest)) = rest.split_once(' ') else { return Ok(schedule) };
    // An empty name is UTC, and `Local` the zone of the machine.
    if !zone.is_empty() && zone != "Local" && !time_zone::is_known(zone) {
        return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
    }
    Ok(rest.trim())
}

fn word(schedule: &str) -> Result<(), String> {
    if WORDS.contains(&schedule) {
        return Ok(());
    }
    match schedule.strip_prefix(EVERY) {
        Some(span) => match parse_duration(span) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("failed to parse duration {schedule}: {why}")),
        },
        None => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

/// `*`, `3`, `3-7`, `mon-fri`, each perhaps with a step behind a slash. From a single number on, a step goes to the end.
fn check_range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let (range, steps) = match text.split_once('/') {
        Some((range, steps)) => (range, Some(steps)),
        None => (text, None),
    };
    let (low, high) = match range.split_once('-') {
        Some((low, high)) => (low, Some(high)),
        None => (range, None),
    };
    let (start, mut end) = if matches!(low, "*" | "?") {
        (bounds.least, bounds.most)
    } else {
        let start = number_or_name(low, bounds)?;
        match high {
            None => (start, start),
            Some(high) if high.contains('-') => return Err(format!("too many hyphens: {text}")),
            Some(high) => (start, number_or_name(high, bounds)?),
        }
    };
    let step = match steps {
        None => 1,
        Some(steps) if steps.contains('/') => return Err(format!("too many slashes: {text}")),
        Some(steps) => {
            let step = number(steps)?;
            if high.is_none() {
                end = bounds.most;
            }
            step
        }
    };
    let Bounds { least, most, .. } = bounds;
    if start < *least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > *most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let named = (bounds.least..).zip(bounds.names).find(|(_, name)| name.eq_ignore_ascii_case(text));
    match named {
        Some((value, _)) => Ok(value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let quoted = portcullis_model::go_text::quoted(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax"));
    }
    match text.parse::<i64>() {
        Ok(value) => u64::try_from(value).map_err(|_| format!("negative number ({value}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: value out of range")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn schedules_that_make_sense() {
        for schedule in [
            "* * * * *",
            "*/5 0 1,15 jan-MAR mon-fri",
            "? ? ? ? ?",
            "0-30/5 3/2 1-31 12 6",
            "  1   2 3 4 5 ",
            ", , , , ,",
            "*-7 * * * *",
            "@daily",
            "@every 1h30m",
            "TZ=Europe/Lisbon 0 0 * * *",
            "CRON_TZ=UTC @hourly",
        ] {
            assert_eq!(super::check(schedule), Ok(()), "{schedule}");
        }
    }

    #[test]
    fn schedules_that_make_none() {
        let check = |schedule: &str, why: &str| assert_eq!(super::check(schedule), Err(why.to_owned()), "{schedule}");
        check("", "empty spec string");
        check("a b", "expected exactly 5 fields, found 2: [a b]");
        check("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]");
        check("TZ=UTC", "expected exactly 5 fields, found 1: [TZ=UTC]");
        check("60 * * * *", "end of range (60) above maximum (59): 60");
        check("* 24 * * *", "end of range (24) above maximum (23): 24");
        check("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        check("* * * 13 *", "end of range (13) above maximum (12): 13");
        check("* * * * 7", "end of range (7) above maximum (6): 7");
        check("7-3 * * * *", "beginning of range (7) beyond end of range (3): 7-3");
        check("1-2-3 * * * *", "too many hyphens: 1-2-3");
        check("*/2/3 * * * *", "too many slashes: */2/3");
        check("*/0 * * * *", "step of range should be a positive number: */0");
        check("jan * * * *", r#"failed to parse int from jan: strconv.Atoi: parsing "jan": invalid syntax"#);
        check("-5 * * * *", r#"failed to parse int from : strconv.Atoi: parsing "": invalid syntax"#);
        check("*/-5 * * * *", "negative number (-5) not allowed: -5");
        let large = "99999999999999999999";
        let out = format!("failed to parse int from {large}: strconv.Atoi: parsing \"{large}\": value out of range");
        check(&format!("{large} * * * *"), &out);
        check("@often", "unrecognized descriptor: @often");
        check("@every 5x", r#"failed to parse duration @every 5x: time: unknown unit "x" in duration "5x""#);
        check("TZ=Moon/Base * * * * *", "provided bad location Moon/Base: unknown time zone Moon/Base");
    }
}
