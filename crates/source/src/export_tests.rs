//! Bulk exports against small servers in this process: what is sent where, and what
//! comes of manifests and files as the field has them.

mod files;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use guard::{Allow, Guard};
use tokio::net::TcpListener;
use url::Url;

use crate::{
    Auth, Error, ExportFile, ExportStatus, FileKind, Limits, RawLine, Secret, SourceClient,
};

/// (method, path, whether it carried credentials, body)
type Seen = Arc<Mutex<Vec<(String, String, bool, String)>>>;

/// A server that gives every request to `answer`; its base URL and what it saw.
async fn server<R: IntoResponse>(
    answer: impl Fn(&str) -> R + Clone + Send + Sync + 'static,
) -> (Url, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request| {
        let (log, answer) = (Arc::clone(&log), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let target = parts.uri.to_string();
            log.lock().unwrap().push((
                parts.method.to_string(),
                target.clone(),
                parts.headers.contains_key("authorization"),
                String::from_utf8_lossy(&body).into_owned(),
            ));
            answer(&target).into_response()
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base.parse().unwrap(), seen)
}

fn client(base: &Url) -> SourceClient {
    let limits = Limits {
        body_bytes_max: 64 << 10,
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let auth = Auth::Bearer(Secret::new("hush-token"));
    let guard = Guard::new(Allow::parse(&["127.0.0.1/32"]).unwrap());
    SourceClient::new(base.clone(), auth, limits, &guard).unwrap()
}

fn file(url: impl ToString) -> ExportFile {
    ExportFile {
        url: url.to_string(),
        kind: FileKind::Resources,
        resource_type: None,
        count: None,
    }
}

async fn lines_of(client: &SourceClient, file: &ExportFile) -> Result<Vec<RawLine>, Error> {
    let mut lines = client.export_lines(file, true).await?;
    let mut found = Vec::new();
    while let Some(line) = lines.next().await? {
        found.push(line);
    }
    Ok(found)
}

fn json(body: &'static str) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

fn redirect(to: String) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response()
}

#[tokio::test]
async fn a_kick_off_names_the_patient_and_its_status_url_may_be_relative() {
    let (base, seen) = server(|_| {
        let place = [("content-location", "/fhir/jobs/7?x=%2C")];
        (StatusCode::ACCEPTED, place)
    })
    .await;
    let status_url = client(&base).begin_export("a b").await.unwrap();
    assert!(status_url.ends_with("/fhir/jobs/7?x=%2C") && status_url.starts_with("http://"));
    let (method, path, has_token, body) = seen.lock().unwrap()[0].clone();
    assert_eq!(
        (method.as_str(), path.as_str()),
        ("POST", "/fhir/Patient/$export")
    );
    assert!(
        has_token && body.contains(r#""reference":"Patient/a%20b""#),
        "{body}"
    );
}

#[tokio::test]
async fn a_status_at_another_server_is_never_asked() {
    let (base, _) = server(|_| {
        let place = [("content-location", "https://elsewhere.example/jobs/7")];
        (StatusCode::ACCEPTED, place)
    })
    .await;
    let begun = client(&base).begin_export("p").await;
    assert!(matches!(begun, Err(Error::ForeignLink { .. })), "{begun:?}");
}

/// `error` before version 4 of the specification, `outcome` since; pages; no types.
#[tokio::test]
async fn manifests_of_the_field() {
    let (base, _) = server(|target| match target {
        "/fhir/old" => json(
            r#"{"transactionTime":"2024-01-01T00:00:00Z","requiresAccessToken":false,
                "output":[{"type":"Goal","url":"https://files.example/1","count":7}],
                "deleted":[{"type":"Bundle","url":"deleted"}],"error":[{"type":"OperationOutcome","url":"e"}]}"#,
        ),
        "/fhir/new" => json(
            r#"{"transactionTime":"t","requiresAccessToken":true,"output":[{"url":"/fhir/1"}],
                "outcome":[{"url":"e"}],"link":[{"relation":"next","url":"new-2"}]}"#,
        ),
        "/fhir/new-2" => json(r#"{"output":[{"url":"/fhir/2"}]}"#),
        "/fhir/other" => json(r#"{"status":"done"}"#),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let client = client(&base);
    let status = async |name: &str| client.export_status(&format!("{base}/{name}")).await;
    let done = async |name: &str| match status(name).await {
        Ok(ExportStatus::Done(manifest)) => manifest,
        other => panic!("{other:?}"),
    };
    let old = done("old").await;
    assert!(!old.requires_access_token);
    let kinds: Vec<FileKind> = old.files.iter().map(|file| file.kind).collect();
    use FileKind::{Deletions, Outcomes, Resources};
    assert_eq!(kinds, [Resources, Deletions, Outcomes]);
    assert_eq!(
        (old.files[0].url.as_str(), old.files[0].count),
        ("https://files.example/1", Some(7))
    );
    assert_eq!(old.files[1].url, format!("{base}/deleted"));
    let new = done("new").await;
    let kinds: Vec<FileKind> = new.files.iter().map(|file| file.kind).collect();
    assert_eq!(kinds, [Resources, Resources, Outcomes]);
    assert!(new.requires_access_token && new.files.iter().all(|of| of.resource_type.is_none()));
    // What is no manifest is never an export without files.
    assert!(matches!(status("other").await, Err(Error::Protocol { .. })));
    let gone = status("gone").await;
    assert!(
        matches!(gone, Err(Error::CursorExpired { status: 404, .. })),
        "{gone:?}"
    );
}

#[tokio::test]
async fn a_status_says_how_long_to_wait_and_whether_trouble_will_pass() {
    let (base, _) = server(|target| match target {
        "/fhir/working" => (StatusCode::ACCEPTED, [("retry-after", "120")]).into_response(),
        "/fhir/passing" => {
            let body = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"transient"}]}"#;
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let client = client(&base);
    let working = client.export_status(&format!("{base}/working")).await;
    let Ok(ExportStatus::Working { retry_after }) = working else {
        panic!("{working:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(120)));
    let passing = client.export_status(&format!("{base}/passing")).await;
    assert!(
        matches!(&passing, Err(Error::Failed { said, .. }) if said.transient),
        "{passing:?}"
    );
}

/// The first hop has the token; the storage that it leads to must not get it, and has
/// no way back to it.
#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_credentials_along() {
    let (storage, stored) = server(|target| match target {
        "/fhir/back" => redirect("/fhir/file".to_owned()),
        _ => "{\"a\":1}\n".into_response(),
    })
    .await;
    let to = format!("{storage}/back");
    let (base, seen) = server(move |target| match target {
        "/fhir/1" => redirect("/fhir/2".to_owned()),
        _ => redirect(to.clone()),
    })
    .await;
    let lines = lines_of(&client(&base), &file(format!("{base}/1"))).await;
    assert_eq!(
        lines.unwrap(),
        [RawLine::Text(Bytes::from_static(b"{\"a\":1}"))]
    );
    let with_token =
        |seen: &Seen| -> Vec<bool> { seen.lock().unwrap().iter().map(|of| of.2).collect() };
    assert_eq!(
        (with_token(&seen), with_token(&stored)),
        (vec![true, true], vec![false, false])
    );
}
