//! Deletions need evidence: what the source says is gone is gone, what it merely
//! does not answer for stays, and very much at once waits for a person.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::{ConnectionId, FileFormat, PullId, Reason};
use records::SegmentReader;
use sandbox::{Knobs, SandboxOptions};

const LIMIT: Duration = Duration::from_secs(60);

/// A patient with 60 observations, 20 conditions and two practitioners, and one
/// who shares a practitioner with the first.
fn portal() -> SandboxOptions {
    let mut extra = vec![
        r#"{"resourceType":"Practitioner","id":"shared","active":true}"#.to_owned(),
        r#"{"resourceType":"Practitioner","id":"leaving","active":true}"#.to_owned(),
        r#"{"resourceType":"Patient","id":"first"}"#.to_owned(),
        r#"{"resourceType":"Patient","id":"second"}"#.to_owned(),
        observation("second", "s-00", "shared", 1),
    ];
    for number in 0..60 {
        let performer = if number == 10 { "leaving" } else { "shared" };
        extra.push(observation(
            "first",
            &format!("o-{number:02}"),
            performer,
            1,
        ));
    }
    for number in 0..20 {
        extra.push(format!(
            r#"{{"resourceType":"Condition","id":"c-{number:02}","subject":{{"reference":"Patient/first"}}}}"#
        ));
    }
    SandboxOptions {
        extra,
        ..SandboxOptions::default()
    }
}

fn observation(patient: &str, id: &str, performer: &str, value: u32) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","subject":{{"reference":"Patient/{patient}"}},"performer":[{{"reference":"Practitioner/{performer}"}}],"valueInteger":{value}}}"#
    )
}

/// The resources that no search finds, and how their reads are answered.
fn hidden(names: &[(&str, u16)]) -> Knobs {
    Knobs {
        hidden_from_search: names.iter().map(|(name, _)| (*name).to_owned()).collect(),
        status_for_read: names
            .iter()
            .filter(|(_, status)| *status != 200)
            .map(|(name, status)| ((*name).to_owned(), *status))
            .collect(),
        ..Knobs::default()
    }
}

/// The tombstones of a pull's batch, with their reasons.
async fn tombstones(
    app: &App,
    connection: ConnectionId,
    pull: PullId,
) -> Result<BTreeMap<String, Reason>> {
    let Some(seq) = app.core.db.pull(pull).await?.batch_seq else {
        return Ok(BTreeMap::new());
    };
    let batch = app
        .core
        .db
        .batches(connection, seq - 1, seq)
        .await?
        .remove(0);
    let reader = SegmentReader::open(&app.core.store, &batch.object_key).await?;
    Ok(reader
        .footer()
        .rows()
        .filter(|row| row.is_tombstone())
        .map(|row| (format!("{}/{}", row.resource_type, row.id), row.reason))
        .collect())
}

async fn pulled(app: &mut App, connections: &[ConnectionId]) -> Result<Vec<PullId>> {
    let pulls = app.pull(connections).await?;
    app.idle(LIMIT).await?;
    app.verified().await?;
    Ok(pulls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_needs_the_source_to_say_so() -> Result<()> {
    let mut app = App::start(AppOptions {
        sandbox: portal(),
        ..AppOptions::default()
    })
    .await?;
    let connections = app.connect(&["first", "second"]).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    let ndjson = app.destination("ndjson", FileFormat::NdjsonZstd).await?;
    pulled(&mut app, &connections).await?;
    app.all_completed().await?;

    // One deleted, which the source says; one absent, which a read confirms; four
    // absent that a read does not confirm, and one that the search only missed. A
    // practitioner is deleted; the shared one is not met by the second patient.
    let portal = app.sandbox.portal();
    portal.remove("Observation", "o-00");
    portal.remove("Practitioner", "leaving");
    portal.put(
        r#"{"resourceType":"Observation","id":"s-00","subject":{"reference":"Patient/second"}}"#,
    );
    portal.set_knobs(hidden(&[
        ("Observation/o-01", 404),
        ("Observation/o-02", 403),
        ("Observation/o-03", 401),
        ("Observation/o-04", 500),
        ("Observation/o-05", 200),
    ]));
    let pulls = pulled(&mut app, &connections).await?;
    app.all_completed().await?;
    let expected = BTreeMap::from([
        ("Observation/o-00".to_owned(), Reason::SourceDeleted),
        ("Observation/o-01".to_owned(), Reason::Absent),
        ("Practitioner/leaving".to_owned(), Reason::SourceDeleted),
    ]);
    let found = tombstones(&app, connections[0], pulls[0]).await?;
    ensure!(found == expected, "{found:?}");
    let found = tombstones(&app, connections[1], pulls[1]).await?;
    ensure!(found.is_empty(), "{found:?}");
    let types = app.core.db.pull_types(pulls[0]).await?;
    let line = types.iter().find(|of| of.resource_type == "Observation");
    ensure!(
        line.is_some_and(|of| of.error_code.as_deref() == Some("reads_refused")),
        "{line:?}"
    );

    // Both formats say so: Parquet in rows, NDJSON in a folder of its own.
    for destination in [parquet, ndjson] {
        let delivered = app.delivered(destination).await?;
        let gone: BTreeSet<String> = delivered
            .rows
            .last()
            .context("no publication")?
            .iter()
            .filter(|row| row.content_hash.is_empty())
            .map(|row| format!("{}/{}", row.resource_type, row.id))
            .collect();
        ensure!(gone.iter().eq(expected.keys()), "{gone:?}");
        if destination == ndjson {
            let last = delivered.publications.last().context("no publication")?;
            let deleted: u64 = last
                .parts
                .iter()
                .filter(|part| part.deleted && part.path.contains("/deleted/"))
                .map(|part| part.row_count)
                .sum();
            ensure!(deleted == 3, "{deleted} lines in deleted/");
        }
    }

    // Nothing new: what is gone stays gone, what was not proven stays.
    let pulls = pulled(&mut app, &connections).await?;
    ensure!(tombstones(&app, connections[0], pulls[0]).await?.is_empty());
    // A resource that comes back is new.
    app.sandbox.portal().set_knobs(Knobs::default());
    let pulls = pulled(&mut app, &connections).await?;
    let back = app.core.db.pull(pulls[0]).await?;
    ensure!(back.counts.new == 1 && back.counts.deleted == 0, "{back:?}");
    app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_reads_and_their_save_changes_nothing() -> Result<()> {
    let settings = vec![("worker.streams_per_pull".to_owned(), "1".to_owned())];
    let mut app = App::start(AppOptions {
        sandbox: portal(),
        settings,
        ..AppOptions::default()
    })
    .await?;
    let connections = app.connect(&["first"]).await?;
    pulled(&mut app, &connections).await?;
    app.down()?;
    app.sandbox.portal().remove("Observation", "o-00");
    let knobs = hidden(&[("Observation/o-01", 404), ("Observation/o-02", 403)]);
    app.sandbox.portal().set_knobs(knobs);
    // The first save is of the pages, the second of what was read after them.
    let killed = ("FAILPOINTS", "cursor_save.before=1*off->1*return(abort)");
    app.up(&[killed])?;
    let pulls = app.pull(&connections).await?;
    let status = app.node().wait(LIMIT)?;
    ensure!(!status.success(), "the failpoint was not reached");
    app.up(&[])?;
    app.idle(Duration::from_secs(90)).await?;
    app.all_completed().await?;
    app.verified().await?;
    let found = tombstones(&app, connections[0], pulls[0]).await?;
    let expected = BTreeMap::from([
        ("Observation/o-00".to_owned(), Reason::SourceDeleted),
        ("Observation/o-01".to_owned(), Reason::Absent),
    ]);
    ensure!(found == expected, "{found:?}");
    app.down()
}
