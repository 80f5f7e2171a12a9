//! Behind a bad network to the database and to the store, slow, cut off time and
//! again, or of a kilobyte a second, pulls and exports go on and end as ever.
//!
//! `CHARTLIFT_TOXIC_SECONDS` makes each spell longer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{
    App, AppOptions, EXPORT_STEPS, PULL_STEPS, PostgresServer, S3Server, Toxic, Toxiproxy, number,
    skipped,
};
use model::FileFormat;
use sandbox::Knobs;
use serde_json::json;

use crate::delivery_exact::small_patients;

/// A step that was cut off may have to wait for its heartbeat to time out.
const LIMIT: Duration = Duration::from_secs(240);
const SERVERS: [&str; 2] = ["postgres", "s3"];
/// Makes steps long enough to meet a spell.
const SLOW_STEPS: &str = "settle_commit.before=return(wait 300);export.plan.begin=return(wait 300);\
     part_write.before=return(wait 100);publication.before=return(wait 300);\
     watermark_commit.before=return(wait 200)";

/// PostgreSQL and VersityGW behind the proxy; none where one is lacking.
async fn servers(proxy: &Toxiproxy) -> Result<Option<(PostgresServer, S3Server)>> {
    let Some(postgres) = PostgresServer::start().await? else {
        skipped("PostgreSQL is not there: run the tests by `cargo xtask test`");
        return Ok(None);
    };
    let Some(s3) = S3Server::start(&["records", "lake"]).await? else {
        skipped("VersityGW is not there: run the tests by `cargo xtask test`");
        return Ok(None);
    };
    let at = proxy.pass_on(SERVERS[0], postgres.port()).await?;
    let postgres = postgres.behind(at);
    let at = proxy.pass_on(SERVERS[1], s3.port()).await?;
    Ok(Some((postgres, s3.behind(at))))
}

/// Waits until a worker is at one of these steps, by its log: the database is left
/// alone.
async fn until_at(app: &mut App, of: &[&str]) -> Result<()> {
    app.until(LIMIT, "a step runs", async |app: &mut App| {
        for worker in app.nodes() {
            let running = worker.step_log().running()?;
            if running.iter().any(|step| of.contains(&step.step.as_str())) {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_bad_network_pulls_and_exports_end_as_ever() -> Result<()> {
    let spell = Duration::from_secs(number("CHARTLIFT_TOXIC_SECONDS", 4));
    let Some(proxy) = Toxiproxy::start().await? else {
        skipped("Toxiproxy is not there: run the tests by `cargo xtask test`");
        return Ok(());
    };
    let Some((postgres, s3)) = servers(&proxy).await? else {
        return Ok(());
    };
    let small = [
        ("worker.staging_size_target_bytes", "16384"),
        ("worker.part_size_target_bytes", "65536"),
        ("worker.back_off_first_ms", "1000"),
        ("worker.back_off_max_ms", "2000"),
    ];
    let mut options = AppOptions::with(&small);
    options.settings.extend(s3.settings("s3://records/main"));
    (options.postgres, options.s3) = (Some(postgres), Some(s3));
    options.workers = 2;
    let mut app = App::prepare(options).await?;
    let patients = small_patients(&app);
    let names: Vec<&str> = patients.iter().take(3).map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    let portal = app.sandbox.portal().clone();
    portal.set_knobs(Knobs {
        latency_ms: 100,
        ..Knobs::default()
    });
    app.work(&[("FAILPOINTS", SLOW_STEPS)])?;

    let mut destinations = Vec::new();
    for (round, toxic) in Toxic::ALL.into_iter().enumerate() {
        for patient in &names {
            portal.put(&format!(
                r#"{{"resourceType":"Observation","id":"net-{patient}-{round}","status":"final","subject":{{"reference":"Patient/{patient}"}},"code":{{"text":"net"}}}}"#
            ));
        }
        app.pull(&connections).await?;
        for (steps, is_export) in [(PULL_STEPS, false), (EXPORT_STEPS, true)] {
            if is_export {
                // All there is goes to a new destination.
                let name = format!("lake-{}", toxic.name().replace('_', "-"));
                let location = format!("s3://lake/{name}");
                let added = app.s3_destination(&name, &location, FileFormat::Parquet);
                destinations.push(added.await?);
            }
            until_at(&mut app, steps).await?;
            for server in SERVERS {
                proxy.poison(server, toxic).await?;
            }
            tokio::time::sleep(spell).await;
            proxy.cure().await?;
            let what = format!("{} in {}", toxic.name(), steps[0]);
            app.idle(LIMIT).await.context(what)?;
        }
        app.all_completed().await?;
    }
    app.down()?;
    app.verified().await?;
    app.holds_what_was_served(0, &destinations).await?;
    ensure!(destinations.len() == Toxic::ALL.len());
    println!(
        "FIGURES: {}",
        json!({"spells": 2 * Toxic::ALL.len(), "spell_seconds": spell.as_secs()})
    );
    Ok(())
}
