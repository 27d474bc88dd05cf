//! Times and durations of the API: `Time` in seconds, `MicroTime` in microseconds, `Duration` in nanoseconds.
//!
//! Reads what Go's `time.Parse` reads under the layouts of `metav1.Time` and `metav1.MicroTime` (one-digit hours, comma
//! or point before a fraction, offsets up to 24 hours) and complains in its words; writes UTC. Pure functions over
//! integers; only an error allocates.

use thiserror::Error;

mod duration;

pub use duration::{DurationError, parse_duration, push_duration};

/// Layout of `Time`, as errors name it.
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
/// Layout of `MicroTime`, as errors name it.
const LAYOUT_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Go's zero time, 1 January of year 1; the API writes it as `null`.
pub const ZERO_TIME: i64 = -62_135_596_800;

const DAY_SECONDS: i64 = 86_400;
const SECOND_MICROS: i64 = 1_000_000;
/// Days from 1 March of year 0 to the Unix epoch.
const EPOCH_DAYS: i64 = 719_468;
/// Days in 400 years of the Gregorian calendar.
const ERA_DAYS: i64 = 146_097;
/// Length of `2026-01-02T03:04:05Z`.
const PLAIN_LEN: usize = 20;

/// Why a text is not a time. The texts are Go's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimeError {
    /// A part of the text is not what the layout has in its place.
    #[error("parsing time {} as {}: cannot parse {} as {}", quote(.value), quote(.layout), quote_bytes(.rest), quote(.part))]
    Unparsable {
        /// The whole text.
        value: Box<str>,
        /// The layout.
        layout: &'static str,
        /// What is left of the text, from the part on.
        rest: Box<[u8]>,
        /// The part of the layout.
        part: &'static str,
    },
    /// A number is not in its range.
    #[error("parsing time {}: {what} out of range", quote(.value))]
    OutOfRange {
        /// The whole text.
        value: Box<str>,
        /// `month`, `day`, `hour`, ...
        what: &'static str,
    },
    /// Something follows the time.
    #[error("parsing time {}: extra text: {}", quote(.value), quote_bytes(.rest))]
    ExtraText {
        /// The whole text.
        value: Box<str>,
        /// What follows.
        rest: Box<[u8]>,
    },
}

/// Quotes as Go's package `time` does: bytes that are not printable ASCII in hexadecimal.
fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// A moment, before it is cut to the precision of a type.
struct Moment {
    seconds: i64,
    micros: i64,
}

/// Reads a `Time`: seconds since the Unix epoch. A fraction is dropped, an offset is applied.
///
/// # Errors
/// The error's text is Go's.
pub fn parse_time(text: &str) -> Result<i64, TimeError> {
    match parse_plain(text.as_bytes()) {
        Some(seconds) => Ok(seconds),
        None => Parser { value: text, layout: LAYOUT, rest: text.as_bytes() }.moment().map(|moment| moment.seconds),
    }
}

/// Reads a `MicroTime`: microseconds since the Unix epoch. Its fraction has exactly six digits.
///
/// # Errors
/// The error's text is Go's.
pub fn parse_micro_time(text: &str) -> Result<i64, TimeError> {
    let moment = Parser { value: text, layout: LAYOUT_MICRO, rest: text.as_bytes() }.moment()?;
    Ok(moment.seconds * SECOND_MICROS + moment.micros)
}

/// Appends a `Time` as RFC 3339 in UTC: `2026-01-02T03:04:05Z`.
pub fn push_time(out: &mut Vec<u8>, seconds: i64) {
    push_date_time(out, seconds);
    out.push(b'Z');
}

/// Appends a `MicroTime` as RFC 3339 in UTC: `2026-01-02T03:04:05.000006Z`.
pub fn push_micro_time(out: &mut Vec<u8>, micros: i64) {
    push_date_time(out, micros.div_euclid(SECOND_MICROS));
    let fraction = micros.rem_euclid(SECOND_MICROS);
    out.push(b'.');
    push_two(out, fraction / 10_000);
    push_two(out, fraction / 100 % 100);
    push_two(out, fraction % 100);
    out.push(b'Z');
}

/// Returns a `Time` as text.
#[must_use]
pub fn time_text(seconds: i64) -> String {
    let mut out = Vec::with_capacity(PLAIN_LEN);
    push_time(&mut out, seconds);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads the form that nearly every time has, `2026-01-02T03:04:05Z`.
fn parse_plain(bytes: &[u8]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T', h0, h1, b':', mi0, mi1, b':', s0, s1, b'Z'] = *bytes
    else {
        return None;
    };
    let two = |tens: u8, ones: u8| -> Option<i64> {
        let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
    };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(mi0, mi1)?, two(s0, s1)?);
    let fits = (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
    if !fits || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_from_date(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second)
}

/// Reads all that Go's parser takes, part by part.
struct Parser<'a> {
    value: &'a str,
    layout: &'static str,
    rest: &'a [u8],
}

impl Parser<'_> {
    fn moment(mut self) -> Result<Moment, TimeError> {
        let year = self.year()?;
        self.literal(b'-', "-")?;
        let month = self.number("01", true, 1..13, "month")?;
        self.literal(b'-', "-")?;
        let day = self.number("02", true, 0..100, "day")?;
        self.literal(b'T', "T")?;
        let hour = self.number("15", false, 0..24, "hour")?;
        self.literal(b':', ":")?;
        let minute = self.number("04", true, 0..60, "minute")?;
        self.literal(b':', ":")?;
        let second = self.number("05", true, 0..60, "second")?;
        let micros = if self.layout == LAYOUT { self.any_fraction() } else { self.six_digits()? };
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(TimeError::ExtraText { value: self.value.into(), rest: self.rest.into() });
        }
        if day < 1 || day > month_days(year, month) {
            return Err(self.out_of_range("day"));
        }
        let seconds = days_from_date(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset;
        Ok(Moment { seconds, micros })
    }

    fn unparsable(&self, part: &'static str) -> TimeError {
        let (value, layout) = (self.value.into(), self.layout);
        TimeError::Unparsable { value, layout, rest: self.rest.into(), part }
    }

    fn out_of_range(&self, what: &'static str) -> TimeError {
        TimeError::OutOfRange { value: self.value.into(), what }
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn literal(&mut self, byte: u8, part: &'static str) -> Result<(), TimeError> {
        if self.rest.first() != Some(&byte) {
            return Err(self.unparsable(part));
        }
        self.skip(1);
        Ok(())
    }

    fn year(&mut self) -> Result<i64, TimeError> {
        let digits = self.rest.get(..4).and_then(decimal).ok_or_else(|| self.unparsable("2006"))?;
        self.skip(4);
        Ok(digits)
    }

    /// Reads one or two digits, exactly two when `fixed`.
    fn number(
        &mut self,
        part: &'static str,
        fixed: bool,
        range: std::ops::Range<i64>,
        what: &'static str,
    ) -> Result<i64, TimeError> {
        let (number, len) = match *self.rest {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => (i64::from(a - b'0') * 10 + i64::from(b - b'0'), 2),
            [a @ b'0'..=b'9', ..] if !fixed => (i64::from(a - b'0'), 1),
            _ => return Err(self.unparsable(part)),
        };
        if !range.contains(&number) {
            return Err(self.out_of_range(what));
        }
        self.skip(len);
        Ok(number)
    }

    /// Skips a fraction of any length, if there is one; returns its microseconds.
    fn any_fraction(&mut self) -> i64 {
        let [b'.' | b',', digits @ ..] = self.rest else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        let mut micros = 0;
        for at in 0..6 {
            let digit = digits.get(at).filter(|_| at < count).map_or(0, |byte| i64::from(byte - b'0'));
            micros = micros * 10 + digit;
        }
        self.skip(count + 1);
        micros
    }

    fn six_digits(&mut self) -> Result<i64, TimeError> {
        let micros = match self.rest {
            [b'.' | b',', digits @ ..] => digits.get(..6).and_then(decimal),
            _ => None,
        };
        let micros = micros.ok_or_else(|| self.unparsable(".000000"))?;
        self.skip(7);
        Ok(micros)
    }

    /// Reads `Z` or an offset; returns it in seconds.
    fn offset(&mut self) -> Result<i64, TimeError> {
        let part = "Z07:00";
        if self.rest.first() == Some(&b'Z') {
            self.skip(1);
            return Ok(0);
        }
        let [sign, h0, h1, b':', m0, m1, ..] = *self.rest else { return Err(self.unparsable(part)) };
        // Go looks at the ranges before it looks whether both were numbers.
        let hours = decimal(&[h0, h1]);
        let minutes = hours.and_then(|_| decimal(&[m0, m1]));
        if minutes.is_some_and(|minutes| minutes > 60) {
            return Err(self.out_of_range("time zone offset minute"));
        }
        if hours.is_some_and(|hours| hours > 24) {
            return Err(self.out_of_range("time zone offset hour"));
        }
        let (Some(hours), Some(minutes)) = (hours, minutes) else { return Err(self.unparsable(part)) };
        let seconds = hours * 3600 + minutes * 60;
        let signed = match sign {
            b'+' => seconds,
            b'-' => -seconds,
            _ => return Err(self.unparsable(part)),
        };
        self.skip(6);
        Ok(signed)
    }
}

/// Reads a few decimal digits; `None` when one is something else.
fn decimal(digits: &[u8]) -> Option<i64> {
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts the days from the Unix epoch. Years begin in March here, so that the leap day is a year's last.
fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAYS
}

/// The reverse of [`days_from_date`]: year, month, day.
fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

fn push_date_time(out: &mut Vec<u8>, seconds: i64) {
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = date_from_days(days);
    out.reserve(PLAIN_LEN + 7);
    if (0..10_000).contains(&year) {
        push_two(out, year / 100);
        push_two(out, year % 100);
    } else {
        // Go writes such years too: with a sign, or with more digits.
        let sign = if year < 0 { "-" } else { "" };
        out.extend_from_slice(format!("{sign}{:04}", year.abs()).as_bytes());
    }
    for (separator, number) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(separator);
        push_two(out, number);
    }
}

/// Appends two decimal digits; `number` is below 100.
fn push_two(out: &mut Vec<u8>, number: i64) {
    let number = (number % 100) as u8;
    out.extend_from_slice(&[b'0' + number / 10, b'0' + number % 10]);
}

/// A duration as people read it: the two largest units at most, the smaller one only where it still says something.
#[must_use]
pub fn age(seconds: i64) -> String {
    let (minutes, hours, days, years) = (seconds / 60, seconds / 3600, seconds / 86_400, seconds / (86_400 * 365));
    let two = |large: i64, large_unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_and_written_in_utc() {
        fn check(text: &str, expected: &str) {
            assert_eq!(time_text(parse_time(text).unwrap()), expected, "{text}");
        }
        for same in [
            "1970-01-01T00:00:00Z",
            "2026-01-02T03:04:05Z",
            "2024-02-29T23:59:59Z",
            "2000-02-29T00:00:00Z",
            "1900-02-28T12:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            check(same, same);
        }
        check("2026-01-02T03:04:05.999999999Z", "2026-01-02T03:04:05Z");
        check("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05Z");
        check("2026-01-02T03:04:05,1234567890123Z", "2026-01-02T03:04:05Z");
        check("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z");
        check("2026-01-02T03:04:05.5-11:30", "2026-01-02T14:34:05Z");
        check("2026-01-02T3:04:05Z", "2026-01-02T03:04:05Z");
        check("2026-01-02T03:04:05+24:60", "2026-01-01T02:04:05Z");
        check("0000-01-01T00:00:00+01:00", "-0001-12-31T23:00:00Z");
        check("9999-12-31T23:59:59-01:00", "10000-01-01T00:59:59Z");
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), Ok(ZERO_TIME));
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1));
        assert_eq!(parse_time("1969-12-31T23:59:59.5Z"), Ok(-1));
    }

    #[test]
    fn what_is_no_time_is_refused_in_go_words() {
        fn check(text: &str, expected: &str) {
            let layout = "\"2006-01-02T15:04:05Z07:00\"";
            let expected = expected.replace("LAYOUT", layout);
            assert_eq!(parse_time(text).unwrap_err().to_string(), expected);
        }
        check("", r#"parsing time "" as LAYOUT: cannot parse "" as "2006""#);
        check("Not Valid!", r#"parsing time "Not Valid!" as LAYOUT: cannot parse "Not Valid!" as "2006""#);
        check("2026", r#"parsing time "2026" as LAYOUT: cannot parse "" as "-""#);
        check("2026-1-02", r#"parsing time "2026-1-02" as LAYOUT: cannot parse "1-02" as "01""#);
        check("2026-01-02", r#"parsing time "2026-01-02" as LAYOUT: cannot parse "" as "T""#);
        check(
            "2026-01-02 03:04:05Z",
            r#"parsing time "2026-01-02 03:04:05Z" as LAYOUT: cannot parse " 03:04:05Z" as "T""#,
        );
        check("2026-01-02T03:04:05", r#"parsing time "2026-01-02T03:04:05" as LAYOUT: cannot parse "" as "Z07:00""#);
        check("2026-01-02T03:04:05z", r#"parsing time "2026-01-02T03:04:05z" as LAYOUT: cannot parse "z" as "Z07:00""#);
        check("2026-01-02T03:04:05ZZ", r#"parsing time "2026-01-02T03:04:05ZZ": extra text: "Z""#);
        check("2026-13-02T03:04:05Z", r#"parsing time "2026-13-02T03:04:05Z": month out of range"#);
        check("2026-02-29T03:04:05Z", r#"parsing time "2026-02-29T03:04:05Z": day out of range"#);
        check("2026-02-00T03:04:05Z", r#"parsing time "2026-02-00T03:04:05Z": day out of range"#);
        check("2026-01-02T24:04:05Z", r#"parsing time "2026-01-02T24:04:05Z": hour out of range"#);
        check("2026-01-02T03:60:05Z", r#"parsing time "2026-01-02T03:60:05Z": minute out of range"#);
        check("2026-01-02T03:04:60Z", r#"parsing time "2026-01-02T03:04:60Z": second out of range"#);
        check(
            "2026-01-02T03:04:05+25:00",
            r#"parsing time "2026-01-02T03:04:05+25:00": time zone offset hour out of range"#,
        );
        check("é\"\n", r#"parsing time "\xc3\xa9\"\x0a" as LAYOUT: cannot parse "\xc3\xa9\"\x0a" as "2006""#);
        check(
            "2026-01-02T03:04:05.Z",
            r#"parsing time "2026-01-02T03:04:05.Z" as LAYOUT: cannot parse ".Z" as "Z07:00""#,
        );
    }

    #[test]
    fn micro_times_have_six_digits() {
        fn check(text: &str, expected: Result<&str, &str>) {
            let actual = parse_micro_time(text).map(|micros| {
                let mut out = Vec::new();
                push_micro_time(&mut out, micros);
                String::from_utf8(out).unwrap()
            });
            let actual = actual.map_err(|error| error.to_string());
            let layout = "\"2006-01-02T15:04:05.000000Z07:00\"";
            assert_eq!(actual, expected.map(str::to_owned).map_err(|text| text.replace("LAYOUT", layout)), "{text}");
        }
        check("2026-01-02T03:04:05.000006Z", Ok("2026-01-02T03:04:05.000006Z"));
        check("1969-12-31T23:59:59.999999Z", Ok("1969-12-31T23:59:59.999999Z"));
        check("2026-01-02T03:04:05.123456-02:00", Ok("2026-01-02T05:04:05.123456Z"));
        check(
            "2026-01-02T03:04:05Z",
            Err(r#"parsing time "2026-01-02T03:04:05Z" as LAYOUT: cannot parse "Z" as ".000000""#),
        );
        check(
            "2026-01-02T03:04:05.1234567Z",
            Err(r#"parsing time "2026-01-02T03:04:05.1234567Z" as LAYOUT: cannot parse "7Z" as "Z07:00""#),
        );
        check(
            "2026-01-02T03:04:05.123Z",
            Err(r#"parsing time "2026-01-02T03:04:05.123Z" as LAYOUT: cannot parse ".123Z" as ".000000""#),
        );
        check("other", Err(r#"parsing time "other" as LAYOUT: cannot parse "other" as "2006""#));
    }

    #[test]
    fn every_day_of_eight_hundred_years_comes_back() {
        for days in -146_097..146_097 {
            let (year, month, day) = date_from_days(days);
            assert_eq!(days_from_date(year, month, day), days);
            let text = time_text(days * DAY_SECONDS + 86_399);
            assert_eq!(parse_time(&text), Ok(days * DAY_SECONDS + 86_399), "{text}");
        }
    }

    #[test]
    fn ages() {
        let check = |seconds: i64, expected: &str| assert_eq!(age(seconds), expected, "{seconds}");
        check(-5, "<invalid>");
        check(-1, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(600, "10m");
        check(10_800, "3h");
        check(11_000, "3h3m");
        check(28_800, "8h");
        check(180_000, "2d2h");
        check(691_200, "8d");
        check(63_072_000, "2y");
        check(400 * 86_400, "400d");
        check(900 * 86_400, "2y170d");
        check(3_650 * 86_400, "10y");
    }
}
