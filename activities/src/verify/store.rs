//! The record store: each connection's log is whole and says what it said, and
//! its index is the one its footers give.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use db::{BatchRow, Db, LogState};
use model::{Change, ContentHash};
use records::{Error, Footer, Index, SegmentReader, Store};

use super::rows::{Key, Keys};
use super::{Report, VerifyError, VerifyOptions};

/// Connections read at once.
const PAGE: u32 = 500;
const RESTORE: &str = "restore the object from a backup of the record store; without one, what it held has to be pulled again";
const REPORT_BUG: &str = "do not change the object: keep a copy and report this as a bug";

pub(super) async fn check(
    db: &Db,
    store: &Store,
    options: &VerifyOptions,
    report: &mut Report,
) -> Result<(), VerifyError> {
    report.checked.bodies = options.bodies;
    let mut after = None;
    loop {
        let logs = db.log_states(after, PAGE).await?;
        let Some(last) = logs.last() else {
            return Ok(());
        };
        after = Some(last.connection_id);
        for log in &logs {
            report.checked.connections += 1;
            let batches = db.batches(log.connection_id, 0, log.head_seq).await?;
            let check = LogCheck {
                log,
                store,
                options,
                report: &mut *report,
                keys: Keys::default(),
                known: HashMap::new(),
                index: Index::new(),
                next_seq: 1,
                is_whole: true,
                is_merged: false,
            };
            check.run(&batches).await;
        }
    }
}

struct LogCheck<'a> {
    log: &'a LogState,
    store: &'a Store,
    options: &'a VerifyOptions,
    report: &'a mut Report,
    keys: Keys,
    /// What is known of each key so far: its content, and whether it is live.
    known: HashMap<Key, (ContentHash, bool)>,
    /// The index that the footers read so far give.
    index: Index,
    next_seq: u64,
    /// Whether every batch so far was there and could be read.
    is_whole: bool,
    /// Whether a batch holds rows of others: then older rows may be gone.
    is_merged: bool,
}

impl LogCheck<'_> {
    async fn run(mut self, batches: &[BatchRow]) {
        for batch in batches {
            self.report.checked.batches += 1;
            let reader = match SegmentReader::open(self.store, &batch.object_key).await {
                Ok(reader) => reader,
                Err(error) => {
                    self.batch_error(&error, &batch.object_key);
                    self.follow(batch.seq, false);
                    continue;
                }
            };
            self.report.checked.rows += u64::from(reader.footer().row_count());
            let first_seq = self.next_seq;
            let is_merged = reader
                .footer()
                .rows()
                .any(|row| (first_seq..batch.seq).contains(&row.batch_seq));
            self.is_merged |= is_merged;
            self.follow(batch.seq, is_merged);
            self.compare(batch, first_seq, &reader);
            self.history(batch, reader.footer());
            // It refuses what is too large or out of order; the index then tells.
            self.is_whole &= self.index.apply(batch.seq, reader.footer()).is_ok();
            if self.options.bodies
                && let Err(error) = reader.rehash().await
            {
                self.batch_error(&error, &batch.object_key);
            }
        }
        if self.next_seq <= self.log.head_seq {
            self.gap(self.log.head_seq);
        }
        self.check_index().await;
    }

    /// Batch `seq` comes next: those before it must have come, or be merged into
    /// it.
    fn follow(&mut self, seq: u64, is_merged: bool) {
        if seq > self.next_seq && !is_merged {
            self.gap(seq - 1);
        }
        self.next_seq = seq + 1;
    }

    fn gap(&mut self, last: u64) {
        self.is_whole = false;
        let what = format!(
            "batches {} to {last} of its log are not in the catalogue",
            self.next_seq
        );
        let action =
            "restore the database from a backup; the objects may still be in the record store";
        self.report.find(
            ("I1", "batch_row_missing"),
            self.log.connection_id,
            what,
            action,
        );
    }

    fn batch_error(&mut self, error: &Error, object: &str) {
        self.is_whole = false;
        let (code, action) = match error {
            Error::NotFound { .. } => ("batch_missing", RESTORE),
            Error::Corrupt { .. } => ("batch_corrupt", RESTORE),
            Error::UnsupportedVersion { .. } => (
                "batch_newer",
                "verify with the version of Chartlift that wrote it",
            ),
            _ => (
                "batch_unreadable",
                "check that the record store can be reached and read, then verify again",
            ),
        };
        self.report
            .find(("I1", code), object, error.to_string(), action);
    }

    /// The batch against its row in the catalogue. Its rows carry its number, or,
    /// merged, that of a batch since `first_seq`.
    fn compare(&mut self, batch: &BatchRow, first_seq: u64, reader: &SegmentReader) {
        let (footer, object) = (reader.footer(), batch.object_key.as_str());
        if reader.size_bytes() != batch.size_bytes {
            let what = format!(
                "it has {} bytes and was written with {}",
                reader.size_bytes(),
                batch.size_bytes
            );
            self.report
                .find(("I1", "batch_size_wrong"), object, what, RESTORE);
        }
        if footer.connection() != Some(self.log.connection_id) {
            self.report.find(
                ("I1", "batch_foreign"),
                object,
                "it is not of the connection that names it",
                RESTORE,
            );
        }
        let deleted = footer.rows().filter(|row| row.is_tombstone()).count() as u64;
        if (u64::from(footer.row_count()), deleted) != (batch.row_count, batch.deleted_count) {
            let what = format!(
                "it has {} rows, {deleted} deleted, and was written with {}, {} deleted",
                footer.row_count(),
                batch.row_count,
                batch.deleted_count
            );
            self.report
                .find(("I8", "batch_rows_wrong"), object, what, REPORT_BUG);
        }
        let misnumbered = footer.rows().filter(|row| {
            row.batch_seq < first_seq
                || row.batch_seq > batch.seq
                || (row.batch_seq == batch.seq && row.settle_seq != batch.settle_seq)
        });
        let misnumbered = misnumbered.count();
        if misnumbered > 0 {
            let what = format!("{misnumbered} of its rows do not carry its batch or settle number");
            self.report
                .find(("I1", "batch_misnumbered"), object, what, REPORT_BUG);
        }
    }

    /// Each row against what the log said of its key before.
    fn history(&mut self, batch: &BatchRow, footer: &Footer) {
        let (mut here, mut twice, mut wrong) = (HashSet::new(), 0, 0);
        for row in footer.rows() {
            let key = self.keys.key("", row.resource_type, row.id);
            if !here.insert(key) {
                twice += 1;
            }
            let now = (row.content_hash, !row.is_tombstone());
            let follows = match (self.known.entry(key), row.change) {
                (Entry::Vacant(entry), change) => {
                    entry.insert(now);
                    change == Change::New
                }
                (Entry::Occupied(mut entry), change) => match (entry.insert(now), change) {
                    ((_, was_live), Change::New) => !was_live,
                    ((hash, was_live), Change::Changed) => was_live && hash != row.content_hash,
                    ((hash, was_live), Change::Deleted) => was_live && hash == row.content_hash,
                },
            };
            wrong += u64::from(!follows);
        }
        if twice > 0 {
            let what = format!("{twice} of its rows are of a resource that it has another row of");
            self.report.find(
                ("I2", "batch_key_twice"),
                &batch.object_key,
                what,
                REPORT_BUG,
            );
        }
        // Without all earlier rows there is nothing to follow from.
        if wrong > 0 && twice == 0 && self.is_whole && !self.is_merged {
            let what = format!("{wrong} of its rows do not follow from the batches before it");
            self.report.find(
                ("I1", "batch_history_wrong"),
                &batch.object_key,
                what,
                REPORT_BUG,
            );
        }
    }

    async fn check_index(&mut self) {
        const CACHE: &str = "nothing is lost: the index is a cache, and is rebuilt from the batches where it is needed";
        let Some(object) = &self.log.index_key else {
            if self.log.head_seq > 0 {
                let what = "its log has batches and it names no index";
                self.report
                    .find(("I1", "index_wrong"), self.log.connection_id, what, CACHE);
            }
            return;
        };
        let index = match Index::load(self.store, object).await {
            Ok(index) => index,
            Err(error) => {
                return self
                    .report
                    .find(("I1", "index_wrong"), object, error.to_string(), CACHE);
            }
        };
        if !self.is_whole {
            return;
        }
        let differing = self
            .index
            .iter()
            .filter(|entry| index.get(entry.resource_type, entry.id) != Some(*entry));
        let differing = differing.count();
        if index.last_seq() != self.index.last_seq()
            || index.len() != self.index.len()
            || differing > 0
        {
            let what = format!(
                "it ends at batch {} with {} entries, and the batches give {} at {}, {differing} of them others",
                index.last_seq(),
                index.len(),
                self.index.len(),
                self.index.last_seq()
            );
            self.report.find(("I1", "index_wrong"), object, what, CACHE);
        }
    }
}
