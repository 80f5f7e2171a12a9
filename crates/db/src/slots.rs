//! A source's share of the pull queue: at most so many steps talk to it at once,
//! and only about as many of its pulls are started as that share can use, so that
//! a slow source takes nothing that another needs (I5).

use std::time::Duration;

use model::Timestamp;

use crate::row::{Columns, bigint};
use crate::{Db, DueRun, Result, RunKind};

/// A slot that is held. The end of its term is its fence: another attempt of the
/// holder, which takes the slot over, moves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    subject: String,
    number: u64,
    holder: String,
    until: i64,
}

/// A queued pull that wants its workflow started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePull {
    /// The pull.
    pub run: DueRun,
    /// How many pulls of its source, itself among them, are at work at once from now on:
    /// as many as there are, or as are let.
    pub at_once: u64,
}

impl Db {
    /// Takes one of the `share` slots of a subject for `term`: the holder's own, if
    /// an attempt before this one left it, else one that is free. `None` where all
    /// are taken.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn take_slot(
        &self,
        subject: &str,
        share: u64,
        holder: &str,
        term: Duration,
    ) -> Result<Option<Slot>> {
        let mut tx = self.writer.begin().await?;
        // One taker of a subject at a time: two would choose the same number, and one
        // of them would hear that all are taken.
        if !lock_slots(&mut tx, subject).await? {
            add_slots(&mut tx, subject, share).await?;
            lock_slots(&mut tx, subject).await?;
        }
        let mut taken = take_existing(&mut tx, subject, share, holder, term, "number").await?;
        // The share may have grown.
        if taken.is_none() && add_slots(&mut tx, subject, share).await? {
            taken = take_existing(&mut tx, subject, share, holder, term, "number").await?;
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// Takes up to `count` further slots for a holder that has one, of the `limit` that a
    /// subject has: from the last on, which nobody takes first.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn take_further_slots(
        &self,
        subject: &str,
        limit: u64,
        holder: &str,
        count: u64,
        term: Duration,
    ) -> Result<Vec<Slot>> {
        let mut tx = self.writer.begin().await?;
        lock_slots(&mut tx, subject).await?;
        add_slots(&mut tx, subject, limit).await?;
        let mut taken = Vec::new();
        for number in 1..=count {
            let holder = format!("{holder}/{number}");
            let last = "number DESC";
            let Some(slot) = take_existing(&mut tx, subject, limit, &holder, term, last).await?
            else {
                break;
            };
            taken.push(slot);
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// Holds a slot for another `term`; false if somebody else has it by now.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn renew_slot(&self, slot: &mut Slot, term: Duration) -> Result<bool> {
        let until = Timestamp::now().after(term).0;
        let renewed = self.set_until(slot, until).await?;
        if renewed {
            slot.until = until;
        }
        Ok(renewed)
    }

    /// Gives a slot back; one that somebody else has by now is left alone.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn release_slot(&self, slot: &Slot) -> Result<()> {
        self.set_until(slot, 0).await.map(drop)
    }

    async fn set_until(&self, slot: &Slot, until: i64) -> Result<bool> {
        let set = sqlx::query(
            "UPDATE slots SET until = $1 WHERE subject_id = $2 AND number = $3 AND holder = $4 AND until = $5",
        )
        .bind(until)
        .bind(&slot.subject)
        .bind(bigint(slot.number))
        .bind(&slot.holder)
        .bind(slot.until)
        .execute(&self.writer)
        .await?;
        Ok(set.rows_affected() > 0)
    }

    /// The queued pulls to start: of each source the oldest, until as many of its pulls
    /// are at work as it is to bear, or `per_source` where nobody has said so; one of
    /// each source before the second of any; at most `limit`. Pulls that ask no source
    /// are not counted, and one behind a running pull is found by that pull's workflow.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn due_pulls(&self, per_source: u64, limit: u32) -> Result<Vec<DuePull>> {
        let rows = sqlx::query(
            "SELECT id, connection_id, running + waiting AS wanted, at_most FROM \
             (SELECT pulls.id AS id, pulls.connection_id AS connection_id, pulls.kind AS kind, \
             ROW_NUMBER() OVER (PARTITION BY connections.source_id, pulls.kind ORDER BY pulls.id) AS place, \
             COUNT(*) OVER (PARTITION BY connections.source_id, pulls.kind) AS waiting, \
             COALESCE(busy.running, 0) AS running, COALESCE(sources.concurrent_pulls, $1) AS at_most \
             FROM pulls JOIN connections ON connections.id = pulls.connection_id \
             JOIN sources ON sources.id = connections.source_id \
             LEFT JOIN (SELECT home.source_id AS source_id, COUNT(*) AS running FROM pulls AS other \
             JOIN connections AS home ON home.id = other.connection_id \
             WHERE other.state = 'running' AND other.kind = 'fetch' GROUP BY home.source_id) AS busy \
             ON busy.source_id = connections.source_id WHERE pulls.state = 'queued' \
             AND NOT EXISTS (SELECT 1 FROM pulls AS ahead WHERE ahead.connection_id = pulls.connection_id \
             AND ahead.state = 'running')) AS queued \
             WHERE kind <> 'fetch' OR place + running <= at_most ORDER BY place, id LIMIT $2",
        )
        .bind(bigint(per_source))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DuePull {
                    run: DueRun {
                        kind: RunKind::Pull,
                        run_id: row.text("id")?,
                        subject_id: row.text("connection_id")?,
                    },
                    at_once: row.count("wanted")?.min(row.count("at_most")?).max(1),
                })
            })
            .collect()
    }
}

/// Locks the slots of a subject by the first of them; false if there is none yet.
async fn lock_slots(tx: &mut sqlx::Transaction<'_, sqlx::Any>, subject: &str) -> Result<bool> {
    let first = sqlx::query("UPDATE slots SET until = until WHERE subject_id = $1 AND number = 0")
        .bind(subject)
        .execute(&mut **tx)
        .await?;
    Ok(first.rows_affected() > 0)
}

/// Makes the slots of a subject that are not there yet; whether there were any.
async fn add_slots(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    subject: &str,
    share: u64,
) -> Result<bool> {
    // The numbers are ours: nothing is quoted.
    let rows: Vec<String> = (0..share)
        .map(|number| format!("($1, {number}, '', 0)"))
        .collect();
    let text = format!(
        "INSERT INTO slots (subject_id, number, holder, until) VALUES {} ON CONFLICT (subject_id, number) DO NOTHING",
        rows.join(", ")
    );
    let added = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(subject)
        .execute(&mut **tx)
        .await?;
    Ok(added.rows_affected() > 0)
}

/// Takes the holder's own slot, or the first that is free in an order.
async fn take_existing(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    subject: &str,
    share: u64,
    holder: &str,
    term: Duration,
    order: &str,
) -> Result<Option<Slot>> {
    let now = Timestamp::now();
    let until = now.after(term).0;
    let text = format!(
        "UPDATE slots SET holder = $1, until = $2 WHERE subject_id = $3 AND number = \
         (SELECT number FROM slots WHERE subject_id = $3 AND number < $4 AND (until < $5 OR holder = $1) \
         ORDER BY CASE WHEN holder = $1 THEN 0 ELSE 1 END, {order} LIMIT 1) \
         AND (until < $5 OR holder = $1) RETURNING number"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(holder)
        .bind(until)
        .bind(subject)
        .bind(bigint(share))
        .bind(now.0)
        .fetch_optional(&mut **tx)
        .await?;
    let slot = |number| Slot {
        subject: subject.to_owned(),
        number,
        holder: holder.to_owned(),
        until,
    };
    row.map(|row| row.count("number").map(slot)).transpose()
}
