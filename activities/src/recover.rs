//! `chartlift recover`: a database that was restored from an older copy goes on
//! above all that the record store and the destinations have seen.
//!
//! The copy does not know the batches, publications and settle numbers of the
//! time since. Numbers given out twice would put the older of two rows on top, so
//! every number jumps; publications that stand are taken over, since readers have
//! seen them; what the record store has of the logs is taken in; then everything is
//! pulled in full and sent again in a new epoch,
//! which makes the destinations complete whatever they had.
//!
//! First all is read, then one transaction makes it true, which also is what lets
//! workers start again: killed before, it is as if it had not begun.

mod logs;
mod scan;

use std::collections::BTreeMap;
use std::time::Duration;

use db::{Db, Recovery};
use model::{ConnectionId, DestinationId};
use records::{BatchRef, Store};

use self::scan::Scan;
use crate::Destinations;
use crate::settle_seq::{self, SettleSeqError};

/// The folder of all connections.
const FOLDER: &str = "connections";
/// Connections read at once.
const PAGE: u32 = 500;
/// How long a recovery keeps workers from dispatching.
const LEASE: Duration = Duration::from_secs(10 * 60);

/// Why a database could not be put right.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The record store did not answer.
    #[error("the record store must be readable: {0}")]
    Records(#[from] records::Error),
    /// The settle numbers could not be read.
    #[error(transparent)]
    SettleSeq(#[from] SettleSeqError),
    /// A destination did not answer: what was published there decides the numbers.
    #[error(
        "destination {id} must be readable, since what was published there decides where numbers go on: {source}"
    )]
    Destination {
        /// Which.
        id: DestinationId,
        /// What it said.
        source: destination::Error,
    },
    /// A worker is at work.
    #[error("a worker is at work on this database: stop all of them, then recover")]
    AtWork,
}

/// What a recovery would do.
#[derive(Debug, Clone, Default)]
pub struct RecoverPlan {
    /// Whether the database is older than what it belongs to.
    pub is_restored: bool,
    /// The last settle number that the database knows, and that anything holds.
    pub settle_seq: (u64, u64),
    /// Folders of connections that the database does not know.
    pub unknown_connections: Vec<ConnectionId>,
    /// Folders there that are no connection's.
    pub unknown_folders: u64,
    /// Logs that are made anew, and of which batches: what the record store has of
    /// them beyond what the database knows is taken in.
    pub logs: Vec<(ConnectionId, Vec<BatchRef>)>,
    /// What is made true.
    pub recovery: Recovery,
}

/// Reads what the database, the record store and the destinations hold.
///
/// # Errors
/// [`RecoverError`].
pub async fn plan(
    db: &Db,
    store: &Store,
    destinations: &Destinations,
) -> Result<RecoverPlan, RecoverError> {
    let known = db.settle_numbers().await?.known_end();
    let stored = settle_seq::stored_end(store).await?;
    let mut scan = Scan {
        is_restored: stored > known,
        settle_seq: stored.max(known),
        ..Scan::default()
    };
    let mut heads = BTreeMap::new();
    let mut after = None;
    loop {
        let page = db.log_heads(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        heads.extend(page);
    }
    let mut plan = RecoverPlan::default();
    for folder in store.folders(FOLDER).await? {
        match folder.parse::<ConnectionId>() {
            Ok(connection) if heads.contains_key(&connection) => {
                let head = heads[&connection];
                let batches = db.batches(connection, 0, head).await?;
                let (there, ahead) = scan.log(store, connection, head).await?;
                if let Some(refs) = logs::with_what_came_since(&batches, &there, &ahead) {
                    plan.logs.push((connection, refs));
                }
            }
            Ok(connection) => plan.unknown_connections.push(connection),
            Err(_) => plan.unknown_folders += 1,
        }
    }
    for row in db.destinations().await? {
        let id = row.id;
        let read = scan.destination(destinations, &row, &heads).await;
        // What never passed its test has had nothing; if it did after the copy was
        // made, it can be read.
        if row.awaits_test && read.is_err() {
            continue;
        }
        let recovered = read.map_err(|source| RecoverError::Destination { id, source })?;
        plan.recovery.destinations.push(recovered);
    }
    plan.is_restored = scan.is_restored;
    plan.settle_seq = (known, scan.settle_seq);
    plan.recovery.settle_seq = scan.settle_seq;
    plan.recovery.heads = scan
        .highest
        .into_iter()
        .filter(|(connection, highest)| heads.get(connection).is_some_and(|head| highest > head))
        .collect();
    plan.recovery.connections = heads.into_keys().collect();
    Ok(plan)
}

/// Carries out a plan.
///
/// # Errors
/// [`RecoverError`].
pub async fn carry_out(
    db: &Db,
    store: &Store,
    destinations: &Destinations,
    plan: &RecoverPlan,
) -> Result<(), RecoverError> {
    // Objects of names of their own, and the manifests of what is taken over; written again, they say the same.
    let mut recovery = plan.recovery.clone();
    for (connection, refs) in &plan.logs {
        recovery
            .merged
            .extend(logs::write(store, *connection, refs).await?);
    }
    let rows = db.destinations().await?;
    for destination in &plan.recovery.destinations {
        let Some(row) = rows.iter().find(|row| row.id == destination.id) else {
            continue;
        };
        let id = row.id;
        let failed = |source| RecoverError::Destination { id, source };
        let files = destinations.open(id, &row.location).await.map_err(failed)?;
        for publication in &destination.publications {
            files.write_manifest(publication).await.map_err(failed)?;
        }
    }
    Ok(db.commit_recovery(&recovery).await?)
}

/// The place of the worker that dispatches, taken.
#[derive(Debug)]
pub struct Place {
    holder: String,
}

/// Takes the place of the worker that dispatches, while a recovery is planned and
/// carried out.
///
/// # Errors
/// [`RecoverError::AtWork`].
pub async fn keep_workers_out(db: &Db) -> Result<Place, RecoverError> {
    let holder = format!("recover-{}", model::EventId::new());
    if db.lease("dispatch", &holder, LEASE).await? {
        Ok(Place { holder })
    } else {
        Err(RecoverError::AtWork)
    }
}

impl Place {
    /// Gives it back.
    ///
    /// # Errors
    /// [`RecoverError::Database`].
    pub async fn give_back(self, db: &Db) -> Result<(), RecoverError> {
        db.lease("dispatch", &self.holder, Duration::ZERO).await?;
        Ok(())
    }
}

impl RecoverPlan {
    /// What it would do, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let recovery = &self.recovery;
        let mut lines = vec![format!(
            "settle numbers go on at {}, the database knows them up to {}",
            self.settle_seq.1 + 1,
            self.settle_seq.0
        )];
        for (connection, batches) in &self.logs {
            lines.push(format!(
                "{connection}: its log is made anew of the {} batches that the record store has of it",
                batches.len()
            ));
        }
        for (connection, highest) in &recovery.heads {
            lines.push(format!(
                "{connection}: its log goes on at batch {}",
                highest + 1
            ));
        }
        for destination in &recovery.destinations {
            lines.push(format!(
                "{}: {} publications are taken over, and everything is sent again as epoch {}",
                destination.id,
                destination.publications.len(),
                destination.epoch
            ));
        }
        lines.push(format!(
            "open runs end as failed, and each of {} connections that can be is pulled in full",
            recovery.connections.len()
        ));
        for connection in &self.unknown_connections {
            lines.push(format!(
                "{connection}: the record store has objects of it and the database does not know it; \
                 connect the patient again to pull it"
            ));
        }
        if self.unknown_folders > 0 {
            lines.push(format!(
                "{} folders of the record store are no connection's: left alone",
                self.unknown_folders
            ));
        }
        lines
    }
}
