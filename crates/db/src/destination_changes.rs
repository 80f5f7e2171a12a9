//! What may change of a destination, and its end.

use model::{DestinationId, ProbeKind, Timestamp, Trigger};

use crate::call::Tx;
use crate::destinations::{
    COLUMNS, Destination, MARK, add_pending, credentials_of, not_found, read,
};
use crate::row::Columns;
use crate::{Db, Error, Result, lock};

/// What is to change of a destination; what is left out stays.
#[derive(Clone, Copy, Default)]
pub struct DestinationChange<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Whether it is exported to.
    pub enabled: Option<bool>,
    /// The key to its object store, as its text; stored sealed.
    pub credentials: Option<&'a str>,
    /// The destination as the caller has seen it: only then it is changed.
    pub seen: Option<&'a Destination>,
}

/// Rows that belong to a destination, children first. The audit log stays: what was
/// disclosed to whom is known for good.
const DELETE: [&str; 13] = [
    "DELETE FROM marks WHERE destination_id = $1",
    "DELETE FROM holds WHERE destination_id = $1",
    "DELETE FROM pending_triggers WHERE destination_id = $1",
    "DELETE FROM watermarks WHERE destination_id = $1",
    "DELETE FROM publications WHERE destination_id = $1",
    "DELETE FROM probes WHERE destination_id = $1",
    "DELETE FROM run_triggers WHERE run_id IN (SELECT id FROM exports WHERE destination_id = $1)",
    "DELETE FROM steps WHERE run_id IN (SELECT id FROM exports WHERE destination_id = $1)",
    "DELETE FROM parts WHERE export_id IN (SELECT id FROM exports WHERE destination_id = $1)",
    "DELETE FROM export_spans WHERE export_id IN (SELECT id FROM exports WHERE destination_id = $1)",
    "DELETE FROM export_patients WHERE export_id IN (SELECT id FROM exports WHERE destination_id = $1)",
    "DELETE FROM exports WHERE destination_id = $1",
    "DELETE FROM destinations WHERE id = $1",
];

impl Db {
    /// Changes a destination, all of it or nothing. Enabled again, it catches up
    /// from where it was; disabled, a running export goes on. A new key ends the
    /// waiting that failures have brought, and is tried out.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`] if it is not as it was seen;
    /// [`Error::Conflict`] for a name that is taken, and for enabling one whose first
    /// test has not passed.
    pub async fn change_destination(
        &self,
        id: DestinationId,
        change: DestinationChange<'_>,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        let row = locked(&mut tx, id, change.seen).await?;
        if change.enabled == Some(true) && row.awaits_test {
            return Err(Error::Conflict {
                what: format!(
                    "destination {id} has not passed its test: mend it and test it, which enables it"
                ),
            });
        }
        if let Some(name) = change.name {
            rename(&mut tx, id, name).await?;
        }
        if let Some(text) = change.credentials {
            self.set_credentials(&mut tx, id, text).await?;
        }
        if let Some(enabled) = change.enabled {
            enable(&mut tx, id, enabled).await?;
        }
        self.commit(tx, id).await
    }

    /// Enables or disables a destination: [`Self::change_destination`].
    ///
    /// # Errors
    /// Those of [`Self::change_destination`].
    pub async fn set_destination_enabled(&self, id: DestinationId, enabled: bool) -> Result<()> {
        let change = DestinationChange {
            enabled: Some(enabled),
            ..DestinationChange::default()
        };
        self.change_destination(id, change).await
    }

    async fn set_credentials(&self, tx: &mut Tx<'_>, id: DestinationId, text: &str) -> Result<()> {
        let row = id.to_string();
        let sealed = self.keys.seal(credentials_of(&row), text.as_bytes())?;
        sqlx::query(
            "UPDATE destinations SET credentials_sealed = $1, failures = 0, not_before = 0, updated_at = $2 \
             WHERE id = $3",
        )
        .bind(sealed)
        .bind(Timestamp::now().0)
        .bind(&row)
        .execute(&mut **tx)
        .await?;
        crate::probes::queue(tx, id, ProbeKind::Test)
            .await
            .map(drop)
    }

    /// Forgets a destination with its exports; with `seen`, only if it is still as
    /// the caller has seen it. What lies at its location stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`]; [`Error::Conflict`] while an export is
    /// queued or running.
    pub async fn delete_destination(
        &self,
        id: DestinationId,
        seen: Option<&Destination>,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        // Settles mark what each destination lacks: none is under way.
        lock::all_connections(&mut tx).await?;
        locked(&mut tx, id, seen).await?;
        let open = sqlx::query(
            "SELECT id FROM exports WHERE destination_id = $1 AND state IN ('queued', 'running')",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(open) = open {
            let export = open.text("id")?;
            return Err(Error::Conflict {
                what: format!(
                    "export {export} to destination {id} has not ended: disable the destination, cancel the export, then delete"
                ),
            });
        }
        for text in DELETE {
            sqlx::query(text)
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        self.commit(tx, id).await
    }
}

/// Locks a destination that is still as it was seen.
async fn locked(
    tx: &mut Tx<'_>,
    id: DestinationId,
    seen: Option<&Destination>,
) -> Result<Destination> {
    lock::destination(tx, id).await?;
    let text = format!("SELECT {COLUMNS} FROM destinations WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    let now = read(&row.ok_or_else(|| not_found(&id.to_string()))?)?;
    match seen {
        Some(seen) if *seen != now => Err(Error::Changed),
        _ => Ok(now),
    }
}

async fn rename(tx: &mut Tx<'_>, id: DestinationId, name: &str) -> Result<()> {
    sqlx::query("UPDATE destinations SET name = $1, updated_at = $2 WHERE id = $3")
        .bind(name)
        .bind(Timestamp::now().0)
        .bind(id.to_string())
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            Error::unique(error, || {
                format!("there is a destination named `{name}` already")
            })
        })?;
    Ok(())
}

async fn enable(tx: &mut Tx<'_>, id: DestinationId, enabled: bool) -> Result<()> {
    let now = Timestamp::now().0;
    let done = sqlx::query(
        "UPDATE destinations SET enabled = $1, updated_at = $2 WHERE id = $3 AND enabled <> $1",
    )
    .bind(i64::from(enabled))
    .bind(now)
    .bind(id.to_string())
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() > 0 && enabled {
        crate::holds::clear(tx, &id.to_string(), &[]).await?;
        sqlx::query(MARK)
            .bind(now)
            .bind(id.to_string())
            .execute(&mut **tx)
            .await?;
        add_pending(tx, id, Trigger::Reactivated).await?;
    }
    Ok(())
}
