//! Destinations, and the marks of what each lacks.

use model::{DestinationId, FileFormat, ProbeKind, Timestamp, Trigger};
use seal::Place;
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::{Db, Error, Result, lock};

/// A destination to add.
#[derive(Debug, Clone)]
pub struct NewDestination {
    /// Its id, chosen before: its prefix carries it already.
    pub id: DestinationId,
    /// A name for people, unique.
    pub name: String,
    /// The folder, absolute, or the place in an object store; unique and fixed.
    pub location: String,
    /// How files are written; fixed.
    pub format: FileFormat,
    /// The key to an object store, as its text; stored sealed.
    pub credentials: Option<String>,
    /// Whether it has not been tried out yet: a worker does it, and enables the
    /// destination if it passes.
    pub awaits_test: bool,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// Its id.
    pub id: DestinationId,
    /// Its name.
    pub name: String,
    /// The folder, or the place in an object store.
    pub location: String,
    /// How files are written.
    pub format: FileFormat,
    /// Whether it is exported to.
    pub enabled: bool,
    /// Whether no test of it has passed yet: until then it is not enabled.
    pub awaits_test: bool,
    /// Rises with every full re-send.
    pub epoch: u64,
    /// The last adopted publication.
    pub last_publication: u64,
    /// Runs that failed as a whole since one did not.
    pub failures: u64,
    /// Before then, no automatic run.
    pub not_before: Timestamp,
    /// When added.
    pub created_at: Timestamp,
}

pub(crate) const COLUMNS: &str = "id, name, location, format, enabled, awaits_test, epoch, last_publication, failures, not_before, \
     created_at";

pub(crate) fn read(row: &AnyRow) -> Result<Destination> {
    Ok(Destination {
        id: row.word("id")?,
        name: row.text("name")?,
        location: row.text("location")?,
        format: row.word("format")?,
        enabled: row.flag("enabled")?,
        awaits_test: row.flag("awaits_test")?,
        epoch: row.count("epoch")?,
        last_publication: row.count("last_publication")?,
        failures: row.count("failures")?,
        not_before: row.time("not_before")?,
        created_at: row.time("created_at")?,
    })
}

/// Marks every connection whose head the destination has not passed; in the order in
/// which a settle makes its marks, so that the two do not wait for each other.
pub(crate) const MARK: &str = "INSERT INTO marks (destination_id, connection_id, since) \
     SELECT destinations.id, connections.id, $1 FROM destinations CROSS JOIN connections \
     LEFT JOIN watermarks ON watermarks.destination_id = destinations.id AND watermarks.connection_id = connections.id \
     WHERE ($2 = '' OR destinations.id = $2) AND connections.head_seq > COALESCE(CASE WHEN watermarks.epoch = \
     destinations.epoch THEN watermarks.seq END, 0) ORDER BY connections.id, destinations.id ON CONFLICT (destination_id, connection_id) DO NOTHING";

impl Db {
    /// Adds a destination; it lacks everything there is. It is enabled, or queues
    /// its first test.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its name or location is taken.
    pub async fn add_destination(&self, new: &NewDestination) -> Result<()> {
        let now = Timestamp::now().0;
        let id = new.id.to_string();
        let credentials = new.credentials.as_ref();
        let credentials = credentials
            .map(|text| self.keys.seal(credentials_of(&id), text.as_bytes()))
            .transpose()?;
        let mut tx = self.writer.begin().await?;
        // A settle that is under way would not mark what it does not see yet.
        lock::all_connections(&mut tx).await?;
        sqlx::query(
            "INSERT INTO destinations (id, name, location, format, enabled, epoch, last_publication, failures, \
             not_before, created_at, updated_at, credentials_sealed, awaits_test) \
             VALUES ($1, $2, $3, $4, $7, 1, 0, 0, 0, $5, $5, $6, $8)",
        )
        .bind(&id)
        .bind(&new.name)
        .bind(&new.location)
        .bind(new.format.as_str())
        .bind(now)
        .bind(credentials)
        .bind(i64::from(!new.awaits_test))
        .bind(i64::from(new.awaits_test))
        .execute(&mut *tx)
        .await
        .map_err(|error| {
            Error::unique(error, || {
                format!("there is a destination named `{}`, or one at {}, already", new.name, new.location)
            })
        })?;
        sqlx::query(MARK)
            .bind(now)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        add_pending(&mut tx, new.id, Trigger::DestinationAdded).await?;
        if new.awaits_test {
            crate::probes::queue(&mut tx, new.id, ProbeKind::Test).await?;
        }
        self.commit(tx, new.id).await
    }

    /// Whether a name and a location are still to be had.
    ///
    /// # Errors
    /// [`Error::Conflict`] if one of them is taken.
    pub async fn destination_is_free(&self, name: &str, location: &str) -> Result<()> {
        let taken = sqlx::query("SELECT name FROM destinations WHERE name = $1 OR location = $2")
            .bind(name)
            .bind(location)
            .fetch_optional(&self.writer)
            .await?;
        if taken.is_none() {
            return Ok(());
        }
        Err(Error::Conflict {
            what: format!("there is a destination named `{name}`, or one at {location}, already"),
        })
    }

    /// All destinations, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn destinations(&self) -> Result<Vec<Destination>> {
        let text = format!("SELECT {COLUMNS} FROM destinations ORDER BY name");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The destination with this id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn destination(&self, id_or_name: &str) -> Result<Destination> {
        let text = format!("SELECT {COLUMNS} FROM destinations WHERE id = $1 OR name = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id_or_name)
            .fetch_optional(&self.writer)
            .await?;
        read(&row.ok_or_else(|| Error::NotFound {
            noun: "destination",
            id: id_or_name.to_owned(),
        })?)
    }

    /// The key to a destination's object store, opened; none for a folder.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Sealed`] if the encryption key is not the one
    /// it was sealed with.
    pub async fn destination_credentials(&self, id: DestinationId) -> Result<Option<String>> {
        let id = id.to_string();
        let row = sqlx::query("SELECT credentials_sealed FROM destinations WHERE id = $1")
            .bind(&id)
            .fetch_optional(&self.reader)
            .await?;
        let row = row.ok_or_else(|| not_found(&id))?;
        let Some(sealed) = row.raw::<Option<String>>("credentials_sealed")? else {
            return Ok(None);
        };
        let plain = self.keys.open(credentials_of(&id), &sealed)?;
        let text = String::from_utf8(plain);
        text.map(Some).map_err(|_| crate::row::corrupt(CREDENTIALS))
    }

    /// Marks again what destinations lack: marks are a cache.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn recompute_marks(&self) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        // What is being taken over would be marked by the watermarks before.
        lock::all_destinations(&mut tx).await?;
        sqlx::query(MARK)
            .bind(Timestamp::now().0)
            .bind("")
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Table and column of the sealed key.
const CREDENTIALS: &str = "destinations.credentials";

pub(crate) fn credentials_of(id: &str) -> Place<'_> {
    Place {
        column: CREDENTIALS,
        row: id,
    }
}

pub(crate) fn not_found(id: &str) -> Error {
    Error::NotFound {
        noun: "destination",
        id: id.to_owned(),
    }
}

/// Remembers a reason for the destination's next export.
pub(crate) async fn add_pending(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    destination: DestinationId,
    trigger: Trigger,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO pending_triggers (destination_id, reason, count, first_at) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (destination_id, reason) DO UPDATE SET count = pending_triggers.count + 1",
    )
    .bind(destination.to_string())
    .bind(trigger.as_str())
    .bind(Timestamp::now().0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
