//! Bytes and texts that are keys: wiped when they are dropped, and never shown.

use std::ops::Deref;

use zeroize::Zeroizing;

/// A key, or a text that holds one. It has no Debug and no Display.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret<T: zeroize::Zeroize>(Zeroizing<T>);

impl<T: zeroize::Zeroize> Secret<T> {
    pub(crate) fn new(value: T) -> Self {
        Secret(Zeroizing::new(value))
    }
}

impl<T: zeroize::Zeroize> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
