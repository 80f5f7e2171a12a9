//! Monday's database with Tuesday's record store and destinations: refused until
//! `chartlift recover`, then complete at every destination.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, Delivered};
use model::{ConnectionId, DestinationId, FileFormat};
use worker::{Core, OpenMode};

use crate::delivery_exact::small_patients;

/// What the database of that day is kept as.
const MONDAY: &str = "monday";
const LIMIT: Duration = Duration::from_secs(60);
const AT_WORK: &str = "a worker is at work";

fn observation(id: &str, value: u32) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/12345"}},"valueInteger":{value}}}"#
    )
}

struct Days {
    app: App,
    connections: Vec<ConnectionId>,
    destinations: Vec<DestinationId>,
}

impl Days {
    /// A Monday and a Tuesday, on which batches and publications follow, and Monday's
    /// database brought back.
    async fn restored(settings: &[(&str, &str)]) -> Result<Self> {
        let mut app = App::start(AppOptions::with(settings)).await?;
        let patients = small_patients(&app);
        let connections = app.connect(&["12345", patients[0].as_str()]).await?;
        let destinations = vec![
            app.destination("parquet", FileFormat::Parquet).await?,
            app.destination("ndjson", FileFormat::NdjsonGzip).await?,
        ];
        for id in ["stays", "goes"] {
            app.sandbox.portal().put(&observation(id, 1));
        }
        app.pull(&connections).await?;
        app.idle(LIMIT).await?;
        let mut days = Self {
            app,
            connections,
            destinations,
        };
        days.close().await?;
        days.app.keep_database(MONDAY).await?;

        days.open().await?;
        days.app.up(&[])?;
        for round in 2..5 {
            let portal = days.app.sandbox.portal();
            portal.put(&observation("stays", round));
            portal.put(&observation("tuesdays", round));
            portal.remove("Observation", "goes");
            days.app.pull(&days.connections).await?;
            days.app.idle(LIMIT).await?;
        }
        days.app.all_completed().await?;
        days.close().await?;
        days.app.bring_back_database(MONDAY).await?;
        Ok(days)
    }

    async fn close(&mut self) -> Result<()> {
        self.app.down()?;
        self.app.core.db.close().await;
        Ok(())
    }

    async fn open(&mut self) -> Result<()> {
        let settings = (*self.app.core.settings).clone();
        self.app.core = Core::open(settings, OpenMode::RequireCurrent).await?;
        Ok(())
    }

    async fn recovers(mut self) -> Result<()> {
        self.app.up(&[])?;
        let status = self.app.node().wait(LIMIT)?;
        let log = std::fs::read_to_string(self.app.log())?;
        ensure!(
            !status.success() && log.contains("chartlift recover"),
            "{status}: {log}"
        );

        let (code, said) = recover(&self.app, &[])?;
        ensure!(
            code == Some(1) && said.contains("nothing was changed") && said.contains("con_"),
            "{said}"
        );
        let (code, said) = recover(&self.app, &["--yes"])?;
        ensure!(code == Some(0) && said.contains("recovered"), "{said}");
        let (code, said) = recover(&self.app, &["--yes"])?;
        ensure!(code == Some(0) && said.contains("nothing to do"), "{said}");

        self.open().await?;
        self.app.up(&[])?;
        self.app.idle(LIMIT).await?;
        self.app.all_completed().await?;
        self.app.verified().await?;
        let late = self.app.destination("late", FileFormat::Parquet).await?;
        self.app.idle(LIMIT).await?;
        let fresh = view(&self.app.delivered(late).await?);
        ensure!(fresh.contains_key(&("Observation".to_owned(), "stays".to_owned())));
        for id in &self.destinations {
            let there = view(&self.app.delivered(*id).await?);
            ensure!(there == fresh, "{id}: {there:#?}\nand\n{fresh:#?}");
        }
        self.app.verified().await?;

        // It goes on as any other.
        self.app.sandbox.portal().put(&observation("stays", 9));
        self.app.pull(&self.connections).await?;
        self.app.idle(LIMIT).await?;
        self.app.all_completed().await?;
        self.app.verified().await?;
        let key = ("Observation".to_owned(), "stays".to_owned());
        for id in &self.destinations {
            let there = view(&self.app.delivered(*id).await?);
            ensure!(there.get(&key) != fresh.get(&key), "{id} lacks the change");
        }
        self.app.down()?;
        let (code, said) = recover(&self.app, &[])?;
        ensure!(code == Some(0) && said.contains("nothing to do"), "{said}");
        Ok(())
    }
}

/// Runs `chartlift recover` until no worker's lease keeps it from it (a copy has that
/// of its time, and a killed worker leaves its own): its exit code, and what it says.
fn recover(app: &App, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let until = Instant::now() + LIMIT;
    loop {
        let (code, said) = recover_once(app, arguments)?;
        if !said.contains(AT_WORK) {
            return Ok((code, said));
        }
        ensure!(
            Instant::now() < until,
            "a killed worker still counts: {said}"
        );
    }
}

fn recover_once(app: &App, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = app.chartlift(&[&["recover"], arguments].concat())?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.code(), said))
}

/// The latest view: by number of the batch, and where files do not say it by the
/// order of the publications. The two patients share no resource.
fn view(delivered: &Delivered) -> BTreeMap<(String, String), String> {
    let mut newest = BTreeMap::new();
    for row in delivered.rows.iter().flatten() {
        let key = (row.resource_type.clone(), row.id.clone());
        let kept = newest.entry(key).or_insert((0, String::new()));
        if kept.0 <= row.batch_seq {
            *kept = (row.batch_seq, row.content_hash.clone());
        }
    }
    newest
        .into_iter()
        .filter(|(_, (_, hash))| !hash.is_empty())
        .map(|(key, (_, hash))| (key, hash))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_is_refused_until_recovered_and_then_complete() -> Result<()> {
    Days::restored(&[]).await?.recovers().await
}

/// Tuesday's upkeep has merged Monday's batches away.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_were_merged_away_since_are_found_in_what_they_were_merged_into() -> Result<()>
{
    let days = Days::restored(&[
        ("maintain.interval_ms", "100"),
        ("maintain.merge_batches", "2"),
        ("maintain.superseded_age_ms", "0"),
    ])
    .await?;
    days.recovers().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_current_needs_no_recovery_and_a_running_one_is_left_alone() -> Result<()>
{
    let mut app = App::start(AppOptions::default()).await?;
    let connections = app.connect(&["12345"]).await?;
    app.destination("parquet", FileFormat::Parquet).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    // Whose folder is locked, and whose lease of the database lasts.
    let (code, said) = recover_once(&app, &["--yes"])?;
    let refused = said.contains("is in use by") || said.contains(AT_WORK);
    ensure!(code == Some(1) && refused, "{said}");
    for node in app.nodes() {
        node.kill()?;
    }
    let (code, said) = recover(&app, &["--yes"])?;
    ensure!(code == Some(0) && said.contains("nothing to do"), "{said}");
    Ok(())
}
