//! Who asks for tokens, and for which: the form that is posted, with the proof of who
//! we are.

use std::sync::Arc;

use data_encoding::BASE64;
use model::{SigningAlgorithm, Timestamp};
use reqwest::header::HeaderValue;
use url::form_urlencoded::Serializer;

use super::TokenError;
use super::assertion::assertion;
use super::discovery::Endpoint;
use super::key::SigningKey;
use crate::request::Secret;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How we are known where tokens are given out.
#[derive(Debug, Clone)]
pub struct Login {
    /// Our `client_id`.
    pub client_id: String,
    /// The token endpoint; discovered where there is none.
    pub token_url: Option<String>,
    /// What to ask for; what the source gives by itself where there is none.
    pub scope: Option<String>,
    /// How we prove to be that client.
    pub proof: Proof,
}

/// How a client proves itself.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Not at all.
    Public,
    /// By its secret in a header.
    Basic(Secret),
    /// By its secret in the body.
    Post(Secret),
    /// By a signature.
    Signed {
        /// The keys there are, one for each algorithm.
        keys: Vec<Arc<SigningKey>>,
        /// The algorithm, if the operator has chosen it.
        algorithm: Option<SigningAlgorithm>,
    },
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Grant {
    /// A token for ourselves.
    ClientCredentials,
    /// A new token of a patient's grant.
    Refresh(Secret),
}

/// The body of a token request, and the header that goes with it.
pub(super) fn form(
    endpoint: &Endpoint,
    login: &Login,
    grant: &Grant,
    skew_s: i64,
) -> Result<(String, Option<HeaderValue>), TokenError> {
    let mut fields = Serializer::new(String::new());
    match grant {
        Grant::ClientCredentials => {
            fields.append_pair("grant_type", "client_credentials");
            if let Some(scope) = &login.scope {
                fields.append_pair("scope", scope);
            }
        }
        // Without a scope, what was granted is asked for again.
        Grant::Refresh(token) => {
            fields.append_pair("grant_type", "refresh_token");
            fields.append_pair("refresh_token", token.expose());
        }
    }
    let mut header = None;
    match &login.proof {
        Proof::Public => {
            fields.append_pair("client_id", &login.client_id);
        }
        Proof::Basic(secret) => header = Some(basic(&login.client_id, secret)?),
        Proof::Post(secret) => {
            fields.append_pair("client_id", &login.client_id);
            fields.append_pair("client_secret", secret.expose());
        }
        Proof::Signed { keys, algorithm } => {
            let algorithm = endpoint.algorithm(*algorithm);
            let key = keys.iter().find(|key| key.algorithm() == algorithm);
            let key = key.ok_or(TokenError::Config {
                what: "there is no signing key: `chartlift keys rotate-signing` makes one",
            })?;
            let now_s = Timestamp::now().0 / 1_000_000 + skew_s;
            let signed = assertion(key, &login.client_id, &endpoint.audience, now_s);
            let signed = signed.map_err(|_| TokenError::Config {
                what: "its signing key does not sign",
            })?;
            fields.append_pair("client_assertion_type", ASSERTION_TYPE);
            fields.append_pair("client_assertion", &signed);
        }
    }
    Ok((fields.finish(), header))
}

/// RFC 6749, 2.3.1: both parts are form-encoded first.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, TokenError> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let (id, secret): (String, String) = (encoded(client_id), encoded(secret.expose()));
    let pair = BASE64.encode(format!("{id}:{secret}").as_bytes());
    let mut value =
        HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| TokenError::Config {
            what: "its client secret cannot be sent",
        })?;
    value.set_sensitive(true);
    Ok(value)
}
