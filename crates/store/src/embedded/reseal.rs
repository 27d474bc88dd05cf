//! Seals values anew that are kept in another way than they would be today: row by row, in slices between batches, in their place. Nobody
//! who watches is told, for the objects are the same.
//!
//! A row that cannot be read, or not be written, is counted and named, and those behind it have their turn.

use rusqlite::params;
use tokio::sync::oneshot;

use super::{
    Embedded,
    committer::Message,
    journal::{JournalError, Sqlite, Stretch},
    row::{Found, State},
};
use crate::{Opened, ReadError, Resealed};

/// Bytes of rows that are looked at in one go.
const SLICE_BYTES_MAX: usize = 1 << 20;

/// What was done to some rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    /// The last of them; none when there were none, and so all are done.
    pub(super) last: Option<i64>,
    pub(super) rewritten: usize,
    pub(super) unopened: usize,
}

impl Sqlite {
    /// Seals anew what needs it among the next rows behind this one.
    pub(super) fn seal_anew(&mut self, after: i64) -> Result<Slice, JournalError> {
        let mut bytes = 0;
        let is_enough = |of_row| {
            bytes += of_row;
            bytes > SLICE_BYTES_MAX
        };
        let stretch = self.next_rows(after, is_enough).map_err(|error| self.failed(error))?;
        let Stretch { rows, unread, last, .. } = stretch;
        let mut slice = Slice { last, unopened: unread.len(), ..Slice::default() };
        let mut anew = Vec::new();
        for row in &rows {
            // A checksum made anew would hide the damage.
            let (State::Whole, Some(key)) = (row.state, row.name()) else { continue };
            match self.sealing.open(&key, &row.value) {
                Ok(Opened { is_stale: false, .. }) => {}
                Ok(Opened { plain, .. }) => match self.sealing.seal(&key, &plain) {
                    Ok(kept) => anew.push((row, kept)),
                    Err(error) => {
                        tracing::warn!(%key, %error, "a value cannot be sealed anew");
                        slice.unopened += 1;
                    }
                },
                Err(_) => slice.unopened += 1,
            }
        }
        if !anew.is_empty() {
            if self.wipe_free_pages()? {
                return Ok(Slice { last: Some(after), ..Slice::default() });
            }
            slice.rewritten = self.replace_values(&anew)?;
            slice.unopened += anew.len() - slice.rewritten;
        }
        for unread in &unread {
            tracing::error!(%unread, "a value cannot be sealed anew");
        }
        if slice.last.is_none() {
            self.end_wipe().map_err(|error| self.failed(error))?;
            self.is_wal_stale = true;
            if !self.freeze.is_on() {
                self.empty_wal()?;
            }
        }
        Ok(slice)
    }

    /// Writes values anew in their rows; tells how many. What was there is overwritten too ([`Wipe`]), for it was readable with fewer or
    /// older keys.
    ///
    /// [`Wipe`]: super::space::Wipe
    fn replace_values(&mut self, anew: &[(&Found, bytes::Bytes)]) -> Result<usize, JournalError> {
        let each = self.transact_each(anew, |journal, (row, kept)| {
            let mut update =
                journal.connection.prepare_cached("UPDATE objects SET checksum = ?2, value = ?3 WHERE id = ?1")?;
            update.execute(params![row.id, row.head().checksum(kept), &**kept])?;
            Ok(())
        })?;
        for (row, kept) in &each.done {
            self.took(&String::from_utf8_lossy(&row.key), row.id, kept);
        }
        self.wrote(each.done.len(), each.done.iter().map(|(_, kept)| kept.len()).sum());
        Ok(each.done.len())
    }
}

impl Embedded {
    /// Walks along all rows.
    pub(super) async fn reseal_all(&self) -> Result<Resealed, ReadError> {
        let (mut after, mut resealed) = (i64::MIN, Resealed::default());
        loop {
            let (answer, slice) = oneshot::channel();
            self.tell(Message::Reseal(after, answer)).await?;
            let slice = slice.await.map_err(|_| ReadError::Closed)??;
            resealed.rewritten += slice.rewritten;
            resealed.unopened += slice.unopened;
            match slice.last {
                Some(last) => after = last,
                None => return Ok(resealed),
            }
        }
    }
}
