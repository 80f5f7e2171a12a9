//! `chartlift source list`.

use anyhow::Result;
use api::views::SourceView;
use db::Db;

use super::limits::rate_of;
use crate::interval::interval_text;
use crate::output::{or_dash, print_list, yes_no};

/// Lists the sources, by name.
pub(super) async fn list(db: &Db, json: bool) -> Result<()> {
    let rates = db.source_rates().await?;
    let sources = db.sources().await?.into_iter().map(|source| {
        let rate = rates.get(&source.id).copied().unwrap_or_default();
        SourceView::whole(source, rate)
    });
    let sources: Vec<_> = sources.collect();
    let headers = [
        "NAME",
        "ID",
        "BASE URL",
        "AUTH",
        "STRATEGY",
        "ATTACHMENTS",
        "RATE",
        "PULLED EVERY",
        "ENABLED",
    ];
    print_list(
        json,
        &sources,
        &headers,
        "no sources yet: `chartlift source add`",
        |source| {
            vec![
                source.name.clone(),
                source.id.to_string(),
                source.base_url.clone(),
                source.auth.to_owned(),
                source.strategy.to_string(),
                source.attachments.to_string(),
                rate_of(source),
                or_dash(source.pull_interval_s.map(interval_text)),
                yes_no(source.enabled),
            ]
        },
    )
}
