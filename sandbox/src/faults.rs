//! What the portal does wrong on demand: answers of its own making, links and
//! pages that are not as they should be, and resources that are broken on the way.

use crate::errors::{fhir, outcome};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An answer given instead of the right one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What its body is.
    #[serde(default)]
    pub body: Body,
    /// The text of an outcome's issue.
    #[serde(default = "refusal")]
    pub text: String,
    /// Headers beside.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How often it is given; left out, ever after. Counts down.
    #[serde(default)]
    pub times: Option<u32>,
}

fn refusal() -> String {
    "This type is refused.".to_owned()
}

/// What the body of an [`Answer`] is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// An OperationOutcome.
    #[default]
    Outcome,
    /// A page for people.
    Html,
    /// Nothing.
    Empty,
    /// The beginning of a searchset.
    Truncated,
    /// A Bundle that is no searchset.
    History,
    /// A searchset whose entries have no resources.
    NoResources,
}

impl Answer {
    pub(crate) fn is_given(&self) -> bool {
        self.times != Some(0)
    }

    /// Whether a client that asks often enough gets nothing else.
    pub(crate) fn is_lasting(&self) -> bool {
        self.times.is_none()
    }

    pub(crate) fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let bundle = |rest: &str| {
            let body = format!(r#"{{"resourceType":"Bundle",{rest}"#);
            fhir(status, body)
        };
        let mut response = match self.body {
            Body::Outcome => outcome(self.status, &self.text),
            Body::Html => {
                let page = format!("<html><body><h1>Status {}</h1></body></html>", self.status);
                (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
            }
            Body::Empty => status.into_response(),
            Body::Truncated => bundle(r#""type":"searchset","entry":[{"resource":{"resourceType""#),
            Body::History => bundle(r#""type":"history"}"#),
            Body::NoResources => bundle(r#""type":"searchset","entry":[{"fullUrl":"urn:x"}]}"#),
        };
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// How the links to next pages are written, and where they lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Links {
    /// Off the searched type, without its parameters, as at Epic.
    Session,
    /// With the path in another case, as at NextGen.
    PathCase,
    /// Without scheme and host.
    Relative,
    /// Each further page links to itself.
    Loop,
    /// The last page links to an empty one.
    Dangling,
    /// Every page with results follows an empty one.
    EmptyPages,
    /// To another server.
    Foreign,
}

/// How a resource is broken on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Break {
    /// A comma too many.
    BrokenJson,
    /// A member twice in an inner object.
    DuplicateKey,
    /// 101 arrays within one another.
    TooDeep,
    /// Half a surrogate pair.
    LoneSurrogate,
    /// A byte that is not UTF-8.
    NotUtf8,
    /// Its `id` is a number.
    NoId,
}

impl Break {
    /// The text of a resource (a JSON object), broken.
    pub(crate) fn apply(self, raw: &[u8]) -> Vec<u8> {
        let body = raw.trim_ascii();
        let inner = body
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .unwrap_or_default();
        let addition: Vec<u8> = match self {
            Self::BrokenJson => Vec::new(),
            Self::DuplicateKey => br#""extension":[{"url":"x","url":"y"}]"#.to_vec(),
            Self::TooDeep => {
                format!("\"extension\":{}{}", "[".repeat(101), "]".repeat(101)).into_bytes()
            }
            Self::LoneSurrogate => br#""language":"\ud800""#.to_vec(),
            Self::NotUtf8 => b"\"language\":\"\xff\"".to_vec(),
            Self::NoId => br#""id":7"#.to_vec(),
        };
        [b"{".as_slice(), inner, b",", &addition, b"}"].concat()
    }
}
