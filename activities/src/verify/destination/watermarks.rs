//! How far each connection was brought: spans follow each other, and the
//! watermarks stand where they end.

use std::collections::{BTreeMap, BTreeSet};

use model::{ConnectionId, Span};

use super::{Check, REPORT_BUG};
use crate::verify::VerifyError;

impl Check<'_> {
    /// A span must begin where the one before it of its epoch ended.
    pub(super) fn follow(&mut self, object: &str, epoch: u64, span: &Span) {
        let reached = self
            .reached
            .insert((epoch, span.connection_id), span.to)
            .unwrap_or(0);
        let what = format!(
            "its span of {} is from {} to {}, after {reached}",
            span.connection_id, span.from, span.to
        );
        if span.from < reached || span.to <= span.from {
            self.report
                .find(("I2", "span_overlap"), object, what, REPORT_BUG);
        } else if span.from > reached && self.is_whole {
            self.report
                .find(("I1", "span_gap"), object, what, REPORT_BUG);
        }
    }

    pub(super) async fn watermarks(&mut self) -> Result<(), VerifyError> {
        const BEHIND: &str =
            "stop exports to this destination and report this as a bug, with the publication";
        const AHEAD: &str = "what lies between was not delivered: restore the database from a backup, and report this as a bug";
        let watermarks: BTreeMap<ConnectionId, u64> =
            self.state.watermarks.iter().copied().collect();
        for (connection, watermark) in &watermarks {
            let object = format!("{} {connection}", self.state.id);
            let head = match self.db.log_head(*connection).await {
                Ok(head) => head.head_seq,
                Err(db::Error::NotFound { .. }) => 0,
                Err(error) => return Err(error.into()),
            };
            if *watermark > head {
                let what = format!("its watermark is {watermark}, and the log ends at {head}");
                self.report
                    .find(("I3", "watermark_beyond_log"), object, what, AHEAD);
            }
        }
        if !self.is_whole {
            // Where a publication is missing, nobody can say how far they reach.
            return Ok(());
        }
        let reached: BTreeMap<ConnectionId, u64> = self
            .reached
            .iter()
            .filter(|((epoch, _), _)| *epoch == self.state.epoch)
            .map(|((_, connection), reached)| (*connection, *reached))
            .collect();
        let connections: BTreeSet<_> = watermarks.keys().chain(reached.keys()).collect();
        for connection in connections {
            let watermark = watermarks.get(connection).copied().unwrap_or(0);
            let reached = reached.get(connection).copied().unwrap_or(0);
            let object = format!("{} {connection}", self.state.id);
            let what =
                format!("its watermark is {watermark}, and the publications reach to {reached}");
            if watermark > reached {
                self.report
                    .find(("I3", "watermark_ahead"), object, what, AHEAD);
            } else if watermark < reached {
                self.report
                    .find(("I3", "watermark_behind"), object, what, BEHIND);
            }
        }
        Ok(())
    }
}
