//! How the store's client reaches the store: through the guard, with what its
//! error answers say cut down to a code.

use async_trait::async_trait;
use bytes::Bytes;
use guard::Client;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use url::Url;

use crate::Trouble;

/// An error answer is a line of XML; of more than this the rest is not read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Answers (409) by which the store has decided nothing, since others were at the same
/// object or, where folders stand for prefixes, beside it: one that removes what was
/// last in a folder meets one that creates there.
const UNDECIDED: [&str; 3] = [
    "ConditionalRequestConflict",
    "OperationAborted",
    "ExistingObjectIsDirectory",
];

/// Gives the store's client the guard's.
#[derive(Debug)]
pub(crate) struct Connector {
    client: Client,
}

impl Connector {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service {
            client: self.client.clone(),
        }))
    }
}

#[derive(Debug)]
struct Service {
    client: Client,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url: Url = parts
            .uri
            .to_string()
            .parse()
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        // Of one piece it has a length; of several, a header has it.
        let body = match body.as_bytes() {
            Some(bytes) => reqwest::Body::from(bytes.clone()),
            None => reqwest::Body::wrap(body),
        };
        *request.body_mut() = Some(body);
        let response = self.client.send(request).await.map_err(unsent)?;
        if response.status().is_client_error() || response.status().is_server_error() {
            refused(response).await
        } else {
            Ok(passed(response))
        }
    }
}

/// An answer, its body streamed.
fn passed(response: reqwest::Response) -> HttpResponse {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = reqwest::Body::from(response).map_err(broken_off);
    let mut passed = HttpResponse::new(HttpResponseBody::new(body));
    *passed.status_mut() = status;
    *passed.headers_mut() = headers;
    passed
}

/// An answer that refuses: an error of ours where it will not change, otherwise
/// its status and code.
async fn refused(response: reqwest::Response) -> Result<HttpResponse, HttpError> {
    let (mut status, headers) = (response.status(), response.headers().clone());
    let body = guard::whole(response, ERROR_BYTES_MAX).await;
    let code = body.map_or_else(|_| String::new(), |body| code(&body));
    if let Some(trouble) = Trouble::of(status.as_u16(), &code) {
        return Err(HttpError::new(HttpErrorKind::Unknown, trouble));
    }
    if UNDECIDED.contains(&code.as_str()) {
        // Asked again, where the client would take it for an object that is there.
        status = reqwest::StatusCode::SERVICE_UNAVAILABLE;
    }
    let body = Bytes::from(format!("<Error><Code>{code}</Code></Error>"));
    let mut refused = HttpResponse::new(body.into());
    *refused.status_mut() = status;
    *refused.headers_mut() = headers;
    Ok(refused)
}

/// The code of an error answer, if it has one.
fn code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code)
        .filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .unwrap_or_default()
        .to_owned()
}

fn unsent(error: guard::Error) -> HttpError {
    match error {
        guard::Error::Refused(_) => HttpError::new(HttpErrorKind::Unknown, Trouble::AddressRefused),
        guard::Error::Http(error) | guard::Error::Setup(error) => broken_off(error),
    }
}

/// The kind decides whether the client asks again; what may have reached the store
/// is asked again only where that does no harm.
fn broken_off(error: reqwest::Error) -> HttpError {
    if guard::is_tls(&error) {
        return HttpError::new(HttpErrorKind::Unknown, Trouble::Tls);
    }
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else if error.is_request() || error.is_body() {
        HttpErrorKind::Interrupted
    } else {
        HttpErrorKind::Unknown
    };
    HttpError::new(kind, error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_an_error_answer_is_kept() {
        let answer = b"<?xml?><Error><Code>SignatureDoesNotMatch</Code><StringToSign>s</StringToSign></Error>";
        assert_eq!(code(answer), "SignatureDoesNotMatch");
        for other in [&b"<Code>a b</Code>"[..], b"", b"<Code>x", b"\xff"] {
            assert_eq!(code(other), "");
        }
    }
}
