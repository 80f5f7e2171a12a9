//! What changes of a source, and what is forgotten with it.

use model::{AttachmentPolicy, SourceId, Strategy};

use crate::logins::OpenLogin;
use crate::rates::forget_throttling;
use crate::row::json;
use crate::schedules::reschedule_source;
use crate::source_plans::forget_refusals;
use crate::sources::{COLUMNS, not_found, read};
use crate::{Db, Error, Result, Source, SourceLimits};

/// What is to change of a source; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceChange<'a> {
    /// Where its API begins; its identity stays.
    pub base_url: Option<&'a str>,
    /// How often it may be asked a second, or that workers ask as often as they like.
    /// A pull at work takes it over with its next step; what throttling has left of the
    /// rate is forgotten.
    pub requests_per_second: Option<Option<u32>>,
    /// Its requests that may wait for an answer, or that the workers' settings decide.
    pub concurrent_requests: Option<Option<u32>>,
    /// Its pulls that may be at work, or that the workers' settings decide.
    pub concurrent_pulls: Option<Option<u32>>,
    /// Which types are asked for, or that all are. What a type brought before stays.
    pub types: Option<Option<&'a [String]>>,
    /// How it is asked for a record. That it has refused a strategy is forgotten.
    pub strategy: Option<Strategy>,
    /// What is done about attachments. What was fetched before stays.
    pub attachments: Option<AttachmentPolicy>,
    /// How often its connections are pulled by a schedule, in seconds, or by none; a
    /// connection's own interval goes first.
    pub pull_interval_s: Option<Option<u32>>,
    /// Whether it is pulled from.
    pub enabled: Option<bool>,
    /// How it is logged in to. Tokens that it has given stay, and an endpoint that was
    /// to be left alone is asked again.
    pub login: Option<&'a OpenLogin>,
    /// The source as the caller has seen it: only then it is changed.
    pub seen: Option<&'a Source>,
}

impl Db {
    /// Changes a source, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`] if it is not as it was seen.
    pub async fn change_source(&self, id: SourceId, change: SourceChange<'_>) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        // An UPDATE before the read: a lock, as in `lock.rs`.
        let text =
            format!("UPDATE sources SET enabled = enabled WHERE id = $1 RETURNING {COLUMNS}");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let source = read(&row.ok_or_else(|| not_found(&id.to_string()))?)?;
        if change.seen.is_some_and(|seen| *seen != source) {
            return Err(Error::Changed);
        }
        let (limits, every) = (changed(source.limits, &change), change.pull_interval_s);
        let types = change.types.unwrap_or(source.types.as_deref());
        sqlx::query(
            "UPDATE sources SET base_url = $1, requests_per_second = $2, enabled = $3, types = $4, \
             concurrent_requests = $5, concurrent_pulls = $6, strategy = $7, pull_interval_s = $8, \
             attachments = $9 WHERE id = $10",
        )
        .bind(change.base_url.unwrap_or(&source.base_url))
        .bind(limits.requests_per_second.map(i64::from))
        .bind(i64::from(change.enabled.unwrap_or(source.enabled)))
        .bind(types.map(|types| json(&types)))
        .bind(limits.concurrent_requests.map(i64::from))
        .bind(limits.concurrent_pulls.map(i64::from))
        .bind(change.strategy.unwrap_or(source.strategy).as_str())
        .bind(every.unwrap_or(source.pull_interval_s).map(i64::from))
        .bind(change.attachments.unwrap_or(source.attachments).as_str())
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if change.enabled.is_some() || every.is_some() {
            reschedule_source(&mut tx, id).await?;
        }
        if change.strategy.is_some() {
            forget_refusals(&mut tx, id).await?;
        }
        if change.requests_per_second.is_some() {
            forget_throttling(&mut tx, id).await?;
        }
        if let Some(login) = change.login {
            self.replace_login(&mut tx, id, login).await?;
        }
        self.commit(tx, id).await
    }
}

/// The limits as they are after a change.
fn changed(before: SourceLimits, change: &SourceChange<'_>) -> SourceLimits {
    SourceLimits {
        requests_per_second: change
            .requests_per_second
            .unwrap_or(before.requests_per_second),
        concurrent_requests: change
            .concurrent_requests
            .unwrap_or(before.concurrent_requests),
        concurrent_pulls: change.concurrent_pulls.unwrap_or(before.concurrent_pulls),
    }
}
