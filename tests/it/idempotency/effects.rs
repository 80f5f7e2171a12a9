//! What the POSTs left behind: a row each, and an entry in the audit log each.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chartlift_tests::App;
use serde_json::Value;

use crate::idempotency::posts::{ACTIONS, Post};

/// More than there are of anything.
const ALL: u32 = 1_000_000;

/// Holds the answers against what is in the database.
pub(super) async fn each_happened_once(app: &App, url: &str, told: &[(&Post, &str)]) -> Result<()> {
    let db = &app.core.db;
    let mut audited: BTreeMap<(String, String), u64> = BTreeMap::new();
    for entry in db.audit(None, ALL).await? {
        *audited.entry((entry.action, entry.subject_id)).or_default() += 1;
    }
    let mut by_action: BTreeMap<&str, u64> = BTreeMap::new();
    for (post, text) in told {
        let answer: Value = serde_json::from_str(text)?;
        let id = answer["id"].as_str().context("an answer has an id")?;
        let times = audited.remove(&(post.action.to_owned(), id.to_owned()));
        ensure!(times == Some(1), "{post:?} happened {times:?} times");
        *by_action.entry(post.action).or_default() += 1;
        if post.action == "key.add" {
            opens(url, &answer).await?;
        }
    }
    audited.retain(|(action, _), _| ACTIONS.contains(&action.as_str()));
    ensure!(audited.is_empty(), "nobody was told of {audited:?}");

    let of = |action: &str| by_action.get(action).copied().unwrap_or(0);
    let patients = db.patients(None, ALL).await?;
    let made = patients.iter().filter(|row| row.external_id.is_none());
    ensure!(made.count() as u64 == of("patient.add"), "patients");
    let sources = db.sources().await?.len() as u64;
    ensure!(sources == of("source.add") + 1, "{sources} sources");
    let connections = db.newest_connections(None, None, None, ALL).await?.len() as u64;
    let asked =
        of("connection.add") + of("pull.start") + of("pull.cancel") + of("connection.revoke");
    ensure!(connections == asked, "{connections} of {asked} connections");
    let destinations = db.destinations().await?.len() as u64;
    let asked = of("destination.add") + of("export.start");
    ensure!(
        destinations == asked,
        "{destinations} of {asked} destinations"
    );
    let pulls = db.pulls(None, None, ALL).await?;
    let asked = of("pull.start") + of("pull.cancel");
    ensure!(
        pulls.len() as u64 == asked,
        "{} of {asked} pulls",
        pulls.len()
    );
    for pull in pulls {
        let triggers = db.pull(pull.id).await?.triggers;
        ensure!(
            triggers.len() == 1 && triggers[0].count == 1,
            "{triggers:?}"
        );
    }
    let exports = db.exports(None, None, ALL).await?.len() as u64;
    ensure!(exports == of("export.start"), "{exports} exports");
    let keys = db.api_keys(None, ALL).await?;
    let keys = keys.iter().filter(|key| key.name.starts_with("key-"));
    ensure!(keys.count() as u64 == of("key.add"), "keys");
    Ok(())
}

/// A key that was told of is one: its text came with the answer.
async fn opens(url: &str, answer: &Value) -> Result<()> {
    let text = answer["secret"].as_str().unwrap_or_default();
    let request = reqwest::Client::new().get(format!("{url}/v1/pulls"));
    let reply = request.bearer_auth(text).send().await?;
    ensure!(reply.status() == 200, "{}: {answer}", reply.status());
    Ok(())
}
