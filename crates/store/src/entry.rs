//! What is stored under a key: a value with its versions, what is known of it without reading it, and what was made of it.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;

use crate::{Budget, Catalog, Index, Key, Term};

/// What an entry costs beyond its value and the heap of its index: itself, its places in the maps.
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
    index: OnceLock<Index>,
    /// Who reads the index, where that was not done at once.
    reader: Option<Reader>,
    forms: Forms,
    budget: Arc<Budget>,
}

/// Reads the index of what is stored under a key.
pub(crate) struct Reader {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) key: Key,
}

impl Entry {
    /// Makes an entry that is charged to a budget for as long as anybody holds it.
    pub fn new(version: u64, create_revision: u64, value: Bytes, index: Index, budget: &Arc<Budget>) -> Entry {
        let (index, forms) = (OnceLock::from(index), Forms::default());
        Stored { version, create_revision, value, index, reader: None, forms, budget: Arc::clone(budget) }.charged()
    }

    /// The same of a value whose index is read when somebody asks for it.
    pub(crate) fn unread(
        version: u64,
        create_revision: u64,
        value: Bytes,
        reader: Reader,
        budget: &Arc<Budget>,
    ) -> Entry {
        let (reader, budget) = (Some(reader), Arc::clone(budget));
        let (index, forms) = (OnceLock::new(), Forms::default());
        Stored { version, create_revision, value, index, reader, forms, budget }.charged()
    }

    /// Returns what `make` makes of this entry, from the last time if it is still kept. Two readers may make it at once.
    pub fn form<E>(&self, form: u16, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        self.forms.get_or_make(form, &self.budget, make)
    }

    /// The same for a form that is also of something else: one that is kept and not valid any more is made again.
    pub fn form_if<E>(
        &self,
        form: u16,
        is_valid: impl Fn(&Bytes) -> bool,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        self.forms.get_or_make_if(form, &self.budget, is_valid, make)
    }

    /// Drops forms that nobody has asked for since the last call; tells how many.
    pub(crate) fn drop_unused_forms(&self) -> u64 {
        self.forms.drop_unused(&self.budget)
    }
}

impl Stored {
    fn charged(self) -> Entry {
        self.budget.charge_body(self.charge());
        Entry(Arc::new(self))
    }

    /// What it is charged for: its bytes, and those of its index once that is read.
    fn charge(&self) -> usize {
        self.bytes() + self.index.get().map_or(0, Index::bytes)
    }

    /// Bytes of the entry, those of its forms and on the heap of its index apart.
    pub fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.value.len()
    }

    /// What the value says about itself. Who asks first may have to read it: some microseconds for ten kilobytes.
    pub fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let read = |reader: &Reader| reader.catalog.index(&reader.key, &self.value);
            let index = self.reader.as_ref().map(read).unwrap_or_default();
            self.budget.charge_body(index.bytes());
            index
        })
    }

    /// The words that the entry is found by.
    pub(crate) fn terms(&self) -> Vec<Term> {
        self.index().terms(&self.value)
    }

    /// A label of the object.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.index().label(&self.value, name)
    }

    /// A selectable field of the object, by its number in the catalog; empty when it has none.
    pub fn field(&self, number: usize) -> &str {
        self.index().field(&self.value, number)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.forms.release(&self.budget);
        self.budget.release_body(self.charge());
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
        self.get_or_make_if(number, budget, |_| true, make)
    }

    fn get_or_make_if<E>(
        &self,
        number: u16,
        budget: &Budget,
        is_valid: impl Fn(&Bytes) -> bool,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        if let Some(bytes) = self.kept(number, budget, &is_valid) {
            return Ok(bytes);
        }
        // Not under the lock: making takes longer than any reader should wait for another form.
        let bytes = make()?;
        if budget.charge_form(bytes.len()) {
            let new = Form { number, is_used: true, bytes: bytes.clone() };
            let mut forms = self.forms();
            match forms.iter_mut().find(|form| form.number == number) {
                Some(kept) if is_valid(&kept.bytes) => budget.release_forms(bytes.len()),
                Some(kept) => budget.release_forms(std::mem::replace(kept, new).bytes.len()),
                None => forms.push(new),
            }
        }
        Ok(bytes)
    }

    /// What is kept and valid; what is kept and not valid goes.
    fn kept(&self, number: u16, budget: &Budget, is_valid: impl Fn(&Bytes) -> bool) -> Option<Bytes> {
        let mut forms = self.forms();
        let at = forms.iter().position(|form| form.number == number)?;
        let kept = forms.get_mut(at)?;
        if is_valid(&kept.bytes) {
            kept.is_used = true;
            return Some(kept.bytes.clone());
        }
        budget.release_forms(forms.swap_remove(at).bytes.len());
        None
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{IndexBuilder, Text};

    /// Reads labels of one letter, and counts how often.
    #[derive(Default)]
    struct Letters(AtomicUsize);

    impl Catalog for Letters {
        fn index(&self, key: &str, value: &[u8]) -> Index {
            assert_eq!(key, "/a");
            self.0.fetch_add(1, Ordering::Relaxed);
            let mut builder = IndexBuilder::default();
            (0..value.len()).step_by(2).for_each(|at| builder.label(Text::In(at..at + 1), Text::In(at + 1..at + 2)));
            builder.finish()
        }
    }

    #[test]
    fn an_index_is_read_once_and_charged() {
        let (budget, letters) = (Arc::new(Budget::new(0)), Arc::new(Letters::default()));
        let value = Bytes::from_static(b"p1q2");
        let reader = Reader { catalog: letters.clone(), key: Key::from("/a") };
        let later = Entry::unread(1, 1, value.clone(), reader, &budget);
        assert_eq!((letters.0.load(Ordering::Relaxed), budget.bodies()), (0, later.bytes()));
        assert_eq!((later.label("q"), later.label("p"), later.label("x")), (Some("2"), Some("1"), None));
        assert_eq!(letters.0.load(Ordering::Relaxed), 1);
        let charged = budget.bodies();
        assert!(charged > later.bytes());
        let at_once = Entry::new(1, 1, value.clone(), letters.index("/a", &value), &budget);
        assert_eq!((budget.bodies(), later.terms()), (2 * charged, at_once.terms()));
        drop((later, at_once));
        assert_eq!(budget.bodies(), 0);
    }

    #[test]
    fn a_form_that_is_not_valid_is_made_again() {
        let budget = Arc::new(Budget::new(0));
        let entry = Entry::new(1, 1, Bytes::from_static(b"value"), Index::default(), &budget);
        let check = |valid: &'static [u8], made: Option<&'static [u8]>| {
            let make = || made.map(Bytes::from_static).ok_or("it is made again");
            let bytes = entry.form_if(7, |kept| kept == valid, make);
            assert_eq!(bytes.unwrap(), valid);
            assert_eq!(budget.forms(), valid.len());
        };
        check(b"behind a", Some(b"behind a"));
        check(b"behind a", None);
        check(b"behind others", Some(b"behind others"));
        check(b"behind others", None);
        check(b"behind a", Some(b"behind a"));
        assert_eq!(entry.form_if(7, |_| false, || Err("cannot be made")), Err("cannot be made"));
        assert_eq!(budget.forms(), 0);
        // Somebody else made one while this one was made: the valid one stays.
        let inner = || entry.form_if(7, |kept| kept == "b", || Ok::<_, ()>(Bytes::from_static(b"b")));
        entry.form_if(7, |kept| kept == "cc", || inner().map(|_| Bytes::from_static(b"cc"))).unwrap();
        assert_eq!(budget.forms(), 2);
        drop(entry);
        assert_eq!((budget.bodies(), budget.forms()), (0, 0));
    }
}
