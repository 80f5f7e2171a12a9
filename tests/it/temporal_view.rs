//! What an operator sees in the Temporal UI: workflows under their ids, found by
//! their search attributes, activities with summaries, a table of what was done.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, chain, readable};
use model::FileFormat;
use steps::{DestinationExport, PatientPull};
use temporalio_client::WorkflowCountOptions;

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_by_their_attributes_and_say_what_they_do() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let connection = app.connect(&["12345"]).await?[0];
    let destination = app.destination("lake", FileFormat::Parquet).await?;
    let pull = app.pull(&[connection]).await?[0];
    app.idle(Duration::from_secs(60)).await?;
    app.all_completed().await?;
    let patient = app.core.db.connection(connection).await?.summary.patient_id;
    let export = app.core.db.exports(Some(destination), None, 1).await?[0].id;

    let client = worker::connect(&app.temporal.address(), "default").await?;
    let queries = [
        format!(
            "WorkflowId = 'pull/{connection}' AND ChartliftConnection = '{connection}' AND ChartliftPatient = \
             '{patient}' AND ChartliftRun = '{pull}' AND ChartliftOutcome = 'completed'"
        ),
        format!(
            "WorkflowId = 'export/{destination}' AND ChartliftDestination = '{destination}' AND ChartliftRun = \
             '{export}' AND ChartliftOutcome = 'completed'"
        ),
    ];
    for query in queries {
        // Visibility follows the history within moments.
        let counted = client.clone();
        app.until(Duration::from_secs(20), &query, async |_: &mut App| {
            let found = counted.count_workflows(&query, WorkflowCountOptions::default());
            Ok(found.await?.count() == 1)
        })
        .await?;
    }

    let pulled = chain::<PatientPull>(&client, &PatientPull::id(connection)).await?;
    let exported = chain::<DestinationExport>(&client, &DestinationExport::id(destination)).await?;
    for (history, summaries) in [
        (
            &pulled[0],
            &[
                "take the queued pull",
                "what the resources refer to",
                "Observation",
            ][..],
        ),
        (
            &exported[0],
            &[
                "fix what is to be delivered",
                "write chunk 0",
                "publish number 1",
            ][..],
        ),
    ] {
        let text = String::from_utf8_lossy(&readable(history)?).into_owned();
        for summary in summaries {
            ensure!(text.contains(summary), "no `{summary}` in the history");
        }
    }
    app.down()
}
