//! Which client asks, and whether it has proven to be it.

use super::token::Refusal;
use super::{Smart, SmartClient, assertion};
use axum::http::{HeaderMap, header};
use data_encoding::BASE64;
use std::collections::BTreeMap;
use url::form_urlencoded;

pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request carries: names to values.
pub(super) type Fields = BTreeMap<String, String>;

/// The client of a request, and whether it has proven to be it: one that has something to prove itself
/// with must.
pub(super) fn client(
    smart: &Smart,
    headers: &HeaderMap,
    fields: &Fields,
    token_url: &str,
) -> Result<(SmartClient, bool), Refusal> {
    let refuse = |what: &str| Refusal("invalid_client", what.to_owned());
    let known = |id: &str| {
        smart
            .client(id)
            .ok_or_else(|| refuse("The client is not known."))
    };
    if let Some(assertion) = fields.get("client_assertion") {
        if fields.get("client_assertion_type").map(String::as_str) != Some(ASSERTION_TYPE) {
            return Err(refuse("client_assertion_type is another."));
        }
        let id = assertion::prove(smart, assertion, token_url);
        let id = id.map_err(|what| refuse(&format!("The assertion is refused: {what}.")))?;
        return Ok((known(&id)?, true));
    }
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "));
    let (id, secret) = match basic {
        Some(encoded) => {
            let bytes = BASE64.decode(encoded.as_bytes()).unwrap_or_default();
            let text = String::from_utf8(bytes).unwrap_or_default();
            let (id, secret) = text.split_once(':').unwrap_or_default();
            // RFC 6749, 2.3.1: both are form-encoded first.
            let decoded = |text: &str| {
                let pairs = format!("v={text}");
                let mut pairs = form_urlencoded::parse(pairs.as_bytes());
                pairs.next().map(|(_, value)| value.into_owned())
            };
            (decoded(id).unwrap_or_default(), decoded(secret))
        }
        None => {
            let id = fields.get("client_id").cloned().unwrap_or_default();
            (id, fields.get("client_secret").cloned())
        }
    };
    let client = known(&id)?;
    match (&client.secret, &client.jwks, secret) {
        (None, None, None) => Ok((client, false)),
        (Some(right), _, Some(given)) if *right == given => Ok((client, true)),
        _ => Err(refuse("The client has not proven to be it.")),
    }
}
