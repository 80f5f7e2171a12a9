//! Writing attachments, and putting aside the bytes they had before.
//!
//! Invariant: a row is written in the transaction that saves the step which decided it,
//! so that a step that was cut off changes none, and a URL has one row.

use model::{ConnectionId, Timestamp, content_hash};
use seal::Place;
use serde::Serialize;

use crate::attachments::{ETAG, URL, read_object};
use crate::call::Tx;
use crate::row::bigint;
use crate::{Attachment, Db, OpenAttachment, Result, StepRef};

impl Db {
    /// Saves attachments with the progress of the step that decided them; with a
    /// receipt, ends the step. Bytes that are replaced are superseded.
    ///
    /// # Errors
    /// [`crate::Error::Lost`] as for [`Db::save_pull_step`].
    pub async fn save_attachments<R: Serialize + Sync>(
        &self,
        step: &StepRef,
        token: &str,
        progress: &[u8],
        attachments: &[OpenAttachment],
        receipt: Option<&R>,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        self.save_progress(&mut tx, step, token, progress, receipt)
            .await?;
        for attachment in attachments {
            supersede(&mut tx, &attachment.of).await?;
            self.write_attachment(&mut tx, attachment).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn write_attachment(&self, tx: &mut Tx<'_>, attachment: &OpenAttachment) -> Result<()> {
        let (of, id) = (&attachment.of, attachment.of.id.to_string());
        let seal = |column: &str, text: &str| {
            let place = Place { column, row: &id };
            self.keys.seal(place, text.as_bytes())
        };
        let object = of.object.as_ref();
        sqlx::query(
            "INSERT INTO attachments (id, connection_id, url_hash, url_sealed, etag_sealed, resource_type, state, code, \
             attempts, not_before, declared_type, declared_size_bytes, declared_sha1, content_type, told_size_bytes, \
             size_bytes, sha256, object_key, piece_count, fetched_at, pull_id, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
             $22, $23) ON CONFLICT (id) DO UPDATE SET etag_sealed = excluded.etag_sealed, \
             resource_type = excluded.resource_type, state = excluded.state, code = excluded.code, \
             attempts = excluded.attempts, not_before = excluded.not_before, declared_type = excluded.declared_type, \
             declared_size_bytes = excluded.declared_size_bytes, declared_sha1 = excluded.declared_sha1, \
             content_type = excluded.content_type, told_size_bytes = excluded.told_size_bytes, \
             size_bytes = excluded.size_bytes, sha256 = excluded.sha256, object_key = excluded.object_key, \
             piece_count = excluded.piece_count, fetched_at = excluded.fetched_at, pull_id = excluded.pull_id, \
             updated_at = excluded.updated_at",
        )
        .bind(&id)
        .bind(of.connection_id.to_string())
        .bind(url_hash(of.connection_id, &attachment.url))
        .bind(seal(URL, &attachment.url)?)
        .bind(attachment.etag.as_deref().map(|etag| seal(ETAG, etag)).transpose()?)
        .bind(&of.resource_type)
        .bind(of.state.as_str())
        .bind(&of.code)
        .bind(bigint(of.attempts))
        .bind(of.not_before.map(|at| at.0))
        .bind(&of.declared.media_type)
        .bind(of.declared.size_bytes.map(bigint))
        .bind(&of.declared.sha1)
        .bind(&of.content_type)
        .bind(of.told_size_bytes.map(bigint))
        .bind(object.map(|object| bigint(object.size_bytes)))
        .bind(object.map(|object| object.sha256.as_str()))
        .bind(object.map(|object| object.object_key.as_str()))
        .bind(object.map(|object| bigint(object.piece_count)))
        .bind(object.map(|object| object.fetched_at.0))
        .bind(of.pull_id.to_string())
        .bind(of.created_at.0)
        .bind(Timestamp::now().0)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

/// What a URL is looked for by: it cannot be read from it.
fn url_hash(connection: ConnectionId, url: &str) -> String {
    content_hash(format!("{connection}\n{url}").as_bytes()).to_string()
}

/// Notes that the bytes an attachment had are replaced, if they are: they stay a while
/// for those who read them.
async fn supersede(tx: &mut Tx<'_>, of: &Attachment) -> Result<()> {
    let row = sqlx::query(
        "SELECT object_key, piece_count, size_bytes, sha256, fetched_at FROM attachments WHERE id = $1",
    )
    .bind(of.id.to_string())
    .fetch_optional(&mut **tx)
    .await?;
    let before = row.as_ref().map(read_object).transpose()?.flatten();
    let now = of.object.as_ref().map(|object| &object.object_key);
    let Some(before) = before.filter(|before| Some(&before.object_key) != now) else {
        return Ok(());
    };
    for piece in before.pieces() {
        sqlx::query(
            "INSERT INTO superseded_objects (object_key, connection_id, superseded_at) VALUES ($1, $2, $3) \
             ON CONFLICT (object_key) DO NOTHING",
        )
        .bind(piece)
        .bind(of.connection_id.to_string())
        .bind(Timestamp::now().0)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
