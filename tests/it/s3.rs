//! In S3 everything is as in folders: what is delivered, though it is killed, what
//! `verify` finds, and what is said where the store refuses.

mod records;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, S3Server, lines_of, parquet_rows, skipped};
use db::{DestinationChange, Export};
use model::{DestinationId, FileFormat, RunState};

const LIMIT: Duration = Duration::from_secs(150);
const NO_STORE: &str = "VersityGW is not there: run the tests by `cargo xtask test`";
/// A point in a pull and one in an export, each passed once before.
const KILLS: [&str; 3] = [
    "cursor_save.before",
    "part_write.after",
    "publication.after",
];

fn options(s3: S3Server) -> AppOptions {
    let small = [
        ("worker.staging_size_target_bytes", "65536"),
        ("worker.part_size_target_bytes", "65536"),
        ("worker.chunk_rows_target", "100"),
        ("worker.chunk_save_ms", "0"),
    ];
    let mut options = AppOptions::with(&small);
    options.settings.extend(s3.settings("s3://records/main"));
    options.s3 = Some(s3);
    options
}

/// `chartlift` with the settings of the deployment; all it says.
fn chartlift(app: &App, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let key = app.dir.path().join("key");
    std::fs::write(&key, app.s3().access().secret_access_key)?;
    let settings = app.s3().settings("s3://records/main").into_iter();
    let output = Command::new(chartlift_tests::binary())
        .arg("--data-dir")
        .arg(&app.core.settings.data.dir)
        .args(arguments)
        .env("CHARTLIFT_GUARD__ALLOW", "127.0.0.1/32")
        .envs(
            settings
                .filter(|(key, _)| key != "s3.secret_access_key")
                .map(|(key, value)| {
                    let name = format!("CHARTLIFT_{}", key.to_uppercase().replace('.', "__"));
                    (name, value)
                }),
        )
        .env("CHARTLIFT_S3__SECRET_ACCESS_KEY_FILE", key)
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(text)?))
}

/// All that was delivered, text for text, but for the ids of exports; sorted.
async fn rows(app: &App, id: DestinationId) -> Result<Vec<String>> {
    let location = app.core.db.destination(&id.to_string()).await?.location;
    let (folder, delivered) = (app.folder_of(&location), app.delivered(id).await?);
    if delivered.publications[0].format == FileFormat::Parquet {
        return parquet_rows(&folder, &delivered);
    }
    let mut rows = Vec::new();
    for part in delivered.publications.iter().flat_map(|of| &of.parts) {
        for line in lines_of(&folder.join(&part.path))? {
            rows.push(String::from_utf8(line)?);
        }
    }
    rows.sort();
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_s3_it_is_as_in_folders_though_it_is_killed() -> Result<()> {
    let Some(s3) = S3Server::start(&["records", "lake"]).await? else {
        skipped(NO_STORE);
        return Ok(());
    };
    let mut app = App::prepare(options(s3)).await?;
    let patients = crate::delivery_exact::small_patients(&app);
    let connections = app.connect(&[patients[0].as_str(), "12345"]).await?;
    let mut pairs = Vec::new();
    for (name, format) in [
        ("ndjson", FileFormat::NdjsonZstd),
        ("parquet", FileFormat::Parquet),
    ] {
        let location = format!("s3://lake/{name}");
        let there = app
            .s3_destination(&format!("s3-{name}"), &location, format)
            .await?;
        pairs.push((app.destination(name, format).await?, there));
    }
    app.pull(&connections).await?;
    for point in KILLS {
        app.up(&[("FAILPOINTS", &format!("{point}=1*off->1*return(abort)"))])?;
        let status = app
            .node()
            .wait(LIMIT)
            .with_context(|| format!("reach {point}"))?;
        ensure!(!status.success(), "{point} did not abort");
    }
    app.up(&[])?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.verified().await?;
    for (folder, there) in pairs {
        let (folder, there) = (rows(&app, folder).await?, rows(&app, there).await?);
        ensure!(!folder.is_empty() && folder == there, "other rows in S3");
    }
    let (code, said) = chartlift(&app, &["verify"])?;
    ensure!(code == Some(0), "verify: {said}");
    let (_, doctor) = chartlift(&app, &["doctor"])?;
    for line in [
        "✓ record store",
        "✓ destination `s3-parquet`",
        "✓ destination `ndjson`",
    ] {
        ensure!(doctor.contains(line), "no `{line}` in {doctor}");
    }
    let (_, listed) = chartlift(&app, &["destination", "list", "--json"])?;
    let log = std::fs::read_to_string(app.log())?;
    for text in [said, doctor, listed, log] {
        ensure!(!S3Server::is_shown_in(&text), "the key is shown: {text}");
    }
    app.down()
}

/// The newest export to a destination, once it has ended.
async fn ended(app: &mut App, id: DestinationId) -> Result<Export> {
    let mut found = None;
    app.until(LIMIT, "an export has ended", async |app: &mut App| {
        let exports = app.core.db.exports(Some(id), None, 1).await?;
        found = exports.into_iter().find(|export| export.state.is_final());
        Ok(found.is_some())
    })
    .await?;
    found.context("an export")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_or_a_missing_bucket_is_told_and_disturbs_nobody() -> Result<()> {
    let Some(s3) = S3Server::start(&["records", "lake", "gone"]).await? else {
        skipped(NO_STORE);
        return Ok(());
    };
    let wrong = objects::Access {
        secret_access_key: "another-key".to_owned(),
        ..s3.access()
    };
    let mut app = App::prepare(options(s3)).await?;
    let (db, guard) = (app.core.db.clone(), app.core.guard.clone());
    for (location, access, said) in [
        ("s3://nowhere/x", app.s3().access(), "bucket does not exist"),
        ("s3://lake/x", wrong.clone(), "does not accept the key"),
    ] {
        let format = FileFormat::Ndjson;
        let access = Some(&access);
        let added =
            activities::register::add_destination(&db, &guard, "no", location, format, access);
        let error = added.await.err().context("it must be refused")?;
        let text = format!("{error:#} {error:?}");
        ensure!(
            text.contains(said) && !text.contains("another-key"),
            "{text}"
        );
    }
    let good = app
        .s3_destination("good", "s3://lake/good", FileFormat::Parquet)
        .await?;
    let denied = app
        .s3_destination("denied", "s3://lake/denied", FileFormat::Ndjson)
        .await?;
    let gone = app
        .s3_destination("gone", "s3://gone/records", FileFormat::Ndjson)
        .await?;
    let text = String::from_utf8(wrong.to_json())?;
    let change = DestinationChange {
        credentials: Some(&text),
        ..DestinationChange::default()
    };
    db.change_destination(denied, change).await?;
    let bucket = app.s3().folder_of("s3://gone").context("the bucket")?;
    std::fs::remove_dir_all(bucket)?;

    let connections = app.connect(&["12345"]).await?;
    app.pull(&connections).await?;
    app.up(&[])?;
    for (id, state, code) in [
        (good, RunState::Completed, None),
        (denied, RunState::Failed, Some("destination_key_refused")),
        (gone, RunState::Failed, Some("destination_bucket_missing")),
    ] {
        let export = ended(&mut app, id).await?;
        ensure!(
            export.state == state && export.error_code.as_deref() == code,
            "{export:?}"
        );
    }
    app.until(LIMIT, "the pull has ended", async |app: &mut App| {
        let pulls = app.core.db.pulls(None, None, 1).await?;
        Ok(pulls[0].state == RunState::Completed)
    })
    .await?;
    let key = app.dir.path().join("key.json");
    std::fs::write(&key, app.s3().access().to_json())?;
    let file = key.display().to_string();
    let credentials = [
        "destination",
        "credentials",
        "denied",
        "--credentials-file",
        &file,
    ];
    let (code, said) = chartlift(&app, &credentials)?;
    ensure!(code == Some(0), "{said}");
    let (code, said) = chartlift(&app, &["export", "start", "denied", "--wait"])?;
    ensure!(code == Some(0), "{said}");
    ensure!(
        !app.delivered(denied).await?.all().is_empty(),
        "nothing was delivered"
    );
    let log = std::fs::read_to_string(app.log())?;
    ensure!(
        !S3Server::is_shown_in(&log) && !log.contains("another-key"),
        "{log}"
    );
    app.down()
}
