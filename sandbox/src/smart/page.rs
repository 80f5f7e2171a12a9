//! The page on which a patient decides: whose record it is, what of it the client may
//! have, yes or no. It is shown where the knob `consent_page` is on.
//!
//! Nothing is kept between the page and its answer: what was asked goes through the form,
//! and is judged again.

use super::client::Fields;
use super::http::{Decision, Server, decide, refused};
use crate::portal::Portal;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::fmt::Write;
use url::form_urlencoded;

/// What the patient decides; all else that was asked passes through unseen.
const DECIDED: [&str; 3] = ["patient", "scope", "decision"];

/// The page for a request that could be approved.
pub(super) fn form(portal: &Portal, asked: &Fields) -> Response {
    let field = |name: &str| asked.get(name).map_or("", String::as_str);
    let mut hidden = String::new();
    for (name, value) in asked {
        if !DECIDED.contains(&name.as_str()) {
            let (name, value) = (escaped(name), escaped(value));
            let _ = writeln!(
                hidden,
                r#"<input type="hidden" name="{name}" value="{value}">"#
            );
        }
    }
    let mut patients = String::new();
    for patient in portal.patients() {
        let chosen = if patient.id == field("patient") {
            " selected"
        } else {
            ""
        };
        let label = escaped(&label(portal, &patient.id));
        let id = escaped(&patient.id);
        let _ = writeln!(patients, r#"<option value="{id}"{chosen}>{label}</option>"#);
    }
    let mut scopes = String::new();
    for scope in field("scope").split_whitespace() {
        let scope = escaped(scope);
        let _ = writeln!(
            scopes,
            r#"<p><label><input type="checkbox" name="scope" value="{scope}" checked> {scope}</label></p>"#
        );
    }
    let client = escaped(field("client_id"));
    let page = format!(
        r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Share a record: sandbox portal</title></head>
<body>
<h1>Share a record</h1>
<p><strong>{client}</strong> asks this sandbox portal for access.</p>
<form method="post" action="authorize">
{hidden}<p><label>Whose record? <select name="patient">
{patients}</select></label></p>
<fieldset><legend>What may it have?</legend>
{scopes}</fieldset>
<p><button name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button></p>
</form>
</body>
</html>
"#
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page).into_response()
}

/// What the patient has decided.
pub(super) async fn decided(State(server): State<Server>, body: Bytes) -> Response {
    let (mut asked, mut scopes) = (Fields::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(&body).into_owned() {
        if name == "scope" {
            scopes.push(value);
        } else {
            asked.insert(name, value);
        }
    }
    asked.insert("scope".to_owned(), scopes.join(" "));
    let is_known = |id: &String| server.portal.patients().iter().any(|of| of.id == *id);
    match asked.remove("decision").as_deref() {
        Some("approve") if asked.get("patient").is_some_and(is_known) => {
            decide(&server, &asked, Decision::Approve)
        }
        Some("approve") => refused("The patient is not known."),
        Some("deny") => decide(&server, &asked, Decision::Deny),
        _ => refused("decision is neither approve nor deny."),
    }
}

/// A patient's name and id, as far as there is a name.
fn label(portal: &Portal, id: &str) -> String {
    let row = portal.data().newest(&("Patient".to_owned(), id.to_owned()));
    let resource: Value = row
        .and_then(|row| serde_json::from_slice(&row.raw).ok())
        .unwrap_or_default();
    let name = &resource["name"][0];
    let words = [&name["given"][0], &name["family"]];
    let words: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
    if words.is_empty() {
        return id.to_owned();
    }
    format!("{} ({id})", words.join(" "))
}

/// A text as HTML has it, between tags and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}
