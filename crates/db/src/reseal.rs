//! Sealing all that is sealed with the first key of the ring, while the deployment
//! works. A value is replaced only if it is still the one that was read; what is
//! written meanwhile is sealed with the key of who writes it. Stopped anywhere, it
//! goes on where values of another key are left.

use seal::Place;
use sqlx::Row;

use crate::{Db, Result};

/// Rows that are looked at together.
const PAGE: i64 = 200;

/// A sealed column.
struct Sealed {
    table: &'static str,
    column: &'static str,
    /// As the associated data has it.
    place: &'static str,
    /// The columns that name the row; joined by `/` they are its name there.
    keys: &'static [&'static str],
}

/// Every sealed column; a test compares this with the schema.
const COLUMNS: &[Sealed] = &[
    sealed(
        "connections",
        "source_patient_id_sealed",
        "connections.source_patient_id",
        &["id"],
    ),
    sealed("connections", "token_sealed", "connections.token", &["id"]),
    sealed("tokens", "access_sealed", "tokens.access", &["subject_id"]),
    sealed(
        "tokens",
        "refresh_sealed",
        "tokens.refresh",
        &["subject_id"],
    ),
    sealed(
        "sources",
        "login_secret_sealed",
        "sources.login_secret",
        &["id"],
    ),
    sealed(
        "source_plans",
        "plan_sealed",
        "source_plans.plan",
        &["source_id", "resource_type"],
    ),
    sealed("attachments", "url_sealed", "attachments.url", &["id"]),
    sealed("attachments", "etag_sealed", "attachments.etag", &["id"]),
    sealed(
        "signing_keys",
        "private_sealed",
        "signing_keys.private",
        &["kid"],
    ),
    sealed(
        "destinations",
        "credentials_sealed",
        "destinations.credentials",
        &["id"],
    ),
    sealed(
        "steps",
        "progress_sealed",
        "steps.progress",
        &["run_id", "name"],
    ),
    sealed(
        "idempotency_keys",
        "answer_sealed",
        "idempotency_keys.answer",
        &["idempotency_key"],
    ),
    sealed(
        "idempotency_keys",
        "secret_sealed",
        "idempotency_keys.secret",
        &["idempotency_key"],
    ),
];

const fn sealed(
    table: &'static str,
    column: &'static str,
    place: &'static str,
    keys: &'static [&'static str],
) -> Sealed {
    Sealed {
        table,
        column,
        place,
        keys,
    }
}

/// What a pass over all sealed values came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that were sealed anew.
    pub resealed: u64,
    /// Values that somebody else replaced meanwhile.
    pub replaced_meanwhile: u64,
    /// Values of a key that is not in the ring, or that do not open.
    pub unreadable: u64,
}

impl Db {
    /// Seals every value anew that is not sealed with the first key of the ring.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: what was sealed anew until then stays so.
    pub async fn reseal(&self) -> Result<Resealed> {
        let mut sum = Resealed::default();
        for column in COLUMNS {
            self.reseal_column(column, &mut sum).await?;
        }
        Ok(sum)
    }

    /// How many values are not sealed with the first key of the ring.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn sealed_otherwise(&self) -> Result<u64> {
        let mut sum = 0;
        for of in COLUMNS {
            let text = format!(
                "SELECT COUNT(*) FROM {} WHERE substr({}, 1, 6) <> $1",
                of.table, of.column
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(self.keys.mark())
                .fetch_one(&self.writer)
                .await?;
            sum += u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
        }
        Ok(sum)
    }

    async fn reseal_column(&self, of: &Sealed, sum: &mut Resealed) -> Result<()> {
        let (names, order) = (of.keys.join(", "), of.keys.join(" || '/' || "));
        let select = format!(
            "SELECT {names}, {1}, {order} AS place FROM {0} WHERE substr({1}, 1, 6) <> $1 AND {order} > $2 \
             ORDER BY {order} LIMIT $3",
            of.table, of.column
        );
        let matches: Vec<String> = (3..)
            .zip(of.keys)
            .map(|(n, key)| format!("{key} = ${n}"))
            .collect();
        let update = format!(
            "UPDATE {0} SET {1} = $1 WHERE {1} = $2 AND {2}",
            of.table,
            of.column,
            matches.join(" AND ")
        );
        let mut after = String::new();
        loop {
            let rows = sqlx::query(sqlx::AssertSqlSafe(select.clone()))
                .bind(self.keys.mark())
                .bind(&after)
                .bind(PAGE)
                .fetch_all(&self.reader)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.try_get("place")?;
            for row in &rows {
                let (old, row_name): (String, String) =
                    (row.try_get(of.column)?, row.try_get("place")?);
                let place = Place {
                    column: of.place,
                    row: &row_name,
                };
                let Ok(plain) = self.keys.open(place, &old) else {
                    sum.unreadable += 1;
                    continue;
                };
                let new = self.keys.seal(place, &plain)?;
                let mut query = sqlx::query(sqlx::AssertSqlSafe(update.clone()))
                    .bind(new)
                    .bind(old);
                for key in of.keys {
                    query = query.bind(row.try_get::<String, _>(*key)?);
                }
                match query.execute(&self.writer).await?.rows_affected() {
                    0 => sum.replaced_meanwhile += 1,
                    _ => sum.resealed += 1,
                }
            }
        }
    }
}
