//! `chartlift pull held`, `accept` and `discard`: deletions that wait for a
//! decision.

use std::process::ExitCode;

use anyhow::Result;
use api::views::HeldView;
use db::{Db, HeldDeletes};
use model::{HeldState, PullId};
use worker::Core;

use crate::output::{grouped, print_line, print_list};

/// Lists the deletions that wait.
pub(super) async fn list(db: &Db, json: bool) -> Result<()> {
    let held: Vec<HeldView> = db
        .waiting_deletes()
        .await?
        .into_iter()
        .map(HeldView::from)
        .collect();
    let headers = ["PULL", "CONNECTION", "DELETIONS", "OF", "HELD"];
    print_list(
        json,
        &held,
        &headers,
        "no deletions wait for a decision",
        |held| {
            vec![
                held.pull_id.to_string(),
                held.connection_id.to_string(),
                grouped(held.row_count),
                by_type(held),
                held.created_at.clone(),
            ]
        },
    )
}

/// Queues the pull that settles them.
pub(super) async fn accept(db: &Db, pull: PullId, wait: bool) -> Result<ExitCode> {
    let accepting = db.accept_deletes(pull).await?;
    print_line(&accepting.to_string());
    super::ended(db, vec![accepting], wait).await
}

/// Forgets them, and removes their object.
pub(super) async fn discard(core: &Core, pull: PullId) -> Result<()> {
    let HeldDeletes {
        object_key,
        row_count,
        ..
    } = core.db.discard_deletes(pull).await?;
    core.store.delete(&object_key).await?;
    eprintln!(
        "discarded {} deletions: what they would have removed stays, and the next pull looks again",
        grouped(row_count)
    );
    Ok(())
}

/// What `pull show` says of the deletions that the pull held back.
pub(super) fn show(held: &HeldView) {
    let what = match held.state {
        HeldState::Held => format!(
            "waiting: `chartlift pull accept {id}` or `chartlift pull discard {id}`",
            id = held.pull_id
        ),
        HeldState::Accepted => format!(
            "accepted; pull {} settles them",
            held.accepted_by
                .map(|id| id.to_string())
                .unwrap_or_default()
        ),
        HeldState::Discarded => "discarded".to_owned(),
        HeldState::Replaced => "a later pull has looked again".to_owned(),
    };
    print_line(&format!(
        "held        {} deletions ({}): {what}",
        grouped(held.row_count),
        by_type(held)
    ));
}

fn by_type(held: &HeldView) -> String {
    let types = held
        .types
        .iter()
        .map(|(name, count)| format!("{} {name}", grouped(*count)));
    types.collect::<Vec<_>>().join(", ")
}
