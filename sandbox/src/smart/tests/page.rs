//! The page on which a patient decides.

use super::{VERIFIER, at, browser, client, exchange, request_to_authorize, start, text, told};
use crate::Sandbox;
use crate::smart::SmartKnobs;
use serde_json::Value;
use url::form_urlencoded;

/// A state that must not become a part of the page.
const STATE: &str = r#""><script>'&'</script>"#;

async fn with_page() -> Sandbox {
    let sandbox = start(vec![client("app", None, None)]).await;
    sandbox.smart().set_knobs(SmartKnobs {
        consent_page: true,
        ..SmartKnobs::default()
    });
    sandbox
}

/// What the page asks a browser to send beside the decisions: names to values.
fn hidden(page: &str) -> Vec<(String, String)> {
    let fields = page.split(r#"<input type="hidden" name=""#).skip(1);
    fields
        .map(|rest| {
            let (name, rest) = rest.split_once(r#"" value=""#).unwrap();
            let value = rest.split_once('"').unwrap().0;
            let value = value
                .replace("&quot;", "\"")
                .replace("&#39;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&");
            (name.to_owned(), value)
        })
        .collect()
}

/// The form as a browser sends it.
async fn send(
    sandbox: &Sandbox,
    hidden: &[(String, String)],
    chosen: &[(&str, &str)],
) -> reqwest::Response {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(hidden)
        .extend_pairs(chosen)
        .finish();
    let request = browser()
        .post(at(sandbox, "/auth/authorize"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_patient_chooses_the_record_and_unticks_scopes() {
    let sandbox = with_page().await;
    let asked = request_to_authorize(&sandbox, STATE).await;
    let answer = browser().get(asked).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("<script>"), "{page}");
    let patients = sandbox.patients();
    assert!(patients.len() > 2);
    for patient in &patients {
        assert!(page.contains(&format!(r#"<option value="{}""#, patient.id)));
    }
    assert_eq!(page.matches(r#"type="checkbox" name="scope""#).count(), 3);

    let patient = patients.last().unwrap().id.as_str();
    let chosen = [
        ("patient", patient),
        ("scope", "launch/patient"),
        ("scope", "patient/*.rs"),
        ("decision", "approve"),
    ];
    let told = told(&send(&sandbox, &hidden(&page), &chosen).await);
    assert_eq!(told[1], ("state".to_owned(), STATE.to_owned()));
    let (status, tokens) = exchange(&sandbox, &told[0].1, VERIFIER).await;
    assert_eq!(status, 200);
    assert_eq!(text(&tokens, "patient"), patient);
    assert_eq!(text(&tokens, "scope"), "launch/patient patient/*.rs");
    // Not to be asked again was unticked.
    assert_eq!(tokens["refresh_token"], Value::Null);
}

#[tokio::test]
async fn a_patient_who_denies_gives_nothing() {
    let sandbox = with_page().await;
    let asked = request_to_authorize(&sandbox, STATE).await;
    let page = browser().get(asked).send().await.unwrap();
    let page = page.text().await.unwrap();
    let denied = send(&sandbox, &hidden(&page), &[("decision", "deny")]).await;
    let told = told(&denied);
    assert_eq!(told[0], ("error".to_owned(), "access_denied".to_owned()));
    assert_eq!(told[1], ("state".to_owned(), STATE.to_owned()));
    assert_eq!(sandbox.smart().grant_count(), 0);
}

#[tokio::test]
async fn what_no_page_could_have_sent_is_refused() {
    let sandbox = with_page().await;
    let patient = sandbox.patients()[0].id.clone();
    let asked = request_to_authorize(&sandbox, STATE).await;
    let page = browser().get(asked).send().await.unwrap();
    let hidden = hidden(&page.text().await.unwrap());
    let approve = [("patient", patient.as_str()), ("decision", "approve")];
    let stranger = [("patient", "nobody"), ("decision", "approve")];
    for chosen in [&stranger[..], &approve[..1], &approve[1..]] {
        assert_eq!(send(&sandbox, &hidden, chosen).await.status(), 400);
    }
    // The request itself is judged again.
    let but_for = |name: &str| -> Vec<(String, String)> {
        let others = hidden.iter().filter(|(known, _)| known != name);
        others.cloned().collect()
    };
    for name in ["client_id", "redirect_uri"] {
        let answer = send(&sandbox, &but_for(name), &approve).await;
        assert_eq!(answer.status(), 400, "{name}");
    }
    for (name, error) in [
        ("response_type", "unsupported_response_type"),
        ("code_challenge", "invalid_request"),
    ] {
        let told = told(&send(&sandbox, &but_for(name), &approve).await);
        assert_eq!(told[0], ("error".to_owned(), error.to_owned()));
    }
}
