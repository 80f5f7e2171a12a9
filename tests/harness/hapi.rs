//! A real FHIR server: HAPI FHIR JPA as a process of its own, with an empty database in
//! memory (`tests/hapi/`).

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use tempfile::TempDir;
use url::Url;

use crate::process;

/// It takes half a minute of one core, which others may use too.
const READY_MAX: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(50);
/// A transaction of hundreds of resources takes a while.
const CALL_MAX: Duration = Duration::from_secs(240);
/// How long it may outlive whoever started it.
const ORPHAN_MAX: Duration = Duration::from_secs(10);
/// What of its log is repeated when it does not start.
const LOG_MAX: usize = 4 << 10;

/// The server; killed when dropped.
#[derive(Debug)]
pub struct Hapi {
    /// Its standard input is open as long as this process lives: without it, it ends.
    child: Option<Child>,
    base_url: Url,
    http: reqwest::Client,
    _dir: TempDir,
}

impl Hapi {
    /// Starts a server; none where `cargo xtask test` did not provide it.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("CHARTLIFT_HAPI") else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("hapi.log");
        let log = process::log(&path)?;
        let mut command = Command::new(program);
        // A server that insists on integrity would delete nothing that is referred to.
        command
            .arg("--lenient")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut hapi = Self {
            child: Some(process::spawn(&mut command, false).context("start HAPI FHIR")?),
            base_url: Url::parse("http://127.0.0.1")?,
            http: reqwest::Client::builder()
                .timeout(CALL_MAX)
                .no_proxy()
                .build()?,
            _dir: dir,
        };
        let until = Instant::now() + READY_MAX;
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let text = std::fs::read_to_string(&path)?;
            let mut lines = text.lines();
            if let Some(url) = lines.find_map(|line| line.strip_prefix("listening on ")) {
                hapi.base_url = Url::parse(url)?;
                return Ok(Some(hapi));
            }
            if process::has_ended(&mut hapi.child)? || Instant::now() > until {
                let last = text.floor_char_boundary(text.len().saturating_sub(LOG_MAX));
                bail!("HAPI FHIR does not start:\n{}", &text[last..]);
            }
        }
    }

    /// Where it serves FHIR.
    #[must_use]
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Stores resources, `(type, id)` and text, in one transaction: a search by patient
    /// does not find what was stored before its patient was.
    pub async fn load<'a>(
        &self,
        resources: impl IntoIterator<Item = (&'a (String, String), &'a str)>,
    ) -> Result<()> {
        let entries: Vec<String> = resources
            .into_iter()
            .map(|((resource_type, id), text)| {
                format!(
                    r#"{{"resource":{text},"request":{{"method":"PUT","url":"{resource_type}/{id}"}}}}"#
                )
            })
            .collect();
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
            entries.join(",")
        );
        let url = self.base_url.clone();
        self.done(Method::POST, url, Some(bundle)).await.map(drop)
    }

    /// Stores a resource.
    pub async fn put(&self, resource_type: &str, id: &str, text: &str) -> Result<()> {
        let url = self.of(resource_type, id)?;
        let text = Some(text.to_owned());
        self.done(Method::PUT, url, text).await.map(drop)
    }

    /// Deletes a resource.
    pub async fn delete(&self, resource_type: &str, id: &str) -> Result<()> {
        let url = self.of(resource_type, id)?;
        self.done(Method::DELETE, url, None).await.map(drop)
    }

    /// Reads a resource, as it stands there.
    pub async fn read(&self, resource_type: &str, id: &str) -> Result<String> {
        let url = self.of(resource_type, id)?;
        self.done(Method::GET, url, None).await
    }

    /// How it answers a read.
    pub async fn status_of(&self, resource_type: &str, id: &str) -> Result<u16> {
        let url = self.of(resource_type, id)?;
        Ok(self.ask(Method::GET, url, None).await?.0.as_u16())
    }

    /// Lets all searches expire when the n-th request for a next page arrives.
    pub async fn expire_at_page(&self, number: u32) -> Result<()> {
        let url = self
            .base_url
            .join(&format!("/admin/expire?after={number}"))?;
        self.done(Method::POST, url, None).await.map(drop)
    }

    /// How many requests for a next page were answered that their search has expired.
    pub async fn expired_count(&self) -> Result<u64> {
        let url = self.base_url.join("/admin/expire")?;
        Ok(self.done(Method::GET, url, None).await?.trim().parse()?)
    }

    /// Ends its standard input, as the end of this process would: fails unless it ends
    /// by itself then.
    pub async fn orphan(mut self) -> Result<()> {
        let child = self.child.as_mut().context("it runs")?;
        drop(child.stdin.take());
        let until = Instant::now() + ORPHAN_MAX;
        let mut tick = tokio::time::interval(LOOK);
        while !process::has_ended(&mut self.child)? {
            ensure!(Instant::now() < until, "HAPI FHIR outlives its parent");
            tick.tick().await;
        }
        Ok(())
    }

    fn of(&self, resource_type: &str, id: &str) -> Result<Url> {
        let mut url = self.base_url.clone();
        let mut path = url.path_segments_mut().ok().context("a base URL")?;
        path.push(resource_type).push(id);
        drop(path);
        Ok(url)
    }

    async fn done(&self, method: Method, url: Url, body: Option<String>) -> Result<String> {
        let shown = format!("{method} {url}");
        let (status, text) = self.ask(method, url, body).await?;
        ensure!(status.is_success(), "{shown} was answered {status}: {text}");
        Ok(text)
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
    ) -> Result<(StatusCode, String)> {
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/fhir+json")
                .body(body);
        }
        let answer = request.send().await.context("ask HAPI FHIR")?;
        Ok((answer.status(), answer.text().await?))
    }
}

impl Drop for Hapi {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = process::kill(&mut self.child);
    }
}
