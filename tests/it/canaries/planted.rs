//! A deployment that has pulled the words, and delivered them.

use std::time::Duration;

use activities::register::{Credentials, SourceToAdd, add_connection_with, add_source_with_login};
use anyhow::Result;
use chartlift_tests::{App, AppOptions};
use db::{GivenLogin, NewToken, SourceAuth};
use model::{ConnectionId, DestinationId, FileFormat};
use sandbox::{Issued, SandboxOptions, SmartClient, SmartOptions};

use super::portal::{PATIENT, resources, trouble};

const LIMIT: Duration = Duration::from_secs(90);

const CLIENT_SECRET: &str = "CANARY39-client-secret";

pub(super) struct Planted {
    pub(super) app: App,
    pub(super) connection: ConnectionId,
    pub(super) destination: DestinationId,
    pub(super) issued: Issued,
}

impl Planted {
    /// Pulled once, with tokens that end meanwhile, and delivered.
    pub(super) async fn pulled() -> Result<Self> {
        let client = SmartClient {
            id: "chartlift".to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            jwks: None,
        };
        let smart = SmartOptions {
            clients: vec![client],
            ..SmartOptions::default()
        };
        let mut app = App::prepare(AppOptions {
            sandbox: SandboxOptions {
                smart: Some(smart),
                extra: resources(),
                page_size: 4,
                ..SandboxOptions::default()
            },
            no_source: true,
            settings: vec![("log.level".to_owned(), "trace".to_owned())],
            ..AppOptions::default()
        })
        .await?;
        app.sandbox.portal().set_knobs(trouble());
        let (connection, issued) = Self::connect(&app).await?;
        let destination = app.destination("lake", FileFormat::Ndjson).await?;
        app.pull(&[connection]).await?;
        app.work(&[])?;
        app.idle(LIMIT).await?;
        Ok(Self {
            app,
            connection,
            destination,
            issued,
        })
    }

    async fn connect(app: &App) -> Result<(ConnectionId, Issued)> {
        let (db, guard) = (&app.core.db, &app.core.guard);
        let source = SourceToAdd {
            auth: SourceAuth::Smart,
            ..SourceToAdd::new("sandbox", app.sandbox.base_url())
        };
        let login = GivenLogin {
            client_id: "chartlift".to_owned(),
            client_secret: Some(CLIENT_SECRET.to_owned()),
            ..GivenLogin::default()
        };
        add_source_with_login(db, guard, &source, login).await?;
        let scope = "launch/patient patient/*.rs offline_access";
        let issued = app.sandbox.smart().grant("chartlift", PATIENT, scope);
        // The access token is not known: it is had with the refresh token, and rotated.
        let grant = NewToken {
            refresh: issued.refresh_token.clone(),
            ..NewToken::default()
        };
        let credentials = Credentials {
            token: None,
            grant: Some(grant),
        };
        let patient = PATIENT.to_owned();
        let connection = add_connection_with(db, "person-1", "sandbox", patient, credentials);
        Ok((connection.await?, issued))
    }
}
