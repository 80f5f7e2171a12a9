//! The plan of an export, and the work of its chunks.

use model::{ConnectionId, ExportCounts, ExportId, Part, Timestamp};
use serde::Serialize;

use crate::lacking::read_span;
use crate::row::{Columns, bigint, json};
use crate::steps::finish_step;
use crate::{Candidate, ChunkSpan, Db, Error, Result, StepRef};

/// A span of a plan, with the chunk it lies in.
#[derive(Debug, Clone)]
pub struct PlannedSpan {
    /// The connection and its batches.
    pub candidate: Candidate,
    /// The chunk.
    pub chunk: u64,
}

/// A plan to fix.
#[derive(Debug, Clone)]
pub struct NewPlan {
    /// Its id.
    pub plan_id: String,
    /// The publication it will become.
    pub number: u64,
    /// The destination's epoch.
    pub epoch: u64,
    /// Its chunks.
    pub chunk_count: u64,
    /// What it holds.
    pub spans: Vec<PlannedSpan>,
}

/// What a chunk wrote.
#[derive(Debug, Clone, Copy)]
pub struct ChunkCommit<'a, R> {
    /// The export.
    pub export: ExportId,
    /// Its plan.
    pub plan_id: &'a str,
    /// The chunk.
    pub chunk: u64,
    /// Its step.
    pub step: &'a StepRef,
    /// The fence.
    pub token: &'a str,
    /// Its files.
    pub parts: &'a [Part],
    /// What became of each connection's rows.
    pub spans: &'a [(ConnectionId, ExportCounts)],
    /// What the step answers.
    pub receipt: &'a R,
}

impl Db {
    /// Fixes a plan and ends the plan step.
    ///
    /// # Errors
    /// [`Error::Lost`] if another attempt holds the step or the run has ended.
    pub async fn save_plan<R: Serialize + Sync>(
        &self,
        export: ExportId,
        step: &StepRef,
        token: &str,
        plan: &NewPlan,
        receipt: &R,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        finish_step(&mut tx, step, token, receipt).await?;
        let fixed = sqlx::query(
            "UPDATE exports SET plan_id = $1, plan_number = $2, plan_epoch = $3, chunk_count = chunk_count + $4, \
             phase = 'working', updated_at = $5 WHERE id = $6 AND state = 'running'",
        )
        .bind(&plan.plan_id)
        .bind(bigint(plan.number))
        .bind(bigint(plan.epoch))
        .bind(bigint(plan.chunk_count))
        .bind(Timestamp::now().0)
        .bind(export.to_string())
        .execute(&mut *tx)
        .await?;
        if fixed.rows_affected() == 0 {
            return Err(Error::Lost);
        }
        for span in &plan.spans {
            sqlx::query(
                "INSERT INTO export_spans (export_id, plan_id, connection_id, chunk, from_seq, to_seq, index_key, \
                 state, counts) VALUES ($1, $2, $3, $4, $5, $6, $7, 'planned', '{}')",
            )
            .bind(export.to_string())
            .bind(&plan.plan_id)
            .bind(span.candidate.connection_id.to_string())
            .bind(bigint(span.chunk))
            .bind(bigint(span.candidate.from_seq))
            .bind(bigint(span.candidate.to_seq))
            .bind(&span.candidate.index_key)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The publication number and the epoch of the plan an export has fixed.
    ///
    /// # Errors
    /// [`Error::Lost`] if it has none, or another than `plan_id`.
    pub async fn fixed_plan(&self, export: ExportId, plan_id: &str) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "SELECT plan_number, plan_epoch FROM exports WHERE id = $1 AND plan_id = $2",
        )
        .bind(export.to_string())
        .bind(plan_id)
        .fetch_optional(&self.writer)
        .await?
        .ok_or(Error::Lost)?;
        Ok((row.count("plan_number")?, row.count("plan_epoch")?))
    }

    /// Chunks planned so far in an export: the number of the next one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn chunk_count(&self, export: ExportId) -> Result<u64> {
        let row = sqlx::query("SELECT chunk_count FROM exports WHERE id = $1")
            .bind(export.to_string())
            .fetch_one(&self.writer)
            .await?;
        row.count("chunk_count")
    }

    /// The spans of a chunk, by connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn chunk_spans(
        &self,
        export: ExportId,
        plan_id: &str,
        chunk: u64,
    ) -> Result<Vec<ChunkSpan>> {
        let rows = sqlx::query(
            "SELECT export_spans.connection_id AS connection_id, connections.patient_id AS patient_id, \
             sources.identity AS identity, export_spans.from_seq AS from_seq, export_spans.to_seq AS to_seq, \
             export_spans.index_key AS index_key FROM export_spans \
             JOIN connections ON connections.id = export_spans.connection_id \
             JOIN sources ON sources.id = connections.source_id \
             WHERE export_spans.export_id = $1 AND export_spans.plan_id = $2 AND export_spans.chunk = $3 \
             ORDER BY export_spans.connection_id",
        )
        .bind(export.to_string())
        .bind(plan_id)
        .bind(bigint(chunk))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(read_span).collect()
    }

    /// Stores what a chunk wrote and ends its step.
    ///
    /// # Errors
    /// [`Error::Lost`] if another attempt holds the step or the run has moved on.
    pub async fn finish_chunk<R: Serialize + Sync>(&self, done: &ChunkCommit<'_, R>) -> Result<()> {
        let ChunkCommit {
            export,
            plan_id,
            chunk,
            step,
            token,
            parts,
            spans,
            receipt,
        } = *done;
        let mut tx = self.writer.begin().await?;
        finish_step(&mut tx, step, token, receipt).await?;
        let open = sqlx::query(
            "UPDATE exports SET updated_at = $1 WHERE id = $2 AND state = 'running' AND phase = 'working' AND plan_id = $3",
        )
        .bind(Timestamp::now().0)
        .bind(export.to_string())
        .bind(plan_id)
        .execute(&mut *tx)
        .await?;
        if open.rows_affected() == 0 {
            return Err(Error::Lost);
        }
        for (ordinal, part) in (0_i64..).zip(parts) {
            sqlx::query(
                "INSERT INTO parts (export_id, plan_id, chunk, ordinal, path, resource_type, deleted, row_count, \
                 size_bytes, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(export.to_string())
            .bind(plan_id)
            .bind(bigint(chunk))
            .bind(ordinal)
            .bind(&part.path)
            .bind(&part.resource_type)
            .bind(i64::from(part.deleted))
            .bind(bigint(part.row_count))
            .bind(bigint(part.size_bytes))
            .bind(&part.sha256)
            .execute(&mut *tx)
            .await?;
        }
        for (connection, counts) in spans {
            sqlx::query(
                "UPDATE export_spans SET state = 'delivered', counts = $1 \
                 WHERE export_id = $2 AND plan_id = $3 AND connection_id = $4",
            )
            .bind(json(counts))
            .bind(export.to_string())
            .bind(plan_id)
            .bind(connection.to_string())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Saves how far a chunk has come.
    ///
    /// # Errors
    /// [`Error::Lost`] if another attempt holds the step or the run has moved on.
    pub async fn save_chunk(
        &self,
        step: &StepRef,
        token: &str,
        plan_id: &str,
        progress: &[u8],
    ) -> Result<()> {
        let saved = sqlx::query(
            "UPDATE steps SET progress_sealed = $1, idle_attempts = 0, updated_at = $2 \
             WHERE run_id = $3 AND name = $4 AND token = $5 AND state = 'running' AND EXISTS (SELECT 1 FROM exports \
             WHERE exports.id = $3 AND exports.state = 'running' AND exports.phase = 'working' AND exports.plan_id = $6)",
        )
        .bind(self.seal_progress(step, progress)?)
        .bind(Timestamp::now().0)
        .bind(&step.run_id)
        .bind(&step.name)
        .bind(token)
        .bind(plan_id)
        .execute(&self.writer)
        .await?;
        if saved.rows_affected() == 0 {
            Err(Error::Lost)
        } else {
            Ok(())
        }
    }

    /// Marks the spans of a chunk that could not be written: all their rows
    /// failed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn fail_chunk(
        &self,
        export: ExportId,
        plan_id: &str,
        chunk: u64,
        error_code: &str,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE export_spans SET state = 'failed', error_code = $1, counts = (SELECT '{\"planned\":' || \
             COALESCE(SUM(row_count), 0) || ',\"failed\":' || COALESCE(SUM(row_count), 0) || '}' FROM batches \
             WHERE batches.connection_id = export_spans.connection_id AND batches.seq > export_spans.from_seq \
             AND batches.seq <= export_spans.to_seq) \
             WHERE export_id = $2 AND plan_id = $3 AND chunk = $4 AND state = 'planned'",
        )
        .bind(error_code)
        .bind(export.to_string())
        .bind(plan_id)
        .bind(bigint(chunk))
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}
