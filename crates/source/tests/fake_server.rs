//! The client against a small server in this process.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chartlift_source::{
    Access, Auth, Demand, Error, FanOut, FirstPage, Limits, ReadOutcome, Secret, SourceClient,
    StreamPlan, Wanted,
};
use guard::{Allow, Guard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p"}"#;
const EMPTY: &str = r#"{"resourceType":"Bundle","type":"searchset"}"#;

/// A server that gives every request to `answer`; its base URL and what it saw.
async fn fake_server<R: IntoResponse>(
    answer: impl Fn(&str) -> R + Clone + Send + Sync + 'static,
) -> (Url, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request| {
        let target = request.uri().to_string();
        log.lock()
            .unwrap()
            .push((target.clone(), request.headers().clone()));
        let answer: Response = answer(&target).into_response();
        async move { answer }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, seen)
}

fn limits() -> Limits {
    Limits {
        body_bytes_max: 64 << 10,
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

fn client(base: &Url) -> SourceClient {
    SourceClient::new(
        base.clone(),
        Auth::Bearer(Secret::new("hush-token")),
        limits(),
        &loopback(),
    )
    .unwrap()
}

/// A guard that lets the server of a test through.
fn loopback() -> Guard {
    Guard::new(Allow::parse(&["127.0.0.1/32"]).unwrap())
}

fn search(resource_type: &str, parameter: &str) -> StreamPlan {
    StreamPlan::new(
        resource_type,
        Access::Search {
            parameter: parameter.to_owned(),
        },
    )
}

fn targets(seen: &Seen) -> Vec<String> {
    seen.lock()
        .unwrap()
        .iter()
        .map(|(target, _)| target.clone())
        .collect()
}

/// What a log would show of an error: its text, its causes and its `Debug`.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}

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
async fn fake_server_redirects_are_followed_at_home_only() {
    let (other, seen_elsewhere) = fake_server(|_| EMPTY).await;
    let (base, seen) = fake_server(move |target| {
        let to = match target {
            "/fhir?away" => format!("{other}?x=4711"),
            "/fhir?round" => "/fhir?round".to_owned(),
            "/fhir?home" => "/FHIR/home".to_owned(),
            "/FHIR/home" => return EMPTY.into_response(),
            _ => String::new(),
        };
        (StatusCode::FOUND, [("location", to)]).into_response()
    })
    .await;
    let client = client(&base);
    let get = |query: &'static str| {
        let (client, cursor) = (client.clone(), format!("{base}?{query}"));
        async move { client.page(&cursor).await }
    };
    get("home").await.unwrap();
    let away = get("away").await.unwrap_err();
    assert!(matches!(away, Error::ForeignLink { .. }));
    assert!(!shown(&away).contains("4711"));
    assert!(matches!(get("nowhere").await, Err(Error::Protocol { .. })));
    seen.lock().unwrap().clear();
    assert!(matches!(get("round").await, Err(Error::Protocol { .. })));
    assert_eq!(seen.lock().unwrap().len(), 6);
    assert_eq!(targets(&seen_elsewhere), [""; 0]);
}

#[tokio::test]
async fn fake_server_links_may_be_paths() {
    let (base, _) = fake_server(|_| EMPTY).await;
    for link in ["Bundle/8f3a", "Goal/next", "_page/2", ""] {
        client(&base).page(&format!("{base}/{link}")).await.unwrap();
    }
}

#[tokio::test]
async fn fake_server_cursors_are_of_its_origin() {
    let (other, seen) = fake_server(|_| EMPTY).await;
    let (base, _) = fake_server(|_| EMPTY).await;
    assert!(matches!(
        client(&base).page(other.as_str()).await,
        Err(Error::ForeignLink { .. })
    ));
    assert_eq!(targets(&seen), [""; 0]);
}

#[tokio::test]
async fn fake_server_bodies_are_bounded_after_decompression() {
    let gzip = |body: &'static [u8]| ([("content-encoding", "gzip")], body).into_response();
    let (base, _) = fake_server(move |target| match target {
        "/fhir?gzip" => gzip(include_bytes!("data/page.json.gz")),
        "/fhir?bomb" => gzip(include_bytes!("data/page-300-kb.json.gz")),
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

#[tokio::test]
async fn fake_server_that_falls_silent_times_out() {
    // Says nothing, or promises more than it sends and holds or drops the line.
    for (answer, hold, timeout) in [
        ("", true, true),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"resource",
            true,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"resource",
            false,
            false,
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}/fhir", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                if hold {
                    tokio::spawn(async move {
                        std::future::pending::<()>().await;
                        drop(stream);
                    });
                }
            }
        });
        let error = client(&base)
            .page(&format!("{base}?secret=4711"))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable { status: None, timeout: t, .. } if *t == timeout),
            "{error:?}"
        );
        let text = shown(&error);
        assert!(!text.contains("4711") && !text.contains("/fhir"), "{text}");
        server.abort();
    }
}

#[tokio::test]
async fn fake_server_that_drips_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}/fhir", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
            .await
            .unwrap();
        let mut drop_by_drop = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b" ").await.is_ok() {
            drop_by_drop.tick().await;
        }
    });
    let limits = Limits {
        request_timeout: Duration::from_millis(500),
        ..limits()
    };
    let client = SourceClient::new(base.clone(), Auth::None, limits, &loopback()).unwrap();
    assert!(matches!(
        client.page(base.as_str()).await,
        Err(Error::Unavailable { timeout: true, .. })
    ));
    server.abort();
}

#[tokio::test]
async fn fake_server_that_is_down_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}/fhir", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let error = client(&base)
        .page(&format!("{base}?secret=4711"))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Unavailable {
            status: None,
            timeout: false,
            ..
        }
    ));
    assert!(!shown(&error).contains("4711"), "{}", shown(&error));
}

/// Nothing of the address, and nothing that tells whether anybody listens there.
#[tokio::test]
async fn fake_server_on_an_address_that_is_not_allowed_is_never_asked() {
    let (base, seen) = fake_server(|_| EMPTY).await;
    let named: Url = base
        .as_str()
        .replace("127.0.0.1", "localhost")
        .parse()
        .unwrap();
    for base in [base, named] {
        let guard = Guard::new(Allow::default());
        let client = SourceClient::new(base.clone(), Auth::None, limits(), &guard).unwrap();
        for error in [
            client.capabilities().await.unwrap_err(),
            client.page(base.as_str()).await.unwrap_err(),
            client.read("Patient", "p").await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::AddressRefused { .. }), "{error:?}");
            assert!(error.to_string().contains("guard.allow"), "{error}");
        }
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn fake_server_leads_nobody_to_another_address() {
    let (base, seen) = fake_server(|target| {
        let mut headers = HeaderMap::new();
        let next = "http://169.254.169.254/latest/meta-data/";
        if target.ends_with("/away") {
            headers.insert("location", next.parse().unwrap());
            (StatusCode::FOUND, headers, String::new())
        } else {
            let link = format!(r#""link":[{{"relation":"next","url":"{next}"}}]"#);
            let page = format!(r#"{{"resourceType":"Bundle","type":"searchset",{link}}}"#);
            (StatusCode::OK, headers, page)
        }
    })
    .await;
    let client = client(&base);
    for path in ["away", "Observation?_count=1"] {
        let error = client.page(&format!("{base}/{path}")).await.unwrap_err();
        assert!(matches!(error, Error::ForeignLink { .. }), "{error:?}");
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
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
