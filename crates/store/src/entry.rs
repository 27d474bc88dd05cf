//! What is stored under a key: a value with its versions, what is known of it without reading it, and what was made of it.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::{Budget, Index};

/// What an entry costs beyond its value: itself, its index, its places in the maps.
const OVERHEAD_BYTES: usize = 320;

/// What is stored under a key. Cheap to clone: everything is shared.
#[derive(Clone)]
pub struct Entry(Arc<Stored>);

/// The shared part of an [`Entry`].
pub struct Stored {
    /// Revision of the last change.
    pub version: u64,
    /// Revision of the commit that created the entry.
    pub create_revision: u64,
    /// The object, opaque here.
    pub value: Bytes,
    /// What is known of the value without reading it.
    pub index: Index,
    forms: Forms,
    budget: Arc<Budget>,
}

impl Entry {
    /// Makes an entry that is charged to a budget for as long as anybody holds it.
    pub fn new(version: u64, create_revision: u64, value: Bytes, index: Index, budget: &Arc<Budget>) -> Entry {
        let stored =
            Stored { version, create_revision, value, index, forms: Forms::default(), budget: Arc::clone(budget) };
        budget.charge_body(stored.bytes());
        Entry(Arc::new(stored))
    }

    /// Returns what `make` makes of this entry, from the last time if it is still kept. Two readers may make it at once.
    pub fn form<E>(&self, form: u16, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        self.forms.get_or_make(form, &self.budget, make)
    }

    /// Drops forms that nobody has asked for since the last call; tells how many.
    pub(crate) fn drop_unused_forms(&self) -> u64 {
        self.forms.drop_unused(&self.budget)
    }
}

impl Stored {
    /// Bytes of the entry, those of its forms apart.
    pub fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.value.len() + self.index.bytes()
    }

    /// A label of the object.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.index.label(&self.value, name)
    }

    /// A selectable field of the object, by its number in the catalog; empty when it has none.
    pub fn field(&self, number: usize) -> &str {
        self.index.field(&self.value, number)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.forms.release(&self.budget);
        self.budget.release_body(self.bytes());
    }
}

impl Deref for Entry {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.0
    }
}

/// Two entries are equal when what was written and when are.
impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.version, self.create_revision, &self.value) == (other.version, other.create_revision, &other.value)
    }
}

impl Eq for Entry {}

/// Values may be secrets: only their length is shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version)
            .field("create_revision", &self.create_revision)
            .field("value_bytes", &self.value.len())
            .finish()
    }
}

/// What was made of something on demand, by the number of the form. What is kept can always be made again.
#[derive(Default)]
pub(crate) struct Forms(Mutex<Vec<Form>>);

struct Form {
    number: u16,
    is_used: bool,
    bytes: Bytes,
}

impl Forms {
    pub(crate) fn get_or_make<E>(
        &self,
        number: u16,
        budget: &Budget,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        if let Some(kept) = self.forms().iter_mut().find(|form| form.number == number) {
            kept.is_used = true;
            return Ok(kept.bytes.clone());
        }
        // Not under the lock: making takes longer than any reader should wait for another form.
        let bytes = make()?;
        if budget.charge_form(bytes.len()) {
            let mut forms = self.forms();
            if forms.iter().any(|form| form.number == number) {
                budget.release_forms(bytes.len());
            } else {
                forms.push(Form { number, is_used: true, bytes: bytes.clone() });
            }
        }
        Ok(bytes)
    }

    fn drop_unused(&self, budget: &Budget) -> u64 {
        let mut forms = self.forms();
        let before = forms.len();
        let mut freed = 0;
        forms.retain_mut(|form| {
            if !form.is_used {
                freed += form.bytes.len();
            }
            std::mem::take(&mut form.is_used)
        });
        if forms.is_empty() {
            *forms = Vec::new();
        }
        budget.release_forms(freed);
        (before - forms.len()) as u64
    }

    pub(crate) fn release(&mut self, budget: &Budget) {
        let forms = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        budget.release_forms(forms.drain(..).map(|form| form.bytes.len()).sum());
    }

    fn forms(&self) -> std::sync::MutexGuard<'_, Vec<Form>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
