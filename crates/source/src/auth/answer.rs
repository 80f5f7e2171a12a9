//! What a token endpoint answers (RFC 6749, 5.1 and 5.2).

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;

use super::TokenError;
use crate::request::Secret;

/// Longer tokens are no longer sent by any header.
const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// Longer lists of scopes say nothing that anybody can use.
const SCOPE_BYTES_MAX: usize = 32 * 1024;

/// What was granted.
#[derive(Clone)]
pub struct Granted {
    /// The access token.
    pub access: Secret,
    /// The refresh token, where one came along: the one before is to be forgotten.
    pub refresh: Option<Secret>,
    /// How long the access token is good, if that was said.
    pub expires_in: Option<Duration>,
    /// What was granted, as the source wrote it, if that was said.
    pub scope: Option<String>,
    /// The source's id of the patient whose record it is, if that was said.
    pub patient: Option<Secret>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("refresh", &self.refresh.is_some())
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Wire {
    access_token: Option<String>,
    token_type: Option<String>,
    /// A number; some write it as a text.
    expires_in: Option<Value>,
    refresh_token: Option<String>,
    scope: Option<Value>,
    patient: Option<String>,
}

impl Granted {
    /// Reads a token response, which may also come from elsewhere than an endpoint.
    ///
    /// # Errors
    /// [`TokenError::Protocol`], which repeats nothing of it.
    pub fn parse(body: &[u8]) -> Result<Self, TokenError> {
        let protocol = |what| TokenError::Protocol { what };
        let wire: Wire =
            serde_json::from_slice(body).map_err(|_| protocol("it is no token response"))?;
        let access = wire
            .access_token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| protocol("it has no access token"))?;
        let refresh = wire.refresh_token.filter(|token| !token.is_empty());
        let is_bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
        if !wire.token_type.as_ref().is_none_or(is_bearer) {
            return Err(protocol("its token is no bearer token"));
        }
        let is_long = |token: &String| token.len() > TOKEN_BYTES_MAX;
        if is_long(&access) || refresh.as_ref().is_some_and(is_long) {
            return Err(protocol("its token is too long"));
        }
        if HeaderValue::try_from(format!("Bearer {access}")).is_err() {
            return Err(protocol(
                "its token holds characters that no header can carry",
            ));
        }
        Ok(Self {
            access: Secret::new(access),
            refresh: refresh.map(Secret::new),
            expires_in: wire.expires_in.as_ref().and_then(seconds),
            scope: wire.scope.and_then(scope),
            patient: wire.patient.map(Secret::new),
        })
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    // A life of nothing is one that was not said: it would be refreshed without end.
    let life = Duration::try_from_secs_f64(seconds).ok()?;
    (!life.is_zero()).then_some(life)
}

fn scope(value: Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text,
        // Some write a list.
        Value::Array(words) => {
            let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            words?.join(" ")
        }
        _ => return None,
    };
    (text.len() <= SCOPE_BYTES_MAX).then_some(text)
}

/// What a refusal means. The words of the endpoint are compared, never kept.
pub(crate) fn refusal(status: u16, body: &[u8], is_refresh: bool) -> TokenError {
    #[derive(Deserialize)]
    struct Wire {
        error: Option<String>,
    }
    const KNOWN: [&str; 6] = [
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "unsupported_grant_type",
        "invalid_request",
        "access_denied",
    ];
    let error = serde_json::from_slice(body)
        .ok()
        .and_then(|wire: Wire| wire.error);
    match error.as_deref() {
        Some("invalid_grant") if is_refresh => TokenError::InvalidGrant,
        Some("invalid_grant") => TokenError::Refused {
            what: "invalid_grant",
        },
        Some(error) => match KNOWN.iter().find(|known| **known == error) {
            Some(what) => TokenError::Refused { what },
            None => TokenError::Protocol {
                what: "a refusal with an unknown code",
            },
        },
        // 401 is for clients that are not accepted.
        None if status == 401 => TokenError::Refused {
            what: "invalid_client",
        },
        None => TokenError::Protocol {
            what: "a refusal without a code",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(body: &str) -> Granted {
        Granted::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn lives_and_scopes_have_several_forms() {
        let life = |text: &str| {
            granted(&format!(r#"{{"access_token":"a","expires_in":{text}}}"#)).expires_in
        };
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(
            (life("3600"), life("\"3600\""), life("3600.0")),
            (hour, hour, hour)
        );
        for nothing in ["0", "-1", "null", "\"soon\"", "[]", "1e300"] {
            assert_eq!(life(nothing), None, "{nothing}");
        }
        let scope = |text: &str| {
            granted(&format!(
                r#"{{"access_token":"a","scope":{text},"other":1}}"#
            ))
            .scope
        };
        let both = Some("a/b.r c/*.read".to_owned());
        assert_eq!(
            (
                scope("\"a/b.r c/*.read\""),
                scope(r#"["a/b.r","c/*.read"]"#)
            ),
            (both.clone(), both)
        );
        assert_eq!(scope("7"), None);
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"hush","token_type":"mac"}"#,
            r#"{"access_token":"hu\nsh"}"#,
        ] {
            let error = Granted::parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, TokenError::Protocol { .. }));
            assert!(!format!("{error} {error:?}").contains("hu"));
        }
        let tokens =
            granted(r#"{"access_token":"hush","refresh_token":"hush2","token_type":"bearer"}"#);
        assert!(!format!("{tokens:?}").contains("hush"));
    }

    #[test]
    fn only_invalid_grant_ends_a_grant() {
        let of = |status, body: &str| refusal(status, body.as_bytes(), true);
        assert_eq!(
            of(400, r#"{"error":"invalid_grant"}"#),
            TokenError::InvalidGrant
        );
        assert_eq!(
            of(401, r#"{"error":"invalid_grant"}"#),
            TokenError::InvalidGrant
        );
        let refused = |what| TokenError::Refused { what };
        assert_eq!(
            refusal(400, br#"{"error":"invalid_grant"}"#, false),
            refused("invalid_grant")
        );
        assert_eq!(
            of(400, r#"{"error":"invalid_client"}"#),
            refused("invalid_client")
        );
        assert_eq!(of(401, "<html>"), refused("invalid_client"));
        for body in ["<html>", r#"{"error":"hush"}"#, r#"{"error":null}"#, "{}"] {
            let error = of(400, body);
            assert!(matches!(error, TokenError::Protocol { .. }), "{body}");
            assert!(!format!("{error:?}").contains("hush"));
        }
    }
}
