//! How long a request may take (upstream: the request deadline filter): the limit, or less if the client asks for less with
//! `?timeout=`; no limit for watches and streams.

use std::time::Duration;

use portcullis_model::go_text::quoted;

use crate::config::Limits;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::request_info::Located;

/// Returns the time a request has, `None` when it may take as long as it likes. A wrong parameter refuses the request, but
/// only once its sender is known and permitted.
pub(crate) fn of(located: &Located, limits: &Limits) -> Result<Option<Duration>, Refusal> {
    if located.info().is_long_running() {
        return Ok(None);
    }
    let query = located.arrived().parts.uri.query().unwrap_or_default();
    let asked = match Query::new(query).get("timeout") {
        Some(text) if !text.is_empty() => parse_duration(&text).ok_or_else(|| Refusal::BadRequest {
            message: format!("invalid timeout specified in the request URL - time: invalid duration {}", quoted(&text)),
        })?,
        _ => Duration::ZERO,
    };
    let asked = Some(asked).filter(|asked| !asked.is_zero());
    Ok(Some(asked.unwrap_or(limits.request_timeout).min(limits.request_timeout)))
}

/// Reads a duration as Go writes it (`1m30s`, `1.5s`, `300ms`). Negative ones end a request before it begins, so they are
/// refused here.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, from_unit) = rest.split_at(unit_at);
        let next_at =
            from_unit.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(from_unit.len());
        let (unit, next) = from_unit.split_at(next_at);
        let nanos = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * nanos / 1e9).ok()?)?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("32s", Some(32_000));
        check("+1s", Some(1_000));
        check("1m30s", Some(90_000));
        check("1.5s", Some(1_500));
        check(".5s", Some(500));
        check("300ms", Some(300));
        check("1h", Some(3_600_000));
        check("2000us", Some(2));
        check("", None);
        check("5", None);
        check("s", None);
        check("-1s", None);
        check("1.2.3s", None);
        check("1x", None);
        check("1s ", None);
        check("nans", None);
        check("99999999999999999999999999999999h", None);
    }
}
