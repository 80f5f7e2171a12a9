//! Documents that resources name by a URL: had whole and once wherever the worker dies,
//! swept where it died, told of by the command line, and left where they are to be left.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, chain};
use data_encoding::BASE64;
use futures::TryStreamExt;
use model::{AttachmentState, ConnectionId};
use sandbox::{Document, Knobs, SandboxOptions};
use serde_json::{Value, json};
use steps::PatientPull;

use crate::histories;

/// What a kill cuts off is tried again after 30 s.
const LIMIT: Duration = Duration::from_secs(240);
const UNDER_WAY: Duration = Duration::from_secs(120);
const PATIENT: &str = "p";
/// Documents, the first of them large.
const DOCUMENTS: usize = 12;
/// The recorded history of a pull with attachments.
const HISTORY: usize = 4;

/// A patient with documents, half of them given as Binary resources alone.
fn resources() -> Vec<String> {
    let mut resources = vec![json!({"resourceType": "Patient", "id": PATIENT}).to_string()];
    for number in 0..DOCUMENTS {
        let size = if number == 0 {
            9 << 20
        } else {
            10_000 + number
        };
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251 + number) as u8).collect();
        let id = format!("doc-{number}");
        resources.extend([
            json!({"resourceType": "Binary", "id": id, "contentType": "application/pdf",
                "data": BASE64.encode(&bytes)})
            .to_string(),
            json!({"resourceType": "DocumentReference", "id": id, "status": "current",
                "subject": {"reference": format!("Patient/{PATIENT}")},
                "content": [{"attachment": {"contentType": "application/pdf",
                    "url": format!("Binary/{id}"), "size": size}}]})
            .to_string(),
        ]);
    }
    resources
}

fn knobs() -> Knobs {
    let as_resource = Document {
        refuses_bytes: true,
        ..Document::default()
    };
    let odd = (1..DOCUMENTS).step_by(2);
    Knobs {
        documents: odd
            .map(|number| (format!("doc-{number}"), as_resource.clone()))
            .collect(),
        ..Knobs::default()
    }
}

/// The SHA-256 of each document that the portal has served whole, by its URL.
fn served(app: &App) -> BTreeMap<String, String> {
    let log = app.sandbox.portal().log().into_iter();
    let bytes = log.filter_map(|entry| entry.bytes);
    bytes
        .filter(|of| of.is_whole)
        .map(|of| (format!("Binary/{}", of.id), of.sha256))
        .collect()
}

/// How many objects lie in the folder of a connection's attachments that no row names.
async fn strays(app: &App, connection: ConnectionId) -> Result<usize> {
    let folder = format!("connections/{connection}/attachments");
    let objects: Vec<_> = app.core.store.list(&folder).try_collect().await?;
    let named = app.core.db.named_objects(connection).await?;
    let stray = objects.iter().filter(|of| !named.contains(&of.object));
    Ok(stray.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_had_whole_and_once_wherever_the_worker_dies() -> Result<()> {
    let mut app = App::prepare(AppOptions {
        sandbox: SandboxOptions {
            extra: resources(),
            ..SandboxOptions::default()
        },
        ..AppOptions::with(&[
            ("maintain.interval_ms", "1000"),
            ("maintain.orphan_age_ms", "0"),
        ])
    })
    .await?;
    app.sandbox.portal().set_knobs(knobs());
    let connection = app.connect(&[PATIENT]).await?[0];
    let pull = app.pull(&[connection]).await?[0];
    for name in activities::failpoint::ATTACHMENTS {
        app.work(&[("FAILPOINTS", &format!("{name}=2*off->1*return(abort)"))])?;
        let status = app.node().wait(UNDER_WAY);
        let status = status.with_context(|| format!("reach {name}"))?;
        ensure!(!status.success(), "{name} did not abort");
    }
    let left_over = strays(&app, connection).await?;
    ensure!(left_over > 0, "no kill left a piece");
    app.work(&[])?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.verified().await?;

    let rows = app.core.db.open_attachments(connection).await?;
    ensure!(rows.len() == DOCUMENTS, "{} rows", rows.len());
    let served = served(&app);
    for row in &rows {
        ensure!(row.of.state == AttachmentState::Fetched, "{row:?}");
        let object = row.of.object.as_ref().context("no bytes")?;
        ensure!(served.get(&row.url) == Some(&object.sha256), "{row:?}");
        ensure!(row.of.code.is_none(), "{row:?}: {:?}", row.of.code);
    }
    let counts = app.core.db.pull(pull).await?.attachments;
    let counts = counts.context("no counts")?;
    ensure!(
        counts.is_true() && counts.fetched == DOCUMENTS as u64,
        "{counts:?}"
    );
    app.until(UNDER_WAY, "left-overs are swept", async |app: &mut App| {
        Ok(strays(app, connection).await? == 0)
    })
    .await?;

    let client = worker::connect(&app.temporal.address(), "default").await?;
    let histories = chain::<PatientPull>(&client, &PatientPull::id(connection)).await?;
    for json in &histories {
        histories::replay("a pull with attachments", json).await?;
    }
    if std::env::var_os("CHARTLIFT_RECORD").is_some() {
        histories::record("PatientPull", HISTORY, &histories[0])?;
    }
    app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_told_of_and_left_where_they_are_to_be() -> Result<()> {
    let mut app = App::prepare(AppOptions {
        sandbox: SandboxOptions {
            extra: resources(),
            ..SandboxOptions::default()
        },
        ..AppOptions::default()
    })
    .await?;
    let failing = Document {
        status: Some(500),
        ..Document::default()
    };
    let mut knobs = knobs();
    knobs.documents.insert("doc-3".to_owned(), failing);
    app.sandbox.portal().set_knobs(knobs);
    let connection = app.connect(&[PATIENT]).await?[0];
    let pull = app.pull(&[connection]).await?[0];
    app.work(&[])?;
    app.idle(LIMIT).await?;
    let ended = app.core.db.pull(pull).await?;
    ensure!(
        ended.error_code.as_deref() == Some("attachments_incomplete"),
        "{ended:?}"
    );
    let printed = |arguments: &[&str]| -> Result<String> {
        let output = app.chartlift(arguments)?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let shown = printed(&["pull", "show", &pull.to_string()])?;
    ensure!(
        shown.contains("attachments 12: 11 fetched, 1 failed"),
        "{shown}"
    );
    let id = connection.to_string();
    let list = [
        "connection",
        "attachments",
        &id,
        "--state",
        "failed",
        "--json",
    ];
    let listed: Value = serde_json::from_str(&printed(&list)?)?;
    ensure!(
        listed[0]["code"] == "source_failed" && listed[1].is_null(),
        "{listed}"
    );
    ensure!(!listed.to_string().contains("doc-3"), "{listed}");

    printed(&["source", "attachments", "sandbox", "leave"])?;
    let from = app.sandbox.portal().log().len();
    app.core
        .db
        .request_full_pull(connection, model::Trigger::Manual)
        .await?;
    app.idle(LIMIT).await?;
    let log = app.sandbox.portal().log().split_off(from);
    ensure!(log.iter().any(|of| of.path.contains("DocumentReference")));
    ensure!(!log.iter().any(|of| of.path.contains("/Binary/")));
    let pulls = app.core.db.pulls(Some(connection), None, 1).await?;
    ensure!(
        pulls[0].attachments.is_none() && pulls[0].error_code.is_none(),
        "{pulls:?}"
    );
    app.verified().await?;
    app.down()
}
