//! A patient's grant whose tokens end again and again while the record is pulled.

use std::time::Duration;

use activities::register::{Credentials, SourceToAdd, add_connection_with, add_source_with_login};
use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, chain, readable};
use db::{GivenLogin, NewToken, SourceAuth};
use model::{ConnectionStatus, FileFormat, SigningAlgorithm};
use sandbox::{SandboxOptions, SmartClient, SmartKnobs, SmartOptions};
use steps::PatientPull;

const LIMIT: Duration = Duration::from_secs(60);
const SCOPE: &str = "launch/patient patient/*.rs offline_access";

async fn portal() -> Result<App> {
    let client = SmartClient {
        id: "chartlift".to_owned(),
        secret: Some("PLANTED-client-secret".to_owned()),
        jwks: None,
    };
    let knobs = SmartKnobs {
        // Far less than a pull takes.
        token_lifetime_ms: 400,
        ..SmartKnobs::default()
    };
    App::prepare(AppOptions {
        sandbox: SandboxOptions {
            smart: Some(SmartOptions {
                clients: vec![client],
                knobs,
            }),
            latency: Duration::from_millis(60),
            page_size: 20,
            ..SandboxOptions::default()
        },
        no_source: true,
        ..AppOptions::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_in_the_middle_of_a_pull_cost_nothing() -> Result<()> {
    let mut app = portal().await?;
    let (db, guard) = (app.core.db.clone(), app.core.guard.clone());
    let new = SourceToAdd {
        auth: SourceAuth::Smart,
        ..SourceToAdd::new("sandbox", app.sandbox.base_url())
    };
    let login = GivenLogin {
        client_id: "chartlift".to_owned(),
        client_secret: Some("PLANTED-client-secret".to_owned()),
        ..GivenLogin::default()
    };
    add_source_with_login(&db, &guard, &new, login).await?;
    let smart = app.sandbox.smart().clone();
    let patients = app.sandbox.patients();
    let patient = patients.iter().find(|of| of.has_history);
    let patient = patient.context("a patient with a history")?.id.clone();
    let issued = smart.grant("chartlift", &patient, SCOPE);
    let grant = NewToken {
        access: Some(issued.access_token.clone()),
        refresh: issued.refresh_token.clone(),
        ..NewToken::default()
    };
    let credentials = Credentials {
        token: None,
        grant: Some(grant),
    };
    let connection = add_connection_with(&db, "ann", "sandbox", patient.clone(), credentials);
    let connection = connection.await?;
    let destination = app.destination("lake", FileFormat::Ndjson).await?;
    app.pull(&[connection]).await?;
    app.work(&[])?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    let delivered = app.delivered(destination).await?.all().len();
    ensure!(delivered == app.sandbox.portal().expected(&patient).len());

    let mut requests = smart.token_requests();
    println!("{} refreshes in one pull", requests.len());
    ensure!(requests.len() >= 3 && requests.iter().all(|of| of.status == 200));
    requests.sort_by_key(|of| of.started_us);
    ensure!(
        requests
            .windows(2)
            .all(|pair| pair[0].ended_us <= pair[1].started_us)
    );
    let scope = db.granted_scope(connection).await?;
    ensure!(scope.as_deref() == Some(SCOPE), "{scope:?}");

    // The patient takes the grant back: the pull says so, and the connection too.
    smart.revoke(issued.grant);
    let pull = app.pull(&[connection]).await?[0];
    app.idle(LIMIT).await?;
    let ended = db.pull(pull).await?;
    ensure!(
        ended.error_code.as_deref() == Some("needs_reconnect"),
        "{ended:?}"
    );
    let status = db.connection_summary(connection).await?.status;
    ensure!(status == ConnectionStatus::NeedsReconnect);
    let told = db::testing::events(&db, "connection.needs_reconnect").await;
    ensure!(
        told.len() == 1 && told[0].0 == connection.to_string(),
        "{told:?}"
    );

    // None of the tokens that there ever were is in Temporal or in a log.
    let stored = db
        .token(&connection.to_string())
        .await?
        .context("its row")?;
    ensure!(stored.refresh.is_none() && stored.access.is_none());
    let client = worker::connect(&app.temporal.address(), "default").await?;
    let mut outside = vec![std::fs::read(app.log())?];
    for history in chain::<PatientPull>(&client, &PatientPull::id(connection)).await? {
        outside.push(readable(&history)?);
    }
    for text in &outside {
        let text = String::from_utf8_lossy(text);
        for secret in ["PLANTED-client-secret", "access-", "refresh-"] {
            ensure!(!text.contains(secret), "{secret} is outside");
        }
    }
    app.down()?;
    app.core.db.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_verified_by_the_keys_the_api_publishes() -> Result<()> {
    let mut app = portal().await?;
    let db = app.core.db.clone();
    app.up(&[])?;
    let (url, _) = app.api().await?;
    let jwks = reqwest::get(format!("{url}/.well-known/jwks.json")).await?;
    let kept = activities::JWKS_CACHE.as_secs();
    ensure!(jwks.headers()["cache-control"] == format!("public, max-age={kept}"));
    let jwks = serde_json::from_str(&jwks.error_for_status()?.text().await?)?;
    app.sandbox.smart().put_client(SmartClient {
        id: "backend".to_owned(),
        secret: None,
        jwks: Some(jwks),
    });
    let new = SourceToAdd {
        auth: SourceAuth::BackendServices,
        ..SourceToAdd::new("sandbox", app.sandbox.base_url())
    };
    let login = GivenLogin {
        client_id: "backend".to_owned(),
        scope: Some("system/*.rs".to_owned()),
        algorithm: Some(SigningAlgorithm::Es384),
        ..GivenLogin::default()
    };
    add_source_with_login(&db, &app.core.guard, &new, login).await?;
    let patients = app.sandbox.patients();
    let patients: Vec<&str> = patients.iter().map(|of| of.id.as_str()).collect();
    let connections = app.connect(&patients[..2]).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    let requests = app.sandbox.smart().token_requests();
    ensure!(!requests.is_empty() && requests.iter().all(|of| of.status == 200));
    app.down()?;
    app.core.db.close().await;
    Ok(())
}
