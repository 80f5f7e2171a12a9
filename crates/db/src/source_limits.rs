//! What a source is to bear at most, and how many steps can use that.

use model::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::{Connection, Result};

/// How long a request is taken to need while nobody has measured it.
const REQUEST_US: u64 = 100_000;

/// Bounds on how a source is asked, by all workers together; none: no such bound, or
/// what the workers' settings come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SourceLimits {
    /// Requests a second.
    pub requests_per_second: Option<u32>,
    /// Requests that wait for an answer.
    pub concurrent_requests: Option<u32>,
    /// Pulls at work.
    pub concurrent_pulls: Option<u32>,
}

impl SourceLimits {
    pub(crate) fn read(row: &AnyRow) -> Result<Self> {
        let bound = |column: &str| -> Result<Option<u32>> {
            let bound = row.optional_count(column)?;
            bound
                .map(|bound| u32::try_from(bound).map_err(|_| crate::row::corrupt(column)))
                .transpose()
        };
        Ok(Self {
            requests_per_second: bound("requests_per_second")?,
            concurrent_requests: bound("concurrent_requests")?,
            concurrent_pulls: bound("concurrent_pulls")?,
        })
    }
}

impl Connection {
    /// Steps that may talk to the source at once, where its share of the workers' slots
    /// is `share`: no more than it bears requests, and no more than its rate keeps busy,
    /// half as many again and one. A step too many would hold its slot to wait for turns.
    #[must_use]
    pub fn steps_at_once(&self, share: u64) -> u64 {
        let requests = self.limits.concurrent_requests.map_or(u64::MAX, u64::from);
        let limit = self.limits.requests_per_second;
        let milli = self.rate.milli_per_second(limit, Timestamp::now());
        let busy = milli.map_or(u64::MAX, |milli| {
            let us = self.rate.request_us.unwrap_or(REQUEST_US);
            let under_way = us.saturating_mul(milli).saturating_mul(3) / 2;
            under_way.div_ceil(1_000_000_000) + 1
        });
        share.min(requests).min(busy).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::TestDb;
    use crate::{Db, NewConnection, NewSource, SourceChange, Throttled, TurnsAsked};

    crate::on_both!(steps_are_as_many_as_a_source_bears_and_its_rate_keeps_busy);

    async fn connection(db: &Db, limits: SourceLimits) -> Connection {
        let new = NewSource {
            limits,
            ..NewSource::new("portal", "https://portal/fhir", "portal/fhir")
        };
        let new = NewConnection {
            patient_id: db.ensure_patient("ann").await.unwrap(),
            source_id: db.add_source(&new).await.unwrap(),
            source_patient_id: "1".to_owned(),
            token: None,
        };
        let id = db.add_connection(&new).await.unwrap();
        db.connection(id).await.unwrap()
    }

    async fn steps_are_as_many_as_a_source_bears_and_its_rate_keeps_busy(database: TestDb) {
        let db = &database.db;
        let limits = SourceLimits {
            requests_per_second: None,
            concurrent_requests: Some(6),
            concurrent_pulls: None,
        };
        let found = connection(db, limits).await;
        assert_eq!(found.limits, limits);
        let (id, source) = (found.summary.id, found.summary.source_id);
        let steps = async |share| db.connection(id).await.unwrap().steps_at_once(share);
        assert_eq!((steps(8).await, steps(4).await, steps(0).await), (6, 4, 1));

        let limited = SourceChange {
            requests_per_second: Some(Some(50)),
            concurrent_requests: Some(None),
            ..SourceChange::default()
        };
        db.change_source(source, limited).await.unwrap();
        // 50 a second of a tenth of a second are five at once.
        assert_eq!((steps(8).await, steps(32).await), (8, 9));
        let asked = TurnsAsked {
            limit: Some(50),
            took: Some(Duration::from_millis(50)),
            ..TurnsAsked::default()
        };
        db.lease_turns(&source.to_string(), &asked).await.unwrap();
        assert_eq!(steps(32).await, 5);
        let throttled = Throttled {
            limit: Some(50),
            ..Throttled::default()
        };
        db.throttle(&source.to_string(), &throttled).await.unwrap();
        assert_eq!(steps(32).await, 4);
        // The operator knows better.
        db.change_source(source, limited).await.unwrap();
        assert_eq!(steps(32).await, 5);
    }
}
