//! Where redirects, links and cursors lead: nothing is asked of another origin, or at
//! an address that is not allowed.

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use chartlift_source::{Auth, Error, SourceClient};
use guard::{Allow, Guard};
use url::Url;

use crate::server::{EMPTY, client, fake_server, limits, shown, targets};

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
