//! Claims that every signed token has, read the same way for all issuers: dates and audiences (RFC 7519 4.1).

use serde_json::Value;

/// Seconds that clocks may differ by, either way (upstream: the default leeway of go-jose's claims validation).
pub(crate) const LEEWAY_SECONDS: i64 = 60;
/// Audiences of one token.
const AUDIENCES_MAX: usize = 128;

/// Why claims are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// A claim is not of the type that it must have.
    #[error("claim {0:?} is malformed")]
    Malformed(&'static str),
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("token is not valid yet")]
    NotYet,
    /// `iat` has not come.
    #[error("token was issued in the future")]
    FromTheFuture,
}

/// The dates of a token, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dates {
    /// `exp`
    pub(crate) expires_at: Option<i64>,
    /// `nbf`
    pub(crate) not_before: Option<i64>,
    /// `iat`
    pub(crate) issued_at: Option<i64>,
}

impl Dates {
    /// Reads the dates that are there.
    ///
    /// # Errors
    /// One is no number.
    pub(crate) fn read(claims: &Value) -> Result<Self, ClaimsError> {
        Ok(Self { expires_at: date(claims, "exp")?, not_before: date(claims, "nbf")?, issued_at: date(claims, "iat")? })
    }

    /// Says whether `now` lies within them, give or take the leeway. Dates that are not there bound nothing.
    pub(crate) fn check(&self, now: i64) -> Result<(), ClaimsError> {
        let (early, late) = (now.saturating_sub(LEEWAY_SECONDS), now.saturating_add(LEEWAY_SECONDS));
        if self.not_before.is_some_and(|at| late < at) {
            return Err(ClaimsError::NotYet);
        }
        if self.expires_at.is_some_and(|at| early > at) {
            return Err(ClaimsError::Expired);
        }
        if self.issued_at.is_some_and(|at| late < at) {
            return Err(ClaimsError::FromTheFuture);
        }
        Ok(())
    }
}

/// Reads a date; a fraction of a second is cut off.
pub(crate) fn date(claims: &Value, name: &'static str) -> Result<Option<i64>, ClaimsError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let whole = value.as_i64();
            // Beyond 2^53 a float says nothing about seconds, and no date is there.
            let exact = |float: &f64| float.is_finite() && float.abs() < 9e15;
            let seconds = whole.or_else(|| value.as_f64().filter(exact).map(|float| float as i64));
            seconds.map(Some).ok_or(ClaimsError::Malformed(name))
        }
    }
}

/// Reads `aud`: one text, or a list of texts.
///
/// # Errors
/// It is something else, or absurdly long.
pub(crate) fn audiences(claims: &Value) -> Result<Vec<String>, ClaimsError> {
    let malformed = ClaimsError::Malformed("aud");
    match claims.get("aud") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(several)) if several.len() <= AUDIENCES_MAX => {
            several.iter().map(|one| one.as_str().map(str::to_owned).ok_or(malformed)).collect()
        }
        Some(_) => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jwt_dates_hold_with_a_leeway_of_a_minute() {
        let check = |claims: Value, expected: Result<(), ClaimsError>| {
            let judged = Dates::read(&claims).and_then(|dates| dates.check(1_000));
            assert_eq!(judged, expected, "{claims}");
        };
        check(json!({}), Ok(()));
        check(json!({"exp": 1_000, "nbf": 1_000, "iat": 1_000}), Ok(()));
        check(json!({"exp": 940}), Ok(()));
        check(json!({"exp": 939}), Err(ClaimsError::Expired));
        check(json!({"exp": 0}), Err(ClaimsError::Expired));
        check(json!({"exp": -1}), Err(ClaimsError::Expired));
        check(json!({"nbf": 1_060}), Ok(()));
        check(json!({"nbf": 1_061}), Err(ClaimsError::NotYet));
        check(json!({"iat": 1_060}), Ok(()));
        check(json!({"iat": 1_061}), Err(ClaimsError::FromTheFuture));
        check(json!({"exp": 1_000.9, "nbf": 1_000.1}), Ok(()));
        check(json!({"exp": i64::MAX, "nbf": i64::MIN}), Ok(()));
        check(json!({"exp": u64::MAX}), Err(ClaimsError::Malformed("exp")));
        check(json!({"exp": 1e300}), Err(ClaimsError::Malformed("exp")));
        check(json!({"exp": "1000"}), Err(ClaimsError::Malformed("exp")));
        check(json!({"nbf": true}), Err(ClaimsError::Malformed("nbf")));
        check(json!({"iat": [1]}), Err(ClaimsError::Malformed("iat")));
    }

    #[test]
    fn audiences_are_one_or_several() {
        let check = |claims: Value, expected: Option<&[&str]>| {
            let read = audiences(&claims).ok();
            assert_eq!(
                read.as_ref().map(|list| list.iter().map(String::as_str).collect::<Vec<_>>()).as_deref(),
                expected
            );
        };
        check(json!({}), Some(&[]));
        check(json!({"aud": "a"}), Some(&["a"]));
        check(json!({"aud": ["a", "b"]}), Some(&["a", "b"]));
        check(json!({"aud": [1]}), None);
        check(json!({"aud": {"a": 1}}), None);
        check(json!({"aud": vec!["a"; AUDIENCES_MAX + 1]}), None);
    }
}
