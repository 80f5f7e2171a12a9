//! `chartlift verify` finds what is wrong, says which promise it breaks and where,
//! and says nothing where nothing is wrong.

mod copy;
mod faults;
mod plant;
mod plant_publications;
mod plant_rows;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::FileFormat;
use serde_json::Value;

use self::copy::Copy;
use self::faults::FAULTS;
use crate::delivery_exact::small_patients;

const LIMIT: Duration = Duration::from_secs(60);

/// Four publications at each destination: everything, a change and something
/// new, another change, and a deletion. The NDJSON one then gets everything again.
async fn deployment() -> Result<(App, [String; 2])> {
    let mut app = App::start(AppOptions::default()).await?;
    let patients = small_patients(&app);
    let chosen = [
        "12345",
        patients[0].as_str(),
        patients[patients.len() - 2].as_str(),
    ];
    let connections = app.connect(&chosen).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let ndjson = app.destination("ndjson", FileFormat::Ndjson).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    app.idle(LIMIT).await?;
    let fresh = r#"{"resourceType":"Observation","id":"fresh","status":"final","subject":{"reference":"Patient/12345"}}"#;
    for (value, status) in [("1.100", "amended"), ("1.1000", "corrected")] {
        app.sandbox.portal().put(&format!(
            r#"{{"resourceType":"Observation","id":"dec-trailing","status":"{status}","valueQuantity":{{"value":{value}}}}}"#
        ));
        app.sandbox.portal().put(fresh);
        app.pull(&connections[..1]).await?;
        app.idle(LIMIT).await?;
    }
    app.sandbox.portal().remove("Observation", "fresh");
    app.pull(&connections[..1]).await?;
    app.idle(LIMIT).await?;
    app.core.db.request_full_export(ndjson).await?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.down()?;
    app.core.db.close().await;
    Ok((app, [ndjson.to_string(), parquet.to_string()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_fault_is_found_and_named() -> Result<()> {
    let (mut app, ids) = deployment().await?;
    let sound = Copy::of(&mut app, &ids).await?;
    let said = sound.verify()?;
    ensure!(said.code == Some(0), "{:#}", said.report);
    ensure!(findings(&said.report).is_empty(), "{:#}", said.report);
    left_over(&sound)?;

    for fault in FAULTS {
        let copy = Copy::of(&mut app, &ids).await?;
        let object = (fault.plant)(&copy).with_context(|| format!("plant: {}", fault.name))?;
        let said = copy.verify().with_context(|| fault.name)?;
        let found = findings(&said.report);
        let is_found = found.iter().any(|finding| {
            (&finding["invariant"], &finding["code"])
                == (&fault.finds.0.into(), &fault.finds.1.into())
                && finding["object"] == object
        });
        ensure!(
            is_found && said.code == Some(1),
            "{}: exit code {:?}, {:?} of {object} is not among {found:#?}",
            fault.name,
            said.code,
            fault.finds,
        );
        for finding in found {
            let says = |member: &str| {
                finding[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            };
            ensure!(says("what") && says("action"), "{finding}");
        }
        let codes: Vec<&str> = found
            .iter()
            .filter_map(|finding| finding["code"].as_str())
            .collect();
        println!("{}: {}", fault.name, codes.join(", "));
    }
    Ok(())
}

/// What a cut-off attempt leaves behind is counted, and no finding.
fn left_over(copy: &Copy) -> Result<()> {
    let part = copy.parquet.folder.join(copy.parquet.part(1, "Patient")?);
    std::fs::copy(&part, part.with_file_name("left-over.zstd.parquet"))?;
    let said = copy.verify()?;
    ensure!(said.code == Some(0), "{:#}", said.report);
    ensure!(said.report["checked"]["orphans"] == 1, "{:#}", said.report);
    Ok(())
}

fn findings(report: &Value) -> &[Value] {
    report["findings"].as_array().map_or(&[], Vec::as_slice)
}
