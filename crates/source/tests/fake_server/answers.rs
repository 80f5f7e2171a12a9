//! What an answer becomes: by its status, its text, its type and its size.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use chartlift_source::{Demand, Error, FanOut, FirstPage, ReadOutcome, StreamPlan};

use crate::server::{EMPTY, PATIENT, client, fake_server, search, shown};

#[tokio::test]
async fn fake_server_reads_are_found_gone_or_neither() {
    let (base, _) = fake_server(|target| match target {
        "/fhir/Patient/p" => PATIENT.into_response(),
        "/fhir/Patient/a%2Fb%20c" => {
            "{\n \"id\": \"a/b c\", \"resourceType\": \"Patient\" }".into_response()
        }
        "/fhir/Patient/other" | "/fhir/Goal/p" => PATIENT.into_response(),
        "/fhir/Patient/outcome" => r#"{"resourceType":"OperationOutcome"}"#.into_response(),
        "/fhir/Patient/gone" => StatusCode::GONE.into_response(),
        "/fhir/Patient/forbidden" => StatusCode::FORBIDDEN.into_response(),
        "/fhir/Patient/login" => StatusCode::UNAUTHORIZED.into_response(),
        "/fhir/Patient/500" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let client = client(&base);
    let read = |id: &'static str| client.read("Patient", id);
    let Ok(ReadOutcome::Found(found)) = read("a/b c").await else {
        panic!("not found")
    };
    assert_eq!(found.text, r#"{"id":"a/b c","resourceType":"Patient"}"#);
    assert_eq!(read("gone").await.unwrap(), ReadOutcome::Gone);
    assert_eq!(read("missing").await.unwrap(), ReadOutcome::NotFound);
    assert_eq!(
        read("forbidden").await.unwrap(),
        ReadOutcome::Refused { status: 403 }
    );
    assert!(matches!(
        read("login").await,
        Err(Error::Unauthorized { status: 401, .. })
    ));
    assert!(matches!(
        read("500").await,
        Err(Error::Unavailable {
            status: Some(500),
            timeout: false,
            ..
        })
    ));
    assert!(matches!(read("other").await, Err(Error::Protocol { .. })));
    assert!(matches!(read("outcome").await, Err(Error::Protocol { .. })));
    assert!(matches!(
        client.read("Goal", "p").await,
        Err(Error::Protocol { .. })
    ));
}

#[tokio::test]
async fn fake_server_statuses_become_decisions() {
    let (base, _) = fake_server(|target| {
        let status = target
            .rsplit(['=', '/'])
            .find_map(|part| part.split('&').next()?.parse::<u16>().ok());
        let status = target
            .split_once("patient=")
            .and_then(|(_, id)| id[..3].parse().ok())
            .or(status);
        (
            StatusCode::from_u16(status.unwrap()).unwrap(),
            [("retry-after", "7")],
            "<p>patient 4711</p>",
        )
    })
    .await;
    let client = client(&base);
    let mut texts = String::new();
    for status in [
        400, 403, 404, 405, 406, 410, 418, 422, 501, 401, 408, 429, 503, 500, 502, 504,
    ] {
        let first = client
            .first_page(
                &search("Goal", "patient"),
                &status.to_string(),
                FirstPage::default(),
            )
            .await
            .unwrap_err();
        texts += &shown(&first);
        let next = client
            .page(&format!("{base}?secret=4711&at={status}"))
            .await
            .unwrap_err();
        texts += &shown(&next);
        match status {
            401 => assert!(matches!(first, Error::Unauthorized { status: 401, .. })),
            429 | 503 => assert!(
                matches!(first, Error::Throttled { retry_after: Some(wait), .. } if wait == Duration::from_secs(7))
            ),
            408 | 504 => assert!(matches!(first, Error::Unavailable { timeout: true, .. })),
            500 | 502 => assert!(matches!(first, Error::Unavailable { timeout: false, .. })),
            _ => assert!(
                matches!(first, Error::Refused { status: s, .. } if s == status),
                "{status}"
            ),
        }
        let expired = matches!(next, Error::CursorExpired { .. });
        assert_eq!(expired, matches!(status, 400 | 404 | 410), "{status}");
        assert!(
            expired || std::mem::discriminant(&first) == std::mem::discriminant(&next),
            "{status}"
        );
    }
    for secret in ["4711", "hush", "/fhir", "Goal", "http:"] {
        assert!(!texts.contains(secret), "{secret} in {texts}");
    }
}

/// A refusal is read for what it wants, and nothing of its text is kept.
#[tokio::test]
async fn fake_server_refusals_say_what_is_wanted() {
    const WANTED: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"fatal","code":"required",
        "details":{"text":"Patient 4711: Must have either code or category."}}]}"#;
    let (base, _) = fake_server(|target| {
        let scope = [("www-authenticate", "Bearer error=\"insufficient_scope\"")];
        if target.contains("category=") {
            (StatusCode::FORBIDDEN, scope, "").into_response()
        } else if target.contains("Goal") {
            (StatusCode::BAD_REQUEST, WANTED).into_response()
        } else if target.contains("Flag") {
            (StatusCode::INTERNAL_SERVER_ERROR, WANTED).into_response()
        } else {
            let long = format!("category {}", " ".repeat(70_000));
            (StatusCode::BAD_REQUEST, long).into_response()
        }
    })
    .await;
    let client = client(&base);
    let first = |plan: StreamPlan| {
        let client = client.clone();
        async move {
            let page = client.first_page(&plan, "p", FirstPage::default());
            page.await.unwrap_err()
        }
    };
    let refused = first(search("Goal", "patient")).await;
    let Error::Refused {
        status: 400, said, ..
    } = &refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(said.demand, Some(Demand::Category));
    assert!(said.is_outcome && !said.insufficient_scope);
    let failed = first(search("Flag", "patient")).await;
    assert!(matches!(&failed, Error::Failed { status: 500, said, .. } if said.demand.is_some()));
    assert!(!shown(&refused).contains("4711") && !shown(&failed).contains("4711"));
    let mut by_value = search("Goal", "patient");
    by_value.fan_out = Some(FanOut {
        parameter: "category".to_owned(),
        values: vec!["http://x|a,b".to_owned()],
    });
    let beyond = first(by_value).await;
    assert!(
        matches!(&beyond, Error::Refused { status: 403, said, .. } if said.insufficient_scope && said.demand.is_none())
    );
    // More than is read of a refusal says nothing.
    let long = first(search("Task", "patient")).await;
    assert!(matches!(&long, Error::Refused { said, .. } if said.demand.is_none()));
}

/// Servers name FHIR's JSON in many ways, and some not at all.
#[tokio::test]
async fn fake_server_may_call_its_answers_anything() {
    for content_type in [
        "application/fhir+json",
        "application/json",
        "application/json+fhir;charset=UTF-8",
        "text/plain",
        "application/octet-stream",
    ] {
        let (base, _) = fake_server(move |_| ([("content-type", content_type)], EMPTY)).await;
        let page = client(&base).page(&format!("{base}?page=2")).await;
        assert_eq!(page.unwrap().resources, [], "{content_type}");
    }
}

#[tokio::test]
async fn fake_server_bodies_are_bounded_after_decompression() {
    let gzip = |body: &'static [u8]| ([("content-encoding", "gzip")], body).into_response();
    let (base, _) = fake_server(move |target| match target {
        "/fhir?gzip" => gzip(include_bytes!("../data/page.json.gz")),
        "/fhir?bomb" => gzip(include_bytes!("../data/page-300-kb.json.gz")),
        "/fhir?broken" => gzip(b"not gzip at all"),
        "/fhir?long" => " ".repeat((64 << 10) + 1).into_response(),
        _ => "<html>".into_response(),
    })
    .await;
    let client = client(&base);
    let get = |query: &'static str| {
        let (client, cursor) = (client.clone(), format!("{base}?{query}"));
        async move { client.page(&cursor).await }
    };
    assert_eq!(
        get("gzip").await.unwrap().resources[0].text,
        r#"{"resourceType":"Goal","id":"g"}"#
    );
    assert!(matches!(
        get("bomb").await,
        Err(Error::TooLarge { limit: 65536, .. })
    ));
    assert!(matches!(get("long").await, Err(Error::TooLarge { .. })));
    assert!(matches!(
        get("broken").await,
        Err(Error::Unavailable { .. })
    ));
    assert!(matches!(get("html").await, Err(Error::Protocol { .. })));
}
