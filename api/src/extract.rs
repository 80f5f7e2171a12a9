//! What handlers take from a request; what cannot be read is a problem that names
//! it.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::problem::{
    BODY_TOO_LARGE, INVALID_BODY, INVALID_VALUE, Problem, UNSUPPORTED_MEDIA_TYPE,
};

/// The id in a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id<I>(pub(crate) I);

impl<S: Send + Sync, I: FromStr<Err: Display>> FromRequestParts<S> for Id<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path(text) =
            text.map_err(|_| Problem::parameter("The id in the path is not UTF-8 text."))?;
        id("id", &text).map(Self)
    }
}

/// A name in a path: an id, or the caller's own word for it.
#[derive(Debug, Clone)]
pub(crate) struct PathText(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        match text {
            Ok(Path(text)) if !text.contains('\0') => Ok(Self(text)),
            _ => Err(Problem::parameter(
                "The id in the path is not UTF-8 text without a zero byte.",
            )),
        }
    }
}

/// An id given as the parameter `name`.
pub(crate) fn id<I: FromStr<Err: Display>>(name: &str, value: &str) -> Result<I, Problem> {
    value
        .parse()
        .map_err(|error| Problem::parameter(format!("`{name}`: {error}.")))
}

/// The parameters of a URL: those a route knows, each once.
#[derive(Debug, Clone)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let why = rejection.body_text();
                let why = why.rsplit("string: ").next().unwrap_or_default();
                Err(Problem::parameter(format!("In the query: {}.", short(why))))
            }
        }
    }
}

/// A JSON body.
#[derive(Debug, Clone)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let detail = "The body has to be JSON: send `Content-Type: application/json`.";
            return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, detail).into_response());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| unread(&error).into_response())?;
        parse(&bytes).map(Self).map_err(IntoResponse::into_response)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // An array would be read as the members of an object in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[')
        && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
    {
        return Err(Problem::new(
            INVALID_VALUE,
            "The body is one JSON object, not an array.",
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => INVALID_VALUE,
            _ => INVALID_BODY,
        };
        let why = without_value(&error.to_string());
        Problem::new(code, format!("In the body: {}.", short(&why)))
    })
}

/// What is wrong with a value, without the value: it may be a secret that was put
/// in the wrong member, and problems end up in logs.
fn without_value(why: &str) -> String {
    let Some((before, expected)) = why.rsplit_once(", expected ") else {
        return why.to_owned();
    };
    let what = match before.split_once(": ") {
        // `invalid type: string "…"`
        Some((wrong, found)) => {
            let kind = found.split([' ', '`', '"']).next().unwrap_or_default();
            format!("{wrong}: {kind}")
        }
        // `unknown variant `…``; of a field, the name helps and is no value.
        None if before.starts_with("unknown variant") => "unknown value".to_owned(),
        None => before.to_owned(),
    };
    format!("{what}, expected {expected}")
}

fn unread(error: &BytesRejection) -> Problem {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(BODY_TOO_LARGE, "The body is over 1 MiB.")
    } else {
        Problem::new(INVALID_BODY, "The body broke off.")
    }
}

/// A member that must be a whole number: `24`, or `24.0`, which is one in JSON too.
pub(crate) fn whole<'de, D: Deserializer<'de>>(given: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(given)? else {
        return Ok(None);
    };
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        Ok(Some(number as u32))
    } else {
        Err(D::Error::custom("not a whole number"))
    }
}

/// A member that must be a text of 1 to `max` characters, without controls.
pub(crate) fn text<'a>(name: &str, value: &'a str, max: usize) -> Result<&'a str, Problem> {
    let count = value.chars().count();
    if count == 0 || count > max || value.chars().any(char::is_control) || value.trim() != value {
        let detail = format!(
            "`{name}` is a text of 1 to {max} characters, without control characters and without space at its ends."
        );
        return Err(Problem::new(INVALID_VALUE, detail));
    }
    Ok(value)
}

/// What a parser says, which may quote what it was given.
fn short(why: &str) -> String {
    let clean: String = why.chars().filter(|c| !c.is_control()).collect();
    clean.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_value_is_said_without_the_value() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only read into")]
        struct Asked {
            enabled: Option<bool>,
            scope: Option<model::Scope>,
        }
        for (body, words) in [
            (
                r#"{"enabled":"SECRET, expected \"x\""}"#,
                "invalid type: string, expected a boolean",
            ),
            (r#"{"enabled":12345678}"#, "invalid type: integer, expected"),
            (
                r#"{"scope":"SECRET"}"#,
                "unknown value, expected one of `read`",
            ),
            (r#"{"other":1}"#, "unknown field `other`, expected"),
        ] {
            let problem = parse::<Asked>(body.as_bytes()).unwrap_err();
            let detail = format!("{problem:?}");
            assert!(detail.contains(words), "{detail}");
            assert!(
                !detail.contains("SECRET") && !detail.contains("12345678"),
                "{detail}"
            );
        }
    }
}
