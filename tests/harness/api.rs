//! `chartlift api` as a process of its own, and who asks it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use db::NewApiKey;
use model::{Scope, Timestamp};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::{App, Node};

/// How long it may take to open its database and listen.
const LISTENS_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// The API alone, without a worker; killed when dropped.
#[derive(Debug)]
pub struct ApiProcess {
    node: Node,
    url: String,
}

impl App {
    /// Starts `chartlift api` beside whatever else runs, with a log of this name,
    /// and waits until it listens.
    pub async fn api_process(&self, name: &str) -> Result<ApiProcess> {
        let log = self.dir.path().join(format!("{name}.log"));
        let mut node = self.spawn("api", &log, &[])?;
        let until = Instant::now() + LISTENS_MAX;
        loop {
            let text = std::fs::read_to_string(&log)?;
            let url = text
                .lines()
                .find_map(|line| line.strip_prefix("API          "));
            if let Some(url) = url.and_then(|line| line.split_whitespace().next()) {
                let url = url.to_owned();
                return Ok(ApiProcess { node, url });
            }
            if let Some(status) = node.ended()? {
                bail!("the API ended with {status}:\n{text}");
            }
            if Instant::now() > until {
                bail!("the API does not listen:\n{text}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A new key with these scopes.
    pub async fn api_key(&self, name: &str, scopes: &[Scope]) -> Result<String> {
        let new = NewApiKey {
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            expires_at: None::<Timestamp>,
        };
        Ok(self.core.db.add_api_key(&new).await?.1)
    }
}

impl ApiProcess {
    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.node.kill()
    }

    /// Who asks it with a key.
    pub fn client(&self, key: &str) -> ApiClient {
        ApiClient::new(&self.url, key)
    }
}

/// Who asks an API, with a key.
#[derive(Debug, Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// An answer of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl ApiClient {
    /// Who asks the API at `url` with a key.
    #[must_use]
    pub fn new(url: &str, key: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Result<ApiAnswer> {
        self.ask(Method::GET, path, None).await
    }

    /// A POST of a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<ApiAnswer> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Any request.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<ApiAnswer> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let reply = request.send().await?;
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        let text = reply.text().await?;
        Ok(ApiAnswer {
            status,
            headers,
            text,
        })
    }
}

impl ApiAnswer {
    /// Its body, read.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("read {}", self.text))
    }
}
