//! What a walk over an object has found wrong, in the order in which it was found.

use std::borrow::Cow;

use portcullis_model::names::Complaints;
use portcullis_model::status::{BadValue, FieldError, FieldReason};

use super::path::Path;

/// Bytes of complaints about one object after which no more are kept. A complaint may show a whole list, and there may be one for each of
/// its elements: what one request can say must not make thousands of times as much.
const BYTES_MAX: usize = 4 << 20;
/// What a complaint weighs beside its texts.
const COMPLAINT_BYTES: usize = 128;

/// The complaints about one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    held: Vec<FieldError>,
    bytes: usize,
}

impl Errors {
    /// Nothing is wrong yet.
    #[must_use]
    pub fn new() -> Errors {
        Errors::default()
    }

    /// Adds a complaint that was made elsewhere.
    pub fn push(&mut self, mut error: FieldError) {
        if self.is_full() {
            return;
        }
        let shown = match &error.bad_value {
            BadValue::Text(text) | BadValue::Json(text) => text.len(),
            _ => 0,
        };
        // A list shows what its elements leave out, too: more than was sent.
        if shown > BYTES_MAX {
            error.bad_value = BadValue::Omitted;
        }
        self.bytes += COMPLAINT_BYTES + error.field.len() + shown + error.detail.len();
        self.held.push(error);
    }

    /// Whether no more are kept. Who would show much asks before.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    /// Adds complaints that were made elsewhere.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        errors.into_iter().for_each(|error| self.push(error));
    }

    /// `Required value: why`, or `Required value` for no reason.
    pub fn required(&mut self, at: &Path<'_>, why: impl Into<Cow<'static, str>>) {
        self.push(FieldError::required(at, why));
    }

    /// `Invalid value: VALUE: why`.
    pub fn invalid(&mut self, at: &Path<'_>, bad: impl Into<BadValue>, why: impl Into<Cow<'static, str>>) {
        self.push(FieldError::invalid(at, bad, why));
    }

    /// `Invalid value: VALUE: why`, once for each complaint about a text.
    pub fn complain(&mut self, at: &Path<'_>, bad: &str, complaints: Complaints) {
        for why in complaints {
            self.invalid(at, bad, why);
        }
    }

    /// `Unsupported value: VALUE: supported values: "a", "b"`, in the given order.
    pub fn not_supported(&mut self, at: &Path<'_>, bad: impl Into<BadValue>, supported: &[&str]) {
        self.push(FieldError::not_supported(at, bad, supported));
    }

    /// `Duplicate value: VALUE`.
    pub fn duplicate(&mut self, at: &Path<'_>, bad: impl Into<BadValue>) {
        self.push(FieldError::duplicate(at, bad));
    }

    /// `Forbidden: why`.
    pub fn forbidden(&mut self, at: &Path<'_>, why: impl Into<Cow<'static, str>>) {
        self.push(FieldError::forbidden(at, why));
    }

    /// `Not found: VALUE`.
    pub fn not_found(&mut self, at: &Path<'_>, bad: impl Into<BadValue>) {
        self.push(FieldError::not_found(at, bad));
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, at: &Path<'_>, bytes_max: usize) {
        self.push(FieldError::too_long(at, bytes_max));
    }

    /// `Too many: COUNT: must have at most MAX items`.
    pub fn too_many(&mut self, at: &Path<'_>, count: usize, count_max: usize) {
        self.push(FieldError::too_many(at, count, count_max));
    }

    /// `Internal error: why`.
    pub fn internal(&mut self, at: &Path<'_>, why: impl Into<Cow<'static, str>>) {
        self.push(FieldError::new(FieldReason::Internal, at, BadValue::Omitted, why));
    }

    /// How many complaints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The complaints in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_do_not_grow_beyond_all_measure() {
        let mut errors = Errors::new();
        let list = "a".repeat(BYTES_MAX / 8);
        for _ in 0..1_000 {
            errors.invalid(&Path::new("spec"), list.as_str(), "unsupported");
        }
        assert!(errors.is_full() && errors.len() == 8, "{}", errors.len());
        let mut errors = Errors::new();
        errors.invalid(&Path::new("spec"), "a".repeat(BYTES_MAX + 1).as_str(), "must not have more");
        assert!(errors.held.iter().all(|error| error.bad_value == BadValue::Omitted) && errors.len() == 1);
        let mut errors = Errors::new();
        (0..1_000_000).for_each(|_| errors.required(&Path::new("spec"), ""));
        assert!(errors.len() < BYTES_MAX / COMPLAINT_BYTES);
    }
}
