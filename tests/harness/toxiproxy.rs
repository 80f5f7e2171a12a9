//! A bad network: Toxiproxy between Chartlift and a server, told over its API what to
//! do to what passes.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use worker::embedded::free_port;

use crate::process;

const READY_MAX: Duration = Duration::from_secs(20);
const CALL_MAX: Duration = Duration::from_secs(5);

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toxic {
    /// Everything comes half a second late, give or take a quarter.
    Latency,
    /// It is cut off, time and again.
    Reset,
    /// A kilobyte a second passes.
    Bandwidth,
}

impl Toxic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Reset, Self::Bandwidth];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Reset => "reset_peer",
            Self::Bandwidth => "bandwidth",
        }
    }

    fn attributes(self) -> Value {
        match self {
            Self::Latency => json!({"latency": 500, "jitter": 250}),
            Self::Reset => json!({"timeout": 300}),
            Self::Bandwidth => json!({"rate": 1}),
        }
    }
}

/// The proxy; killed when dropped.
#[derive(Debug)]
pub struct Toxiproxy {
    child: Option<Child>,
    api: String,
    http: reqwest::Client,
}

impl Toxiproxy {
    /// Starts it; none where `cargo xtask test` did not provide it.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("CHARTLIFT_TOXIPROXY").map(PathBuf::from) else {
            return Ok(None);
        };
        let port = free_port(0)?;
        let mut command = Command::new(&program);
        command
            .args(["-host", "127.0.0.1", "-port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut proxy = Self {
            child: Some(process::spawn(&mut command, false).context("start Toxiproxy")?),
            api: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::builder()
                .timeout(CALL_MAX)
                .no_proxy()
                .build()?,
        };
        let until = Instant::now() + READY_MAX;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while proxy.call("GET", "version", None).await.is_err() {
            tick.tick().await;
            let ended = process::has_ended(&mut proxy.child)?;
            ensure!(
                !ended && Instant::now() < until,
                "Toxiproxy does not answer"
            );
        }
        Ok(Some(proxy))
    }

    /// Passes on to a port from now on; returns where.
    pub async fn pass_on(&self, name: &str, port: u16) -> Result<u16> {
        let proxy = json!({
            "name": name,
            "listen": "127.0.0.1:0",
            "upstream": format!("127.0.0.1:{port}"),
            "enabled": true,
        });
        let made = self.call("POST", "proxies", Some(proxy)).await?;
        let listen = made["listen"].as_str().context("where it listens")?;
        let port = listen.rsplit_once(':').context("a port")?.1;
        Ok(port.parse()?)
    }

    /// Does this to all connections of a proxy, in both directions.
    pub async fn poison(&self, name: &str, toxic: Toxic) -> Result<()> {
        for stream in ["upstream", "downstream"] {
            let told = json!({
                "name": stream,
                "type": toxic.name(),
                "stream": stream,
                "toxicity": 1.0,
                "attributes": toxic.attributes(),
            });
            let path = format!("proxies/{name}/toxics");
            self.call("POST", &path, Some(told)).await?;
        }
        Ok(())
    }

    /// Ends what was done to all connections.
    pub async fn cure(&self) -> Result<()> {
        self.call("POST", "reset", None).await.map(drop)
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}/{path}", self.api);
        let mut request = self.http.request(method.parse()?, url);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("Toxiproxy answered {status}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = process::kill(&mut self.child);
    }
}
