//! Attachments: one row for each URL that the resources of a connection name, with what
//! became of it and where its bytes lie.

use model::{AttachmentId, AttachmentState, ConnectionId, PullId, Timestamp, piece_keys};
use seal::Place;
use sqlx::AnyPool;
use sqlx::any::AnyRow;

use crate::page;
use crate::row::{Columns, corrupt};
use crate::{Db, Result};

/// What its resource says of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Its media type.
    pub media_type: Option<String>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Its SHA-1, in base64.
    pub sha1: Option<String>,
}

/// The bytes of an attachment in the record store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentObject {
    /// The name of its pieces, without their numbers.
    pub object_key: String,
    /// How many pieces there are.
    pub piece_count: u64,
    /// Their size together.
    pub size_bytes: u64,
    /// The SHA-256 over all of them, in hexadecimal.
    pub sha256: String,
    /// When they were fetched.
    pub fetched_at: Timestamp,
}

impl AttachmentObject {
    /// The names of the pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = String> {
        piece_keys(&self.object_key, self.piece_count)
    }
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// Whose record.
    pub connection_id: ConnectionId,
    /// The type of a resource that names it.
    pub resource_type: String,
    /// What became of it.
    pub state: AttachmentState,
    /// Why, or what is to be said of what was fetched.
    pub code: Option<String>,
    /// Attempts in a row that brought nothing.
    pub attempts: u64,
    /// When it may be asked for again; none: not until its resource changes, or
    /// everything is asked for.
    pub not_before: Option<Timestamp>,
    /// What its resource says of it.
    pub declared: Declared,
    /// What the source said it is when it was asked last.
    pub content_type: Option<String>,
    /// How large the source said it is when it was asked last.
    pub told_size_bytes: Option<u64>,
    /// The bytes that are had, also of an earlier version.
    pub object: Option<AttachmentObject>,
    /// The last pull that asked for it, or decided not to.
    pub pull_id: PullId,
    /// When it was met first.
    pub created_at: Timestamp,
    /// When this was written.
    pub updated_at: Timestamp,
}

/// An attachment with what its source calls it; not for logs, and its `Debug` shows its
/// id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenAttachment {
    /// What lists show.
    pub of: Attachment,
    /// Where it lies: relative to the source's base, or whole.
    pub url: String,
    /// What the source called the version that is had.
    pub etag: Option<String>,
}

impl std::fmt::Debug for OpenAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenAttachment({})", self.of.id)
    }
}

const COLUMNS: &str = "id, connection_id, url_sealed, etag_sealed, resource_type, state, code, attempts, not_before, \
     declared_type, declared_size_bytes, declared_sha1, content_type, told_size_bytes, size_bytes, sha256, object_key, \
     piece_count, fetched_at, pull_id, created_at, updated_at";

fn read(row: &AnyRow) -> Result<Attachment> {
    Ok(Attachment {
        id: row.word("id")?,
        connection_id: row.word("connection_id")?,
        resource_type: row.text("resource_type")?,
        state: row.word("state")?,
        code: row.raw("code")?,
        attempts: row.count("attempts")?,
        not_before: row.optional_time("not_before")?,
        declared: Declared {
            media_type: row.raw("declared_type")?,
            size_bytes: row.optional_count("declared_size_bytes")?,
            sha1: row.raw("declared_sha1")?,
        },
        content_type: row.raw("content_type")?,
        told_size_bytes: row.optional_count("told_size_bytes")?,
        object: read_object(row)?,
        pull_id: row.word("pull_id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(crate) fn read_object(row: &AnyRow) -> Result<Option<AttachmentObject>> {
    let Some(object_key) = row.raw::<Option<String>>("object_key")? else {
        return Ok(None);
    };
    Ok(Some(AttachmentObject {
        object_key,
        piece_count: row.count("piece_count")?,
        size_bytes: row.count("size_bytes")?,
        sha256: row.text("sha256")?,
        fetched_at: row.time("fetched_at")?,
    }))
}

impl Db {
    /// All attachments of a connection, opened.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] if the key is not the one they were sealed with.
    pub async fn open_attachments(&self, connection: ConnectionId) -> Result<Vec<OpenAttachment>> {
        let text =
            format!("SELECT {COLUMNS} FROM attachments WHERE connection_id = $1 ORDER BY id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(connection.to_string())
            .fetch_all(&self.writer)
            .await?;
        rows.iter().map(|row| self.open_attachment(row)).collect()
    }

    fn open_attachment(&self, row: &AnyRow) -> Result<OpenAttachment> {
        let of = read(row)?;
        let id = of.id.to_string();
        let open = |column: &str, sealed: &str| {
            let plain = self.keys.open(Place { column, row: &id }, sealed)?;
            String::from_utf8(plain).map_err(|_| corrupt(column))
        };
        let etag = row.raw::<Option<String>>("etag_sealed")?;
        Ok(OpenAttachment {
            url: open(URL, &row.text("url_sealed")?)?,
            etag: etag.map(|sealed| open(ETAG, &sealed)).transpose()?,
            of,
        })
    }

    /// Attachments of a connection, newest first, of one state or all; before `before`,
    /// at most `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn attachments(
        &self,
        connection: ConnectionId,
        state: Option<AttachmentState>,
        before: Option<AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Attachment>> {
        let in_state = page::only("state", 2, state.is_some());
        let text = format!(
            "SELECT {COLUMNS} FROM attachments WHERE connection_id = $1 AND {in_state} AND id < $3 \
             ORDER BY id DESC LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(connection.to_string())
            .bind(state.map_or("", AttachmentState::as_str))
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// An attachment as it stands now; none where there is no such.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        let text = format!("SELECT {COLUMNS} FROM attachments WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The bytes that are kept of attachments, by id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn attachment_objects(
        &self,
        after: Option<AttachmentId>,
        limit: u32,
    ) -> Result<Vec<(AttachmentId, AttachmentObject)>> {
        let rows = sqlx::query(
            "SELECT id, object_key, piece_count, size_bytes, sha256, fetched_at FROM attachments \
             WHERE object_key IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = row.word("id")?;
            found.extend(read_object(row)?.map(|object| (id, object)));
        }
        Ok(found)
    }
}

pub(crate) const URL: &str = "attachments.url";
pub(crate) const ETAG: &str = "attachments.etag";

/// The names of the pieces of all attachments of a connection.
pub(crate) async fn piece_names(pool: &AnyPool, connection: ConnectionId) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT object_key, piece_count, size_bytes, sha256, fetched_at FROM attachments WHERE connection_id = $1 \
         AND object_key IS NOT NULL",
    )
    .bind(connection.to_string())
    .fetch_all(pool)
    .await?;
    let mut names = Vec::new();
    for row in &rows {
        let object = read_object(row)?;
        names.extend(object.iter().flat_map(AttachmentObject::pieces));
    }
    Ok(names)
}
