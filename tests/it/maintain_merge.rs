//! Upkeep disturbs nobody: with logs merged and swept all the time, pulls and
//! exports give what they give without, and what is removed is what nobody names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, DeliveredRow, chain};
use futures::TryStreamExt;
use model::{BatchId, ConnectionId, ExportId, FileFormat};
use steps::Maintain;

use crate::delivery_exact::small_patients;

const LIMIT: Duration = Duration::from_secs(60);
/// Rounds of a change and a pull.
const ROUNDS: u32 = 4;

/// Without waiting: everything at once and all the time.
const BUSY: [(&str, &str); 4] = [
    ("maintain.interval_ms", "50"),
    ("maintain.merge_batches", "2"),
    ("maintain.superseded_age_ms", "200"),
    ("maintain.orphan_age_ms", "2000"),
];

/// What the destinations hold in the end.
#[derive(Debug, PartialEq)]
struct Output {
    early: Vec<DeliveredRow>,
    lines: Vec<DeliveredRow>,
    asleep: Vec<DeliveredRow>,
    late: Vec<DeliveredRow>,
}

fn observation(id: &str, value: u32) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/12345"}},"valueInteger":{value}}}"#
    )
}

/// Pulls and exports, round by round: something is changed, something comes, and
/// what came two rounds ago goes. One destination sleeps meanwhile, one is added at
/// the end.
async fn rounds(app: &mut App) -> Result<(Vec<ConnectionId>, Output)> {
    let patients = small_patients(app);
    let chosen = [
        "12345",
        patients[0].as_str(),
        patients[patients.len() - 2].as_str(),
    ];
    let connections = app.connect(&chosen).await?;
    let early = app.destination("early", FileFormat::Parquet).await?;
    let lines = app.destination("lines", FileFormat::NdjsonZstd).await?;
    let asleep = app.destination("asleep", FileFormat::Parquet).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.core.db.set_destination_enabled(asleep, false).await?;
    for round in 0..ROUNDS {
        let portal = app.sandbox.portal();
        portal.put(&observation("changing", round));
        portal.put(&observation(&format!("coming-{round}"), round));
        if round >= 2 {
            portal.remove("Observation", &format!("coming-{}", round - 2));
        }
        app.pull(&connections).await?;
        app.verified().await?;
        app.idle(LIMIT).await?;
    }
    app.core.db.set_destination_enabled(asleep, true).await?;
    let late = app.destination("late", FileFormat::Parquet).await?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.verified().await?;
    let output = Output {
        early: app.delivered(early).await?.all(),
        lines: app.delivered(lines).await?.all(),
        asleep: app.delivered(asleep).await?.all(),
        late: app.delivered(late).await?.all(),
    };
    Ok((connections, output))
}

fn plant(path: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    std::fs::write(path, "left over")?;
    Ok(path.to_owned())
}

/// Files that cut-off attempts of ours could have left, and files of nobody we
/// know.
async fn plant_left_overs(
    app: &App,
    connection: ConnectionId,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let log = app.records().join(format!("connections/{connection}"));
    let pull = app.core.db.pulls(Some(connection), None, 1).await?[0].id;
    let export = app.core.db.exports(None, None, 1).await?[0].id;
    let tables = app.files("late").join("tables/Observation");
    let ours = vec![
        plant(&log.join(format!("batches/{:012}-{}.ndjson.zst", 2, BatchId::new())))?,
        plant(&log.join(format!("index/{:012}-{}.index.zst", 2, BatchId::new())))?,
        plant(&log.join(format!("staging/{pull}/pages-0/token-00000.ndjson.zst")))?,
        plant(&tables.join(format!("{export}/0000.zstd.parquet")))?,
    ];
    let alien = ConnectionId::new();
    let foreign = vec![
        plant(&app.records().join(format!(
            "connections/{alien}/batches/{:012}-{}.ndjson.zst",
            1,
            BatchId::new()
        )))?,
        plant(&tables.join(format!("{}/0000.zstd.parquet", ExportId::new())))?,
    ];
    Ok((ours, foreign))
}

/// How many objects a log has, batches and indexes.
async fn log_objects(app: &App, connection: ConnectionId) -> Result<usize> {
    let mut count = 0;
    for folder in ["batches", "index"] {
        let prefix = format!("connections/{connection}/{folder}");
        let objects: Vec<_> = app.core.store.list(&prefix).try_collect().await?;
        count += objects.len();
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_and_sweeping_all_the_time_changes_nothing() -> Result<()> {
    let mut plain = App::start(AppOptions::default()).await?;
    let (connections, undisturbed) = rounds(&mut plain).await?;
    ensure!(log_objects(&plain, connections[0]).await? > 2 * ROUNDS as usize);
    plain.down()?;

    let settings = BUSY
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let mut busy = App::start(AppOptions {
        settings,
        ..AppOptions::default()
    })
    .await?;
    let (connections, output) = rounds(&mut busy).await?;
    ensure!(output == undisturbed, "{output:#?}\nand\n{undisturbed:#?}");
    ensure!(
        output.asleep.iter().any(|row| row.content_hash.is_empty()),
        "what went while a destination slept was not told to it"
    );

    // In the end each log is one batch and one index, and left-overs are gone.
    let (ours, foreign) = plant_left_overs(&busy, connections[0]).await?;
    busy.until(
        LIMIT,
        "each log is one batch and one index",
        async |app: &mut App| {
            for connection in &connections {
                if log_objects(app, *connection).await? != 2 {
                    return Ok(false);
                }
            }
            Ok(ours.iter().all(|path| !path.exists()))
        },
    )
    .await?;
    ensure!(foreign.iter().all(|path| path.exists()), "{foreign:?}");
    for path in &foreign {
        std::fs::remove_dir_all(path.parent().unwrap_or(path))?;
    }
    let folder = foreign[0].ancestors().nth(2).unwrap_or(&foreign[0]);
    std::fs::remove_dir_all(folder)?;
    busy.verified().await?;

    let client = worker::connect(&busy.temporal.address(), "default").await?;
    let passes = chain::<Maintain>(&client, Maintain::ID).await?;
    crate::histories::replay("Maintain", &passes[0]).await?;
    if std::env::var_os("CHARTLIFT_RECORD").is_some() {
        crate::histories::record("Maintain", 0, &passes[0])?;
    }
    busy.down()
}
