//! What the client asks: the places, in which order, how they are written, and with
//! which headers.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use chartlift_source::{Auth, Error, FanOut, FirstPage, Secret, StreamPlan, Wanted};

use crate::server::{EMPTY, PATIENT, client, fake_server, search, targets};

#[tokio::test]
async fn fake_server_is_pulled_from_capabilities_to_last_page() {
    let (base, seen) = fake_server(|target| {
        let body = match target {
            "/fhir/metadata" => {
                r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"mode":"server","resource":[
                    {"type":"Patient"},{"type":"Goal","searchParam":[{"name":"patient"}]}]}]}"#
            }
            "/fhir/Patient/p" => PATIENT,
            "/fhir/Goal?patient=p&_count=200" => {
                r#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"/fhir?_getpages=7"}],
                    "entry":[{"resource":{"resourceType":"Goal","id":"a"}}]}"#
            }
            "/fhir?_getpages=7" => {
                r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Goal","id":"b"}}]}"#
            }
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        ([("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("content-type", "application/json")], body).into_response()
    })
    .await;
    let client = client(&base);
    let plan = client.plan(&client.capabilities().await.unwrap(), Wanted::default());
    let mut ids = Vec::new();
    for stream in &plan {
        let mut cursor: Option<String> = None;
        loop {
            let page = match &cursor {
                Some(next) => client.page(next).await.unwrap(),
                None => client
                    .first_page(stream, "p", FirstPage::default())
                    .await
                    .unwrap(),
            };
            assert_eq!(page.served_at.map(|time| time.0), Some(784_111_777_000_000));
            assert!(page.bytes > 0);
            ids.extend(page.resources.into_iter().map(|resource| resource.head.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    assert_eq!(ids, ["p", "a", "b"]);
    for (_, headers) in seen.lock().unwrap().iter() {
        assert_eq!(headers["accept"], "application/fhir+json");
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["authorization"], "Bearer hush-token");
        assert_eq!(headers.get("referer"), None);
    }
}

#[tokio::test]
async fn fake_server_sees_odd_ids_encoded() {
    let (base, seen) = fake_server(|_| EMPTY).await;
    let client = client(&base);
    let long = "e".repeat(130);
    for (plan, id) in [
        (search("Goal", "patient"), "a b/c?d&e=f#g%2F+é"),
        (search("Schedule", "actor"), "1,2|3"),
        (search("Goal", "patient"), long.as_str()),
        (search("Goal", "patient"), ".."),
    ] {
        client
            .first_page(&plan, id, FirstPage::default())
            .await
            .unwrap();
    }
    assert_eq!(
        targets(&seen),
        [
            "/fhir/Goal?patient=a%20b%2Fc%3Fd%26e%3Df%23g%252F%2B%C3%A9&_count=200".to_owned(),
            "/fhir/Schedule?actor=Patient/1%5C%2C2%5C%7C3&_count=200".to_owned(),
            format!("/fhir/Goal?patient={long}&_count=200"),
            "/fhir/Goal?patient=..&_count=200".to_owned(),
        ]
    );
    assert!(matches!(
        client.read("Patient", "..").await,
        Err(Error::Protocol { .. })
    ));
    assert!(matches!(
        client.read("../x", "1").await,
        Err(Error::Protocol { .. })
    ));
}

/// Searches by value carry it encoded, and `_count` may be left out.
#[tokio::test]
async fn fake_server_is_asked_value_by_value() {
    let (base, seen) = fake_server(|_| EMPTY).await;
    let client = client(&base);
    let mut plan = search("Goal", "patient");
    plan.fan_out = Some(FanOut {
        parameter: "category".to_owned(),
        values: vec!["a".to_owned(), "http://x|b".to_owned()],
    });
    let ask = |plan: &StreamPlan, value, count, since| {
        let (client, plan) = (client.clone(), plan.clone());
        let at = FirstPage {
            value,
            count,
            since,
        };
        async move { client.first_page(&plan, "p", at).await.unwrap() }
    };
    ask(&plan, 0, None, None).await;
    ask(&plan, 1, Some(50), None).await;
    plan.without_count = true;
    ask(&plan, 0, Some(50), None).await;
    // In whole seconds, and with no `+` that would be read as a space.
    let since = model::fhir_instant("2024-01-02T12:34:56.789+10:00");
    ask(&plan, 0, None, since).await;
    assert_eq!(
        targets(&seen),
        [
            "/fhir/Goal?patient=p&category=a&_count=200",
            "/fhir/Goal?patient=p&category=http%3A%2F%2Fx%7Cb&_count=50",
            "/fhir/Goal?patient=p&category=a",
            "/fhir/Goal?patient=p&category=a&_lastUpdated=ge2024-01-02T02%3A34%3A56Z",
        ]
    );
}

#[tokio::test]
async fn fake_server_gets_the_token_it_was_given_last() {
    let (base, seen) = fake_server(|_| EMPTY).await;
    let client = client(&base);
    let refreshed = client
        .with_auth(Auth::Bearer(Secret::new("fresh")))
        .unwrap();
    refreshed.page(base.as_str()).await.unwrap();
    client
        .with_auth(Auth::None)
        .unwrap()
        .page(base.as_str())
        .await
        .unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].1["authorization"], "Bearer fresh");
    assert_eq!(seen[1].1.get("authorization"), None);
    assert!(!format!("{:?} {client:?}", Auth::Bearer(Secret::new("hush-token"))).contains("hush"));
    assert!(matches!(
        client.with_auth(Auth::Bearer(Secret::new("a\nb"))),
        Err(Error::Config { .. })
    ));
}
