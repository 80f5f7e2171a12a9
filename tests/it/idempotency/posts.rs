//! POSTs of every kind that makes something, and what they need to be there.

use anyhow::Result;
use chartlift_tests::App;
use db::{NewConnection, NewDestination};
use model::{ConnectionId, DestinationId, FileFormat};
use serde_json::{Value, json};

/// A POST.
#[derive(Debug, Clone)]
pub(super) struct Post {
    /// What it does, as the audit log says it.
    pub(super) action: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
    /// Its `Idempotency-Key`.
    pub(super) key: String,
}

/// What POSTs there are, by what the audit log says of them.
pub(super) const ACTIONS: [&str; 9] = [
    "patient.add",
    "source.add",
    "connection.add",
    "destination.add",
    "pull.start",
    "export.start",
    "key.add",
    "pull.cancel",
    "connection.revoke",
];

/// So many POSTs, each kind in its turn, with what they speak of.
pub(super) async fn prepare(app: &App, count: usize) -> Result<Vec<Post>> {
    let mut posts = Vec::with_capacity(count);
    for number in 0..count {
        let action = ACTIONS[number % ACTIONS.len()];
        let (path, body) = request(app, action, number).await?;
        posts.push(Post {
            action,
            path,
            body,
            key: format!("post-{number}"),
        });
    }
    Ok(posts)
}

async fn request(app: &App, action: &str, number: usize) -> Result<(String, Value)> {
    let db = &app.core.db;
    let port = app.sandbox.base_url().port().unwrap_or_default();
    Ok(match action {
        // Without a name of its own nothing but its key keeps a second one away.
        "patient.add" => ("/v1/patients".to_owned(), json!({})),
        "source.add" => (
            "/v1/sources".to_owned(),
            json!({ "name": format!("source-{number}"), "base_url": format!("http://127.0.0.1:{port}/{number}") }),
        ),
        "connection.add" => {
            let patient = db.ensure_patient(&format!("person-{number}")).await?;
            let source = db.source("sandbox").await?.id;
            (
                "/v1/connections".to_owned(),
                json!({ "patient_id": patient, "source_id": source, "source_patient_id": "12345" }),
            )
        }
        "destination.add" => {
            let folder = app.dir.path().join(format!("files/{number}"));
            (
                "/v1/destinations".to_owned(),
                json!({ "name": format!("lake-{number}"), "location": folder, "format": "parquet" }),
            )
        }
        "pull.start" => (
            "/v1/pulls".to_owned(),
            json!({ "connection_id": connection(app, number).await? }),
        ),
        "export.start" => (
            "/v1/exports".to_owned(),
            json!({ "destination_id": destination(app, number).await?, "full": true }),
        ),
        "key.add" => (
            "/v1/keys".to_owned(),
            json!({ "name": format!("key-{number}"), "scopes": ["read"] }),
        ),
        "pull.cancel" => {
            let connection = connection(app, number).await?;
            let pull = db.request_pull(connection, model::Trigger::Manual).await?;
            (format!("/v1/pulls/{pull}/cancel"), json!({}))
        }
        _ => {
            let connection = connection(app, number).await?;
            (format!("/v1/connections/{connection}/revoke"), json!({}))
        }
    })
}

async fn connection(app: &App, number: usize) -> Result<ConnectionId> {
    let db = &app.core.db;
    let new = NewConnection {
        patient_id: db.ensure_patient(&format!("person-{number}")).await?,
        source_id: db.source("sandbox").await?.id,
        source_patient_id: "12345".to_owned(),
        token: Some("token".to_owned()),
    };
    Ok(db.add_connection(&new).await?)
}

async fn destination(app: &App, number: usize) -> Result<DestinationId> {
    let new = NewDestination {
        id: DestinationId::new(),
        name: format!("target-{number}"),
        location: format!("{}/target-{number}", app.dir.path().display()),
        format: FileFormat::Ndjson,
        credentials: None,
        awaits_test: false,
    };
    app.core.db.add_destination(&new).await?;
    Ok(new.id)
}
