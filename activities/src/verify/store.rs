//! The record store: each connection's log is whole and says what it said, and
//! its index is the one its footers give.

mod batch;

use std::collections::HashMap;

use db::{Db, LogState};
use model::{ConnectionId, ContentHash};
use records::{Error, Index, SegmentReader, Store};

use super::rows::{Key, Keys};
use super::stretch::{is_merged, was_passed_over};
use super::{Finding, Report, VerifyError, VerifyOptions};

/// Connections read at once.
const PAGE: u32 = 500;
/// Times a log is looked at again because it changed meanwhile.
const LOOKS_MAX: u32 = 5;
const RESTORE: &str = "restore the object from a backup of the record store; without one, what it held has to be pulled again";
const RESTORE_DATABASE: &str =
    "restore the database from a backup; the objects may still be in the record store";
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
        let connections = db.connection_ids(after, PAGE).await?;
        let Some(last) = connections.last() else {
            return Ok(());
        };
        after = Some(*last);
        for connection in connections {
            look(db, store, options, connection, report).await?;
        }
    }
}

/// Looks at a log. What is found counts if nothing has changed meanwhile: a
/// settle moves the index, and a merge the batches too. A log that never stands
/// still is charged with what two looks in a row have found.
async fn look(
    db: &Db,
    store: &Store,
    options: &VerifyOptions,
    connection: ConnectionId,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let mut before: Vec<Finding> = Vec::new();
    for looks in 1.. {
        let Some(log) = db.log_state(connection).await? else {
            return Ok(());
        };
        let mut seen = Report::default();
        LogCheck::new(&log, store, options, &mut seen).run().await;
        let stands = seen.is_clean() || db.log_version(connection).await? == Some(log.log_version);
        if stands || looks == LOOKS_MAX {
            seen.findings
                .retain(|finding| stands || before.contains(finding));
            report.absorb(seen);
            return Ok(());
        }
        before = seen.findings;
    }
    Ok(())
}

pub(super) struct LogCheck<'a> {
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
    /// The settle number of the batch before.
    settle_seq: u64,
    /// Whether every batch so far was there and could be read.
    is_whole: bool,
}

impl<'a> LogCheck<'a> {
    pub(super) fn new(
        log: &'a LogState,
        store: &'a Store,
        options: &'a VerifyOptions,
        report: &'a mut Report,
    ) -> Self {
        Self {
            log,
            store,
            options,
            report,
            keys: Keys::default(),
            known: HashMap::new(),
            index: Index::new(),
            next_seq: 1,
            settle_seq: 0,
            is_whole: true,
        }
    }

    pub(super) async fn run(mut self) {
        self.report.checked.connections += 1;
        let log = self.log;
        for batch in &log.batches {
            self.report.checked.batches += 1;
            if batch.seq > log.head_seq {
                let what = format!(
                    "its log ends at {}, and the catalogue has batch {}",
                    log.head_seq, batch.seq
                );
                self.report.find(
                    ("I1", "batch_beyond_head"),
                    log.connection_id,
                    what,
                    RESTORE_DATABASE,
                );
            }
            if !is_merged(batch) {
                self.gap(batch.seq);
            }
            let first_seq = self.next_seq;
            self.next_seq = batch.seq + 1;
            let reader = match SegmentReader::open(self.store, &batch.object_key).await {
                Ok(reader) => reader,
                Err(error) => {
                    self.batch_error(&error, &batch.object_key);
                    continue;
                }
            };
            self.report.checked.rows += u64::from(reader.footer().row_count());
            self.compare(batch, &reader);
            self.numbers(batch, first_seq, reader.footer());
            self.history(batch, reader.footer());
            // It refuses what is too large or out of order; the index then tells.
            self.is_whole &= self.index.apply(batch.seq, reader.footer()).is_ok();
            if self.options.bodies
                && let Err(error) = reader.rehash().await
            {
                self.batch_error(&error, &batch.object_key);
            }
        }
        self.gap(log.head_seq + 1);
        self.check_index().await;
    }

    /// The numbers before `seq` must have come, or have been passed over.
    fn gap(&mut self, seq: u64) {
        let mut missing = (self.next_seq..seq).filter(|seq| !was_passed_over(self.log, *seq));
        let Some(first) = missing.next() else { return };
        let last = missing.next_back().unwrap_or(first);
        self.is_whole = false;
        let what = format!("batches {first} to {last} of its log are not in the catalogue");
        self.report.find(
            ("I1", "batch_row_missing"),
            self.log.connection_id,
            what,
            RESTORE_DATABASE,
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
