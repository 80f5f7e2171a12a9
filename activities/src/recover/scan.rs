//! What the record store and the destinations hold that a restored database may
//! not know.

use std::collections::BTreeMap;

use db::RecoveredDestination;
use futures::TryStreamExt;
use model::ConnectionId;
use records::Store;

use super::FOLDER;
use crate::Destinations;

/// What was met so far.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) is_restored: bool,
    pub(super) settle_seq: u64,
    /// The highest number of each log.
    pub(super) highest: BTreeMap<ConnectionId, u64>,
}

impl Scan {
    /// The numbers of a log's objects. The next one after the head may be that of a
    /// settle that was cut off; beyond it, this database gave out none. Returns the
    /// names of all its batches, and of those ahead that can be read.
    pub(super) async fn log(
        &mut self,
        store: &Store,
        connection: ConnectionId,
        head: u64,
    ) -> Result<(Vec<String>, Vec<String>), records::Error> {
        let (mut there, mut ahead) = (Vec::new(), Vec::new());
        for folder in ["batches", "index"] {
            let mut objects = store.list(&format!("{FOLDER}/{connection}/{folder}"));
            while let Some(object) = objects.try_next().await? {
                if let Some(seq) = seq_of(&object.object).filter(|seq| *seq > head) {
                    self.is_restored |= seq > head + 1;
                    self.meet(connection, seq);
                    if folder == "batches" && self.settle_numbers(store, &object.object).await? {
                        ahead.push(object.object.clone());
                    }
                }
                if folder == "batches" {
                    there.push(object.object);
                }
            }
        }
        Ok((there, ahead))
    }

    /// The settle numbers of a batch, if it can be read.
    async fn settle_numbers(
        &mut self,
        store: &Store,
        object: &str,
    ) -> Result<bool, records::Error> {
        match records::SegmentReader::open(store, object).await {
            Ok(reader) => {
                let highest = reader.footer().rows().map(|row| row.settle_seq).max();
                self.settle_seq = self.settle_seq.max(highest.unwrap_or(0));
                Ok(true)
            }
            Err(records::Error::Corrupt { .. } | records::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The publications that the database does not know. The next one may be that
    /// of a run that was cut off; it says nothing if its spans are within the logs.
    pub(super) async fn destination(
        &mut self,
        destinations: &Destinations,
        row: &db::Destination,
        heads: &BTreeMap<ConnectionId, u64>,
    ) -> Result<RecoveredDestination, destination::Error> {
        let files = destinations.open(row.id, &row.location).await?;
        files.confirm_owner().await?;
        let publications = files.publications(row.last_publication + 1).await?;
        let mut recovered = RecoveredDestination {
            id: row.id,
            epoch: row.epoch,
            last_publication: row.last_publication,
            publications: Vec::new(),
        };
        for publication in publications {
            self.is_restored |= publication.number > row.last_publication + 1;
            recovered.epoch = recovered.epoch.max(publication.epoch);
            recovered.last_publication = publication.number;
            for span in &publication.spans {
                let head = heads.get(&span.connection_id).copied().unwrap_or(0);
                self.is_restored |= span.to > head;
                self.meet(span.connection_id, span.to);
            }
            recovered.publications.push(publication);
        }
        recovered.epoch += 1;
        Ok(recovered)
    }

    fn meet(&mut self, connection: ConnectionId, seq: u64) {
        let highest = self.highest.entry(connection).or_default();
        *highest = seq.max(*highest);
    }
}

/// The number in the name of a batch or an index.
pub(super) fn seq_of(object: &str) -> Option<u64> {
    let name = object.rsplit('/').next()?;
    name.split_once('-')?.0.parse().ok()
}
