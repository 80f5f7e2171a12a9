//! A patient comes home from a real FHIR server, HAPI FHIR, as it stands there: whole,
//! then what changed, by pulls that ask for that alone, what was deleted, also when
//! cursors expire half-way; and whether it is asked by searches, by `$everything` or by
//! a bulk export.
//!
//! One function: the server takes half a minute to start.

mod home;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use chartlift_tests::skipped;
use model::{Change, Reason, Strategy, TypeNote};

use self::home::{Home, Key, PATIENT, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_comes_home_from_hapi_as_it_is_there() -> Result<()> {
    let Some(mut home) = Home::start().await? else {
        skipped("CHARTLIFT_HAPI names no program that starts HAPI FHIR");
        return Ok(());
    };
    // Whole, with what its resources refer to.
    let count = home.keys.len() as u64;
    let whole = home.pull(false).await?;
    ensure!(whole.counts.new == count, "{:?}", whole.counts);
    ensure!(!home.is_updated(&whole, "Observation").await?);
    home.is_as_there().await?;

    // Three changes, and nothing else, by a pull that asks for changes alone.
    let mut changed = BTreeSet::new();
    for resource_type in ["Observation", "Encounter", "Condition"] {
        let id = home.first(resource_type)?;
        home.change(resource_type, &id).await?;
        changed.insert(key(resource_type, &id));
    }
    let pull = home.pull(false).await?;
    let counts = pull.counts;
    ensure!(
        counts.changed == 3 && counts.new + counts.deleted == 0,
        "{counts:?}"
    );
    for (resource_type, _) in &changed {
        ensure!(home.is_updated(&pull, resource_type).await?);
    }
    ensure!(
        counts.fetched * 3 < whole.counts.fetched && pull.pages < whole.pages,
        "{counts:?}, {} pages of {}",
        pull.pages,
        whole.pages
    );
    let found: BTreeSet<Key> = home.changes(&pull).await?.into_keys().collect();
    ensure!(found == changed, "{found:?}");
    home.is_as_there().await?;

    // One deleted; a shared resource changed; and one that is new, although the same
    // search was answered a moment ago, and HAPI gives an answer again for a minute
    // unless it is told not to. A pull of changes has what is new, one of everything
    // the rest.
    let gone = key("Condition", &home.any("Condition")?);
    home.hapi.delete(&gone.0, &gone.1).await?;
    ensure!(home.hapi.status_of(&gone.0, &gone.1).await? == 410);
    home.keys.remove(&gone);
    let shared = key("Practitioner", &home.any("Practitioner")?);
    home.change(&shared.0, &shared.1).await?;
    let new = key("Condition", "new");
    let text = format!(
        r#"{{"resourceType":"Condition","id":"new","subject":{{"reference":"Patient/{PATIENT}"}}}}"#
    );
    home.hapi.put(&new.0, &new.1, &text).await?;
    home.keys.insert(new.clone());
    let pull = home.pull(false).await?;
    ensure!(home.is_updated(&pull, "Condition").await?);
    let counts = pull.counts;
    ensure!((counts.new, counts.deleted) == (1, 0), "{counts:?}");
    let mut found = home.changes(&pull).await?;
    let pull = home.pull(true).await?;
    ensure!(!home.is_updated(&pull, "Condition").await?);
    let counts = pull.counts;
    ensure!((counts.new, counts.deleted) == (0, 1), "{counts:?}");
    found.extend(home.changes(&pull).await?);
    let expected = BTreeMap::from([
        (gone, (Change::Deleted, Reason::SourceDeleted)),
        (shared, (Change::Changed, Reason::None)),
        (new, (Change::New, Reason::None)),
    ]);
    ensure!(found == expected, "{found:?}");
    home.is_as_there().await?;

    // Asked in another way, the server gives the same, and what it refers to.
    for (strategy, way) in [
        (Strategy::Everything, TypeNote::BY_EVERYTHING),
        (Strategy::Bulk, TypeNote::BY_EXPORT),
        (Strategy::Search, ""),
    ] {
        home.ask_by(strategy).await?;
        let pull = home.pull(true).await?;
        let counts = pull.counts;
        ensure!(
            counts.unchanged == count && counts.new + counts.changed + counts.deleted == 0,
            "by {strategy}: {counts:?}"
        );
        let types = home.type_count(&pull, way).await?;
        println!("{types} types by {strategy}");
        ensure!((types > 5) == (strategy != Strategy::Search), "{types}");
        home.is_as_there().await?;
    }
    // Whoever begins so has it all, too.
    for strategy in [Strategy::Everything, Strategy::Bulk] {
        home.begin_anew(strategy).await?;
        let counts = home.pull(true).await?.counts;
        ensure!(counts.new == count, "by {strategy}: {counts:?}");
        home.is_as_there().await?;
    }
    home.ask_by(Strategy::Search).await?;
    home.pull(true).await?;

    // The cursors expire in the middle: those streams begin anew, and have all.
    home.hapi.expire_at_page(4).await?;
    let counts = home.pull(true).await?.counts;
    let expired = home.hapi.expired_count().await?;
    println!("{expired} cursors had expired");
    ensure!(expired > 0 && counts.repeated > 0, "{expired}, {counts:?}");
    ensure!(
        counts.unchanged == count && counts.new + counts.changed + counts.deleted == 0,
        "{counts:?}"
    );
    home.is_as_there().await?;

    home.app.down()?;
    home.hapi.orphan().await
}
