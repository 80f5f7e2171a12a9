//! Starts and stops the portal.

use crate::log::Log;
use crate::portal::{Portal, PortalPatient, read_row};
use crate::smart::{self, Smart, SmartOptions};
use crate::{routes, sample};
use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

/// How to start a portal.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Waited before each answer under `/fhir`; the knob `latency_ms` adds to it.
    pub latency: Duration,
    /// Entries a page when a search names no `_count`, and the most it gets when it does.
    pub page_size: usize,
    /// What requests under `/fhir`, metadata apart, must carry as `Authorization: Bearer …`.
    pub bearer_token: Option<String>,
    /// The clients of its authorization server; requests under `/fhir`, metadata apart, then need one of its
    /// access tokens.
    pub smart: Option<SmartOptions>,
    /// The log is appended to this file as well, as NDJSON.
    pub log_file: Option<PathBuf>,
    /// Further resources, one JSON object each, beside the sample. Those with a `subject` or `patient`
    /// are that patient's, and a Patient is a new patient.
    pub extra: Vec<String>,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            latency: Duration::ZERO,
            page_size: 50,
            bearer_token: None,
            smart: None,
            log_file: None,
            extra: Vec::new(),
        }
    }
}

/// A running portal. Dropping it closes its port and its connections; a request then still waiting gets 503.
#[derive(Debug)]
pub struct Sandbox {
    portal: Portal,
    smart: Smart,
    server: JoinHandle<()>,
    _open: watch::Sender<()>,
}

impl Sandbox {
    /// Reads the sample data and listens.
    pub async fn start(options: SandboxOptions) -> anyhow::Result<Self> {
        let log = Log::open(options.log_file.as_deref())?;
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("listen on {}", options.listen))?;
        let mut address = listener.local_addr().context("read the port")?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let mut data = sample::data();
        for (number, line) in (1..).zip(&options.extra) {
            let row = read_row(line.as_bytes())
                .with_context(|| format!("read extra resource {number}"))?;
            data.append(row);
        }
        let base = Url::parse(&format!("http://{address}/fhir")).context("make the base URL")?;
        let portal = Portal::new(base, data, log);
        let (open, closed) = watch::channel(());
        let smart = Smart::new(options.smart.clone().unwrap_or_default());
        let mut router = routes::router(
            portal.clone(),
            smart.clone(),
            options.clone(),
            closed.clone(),
        );
        if options.smart.is_some() {
            router = router.merge(smart::router(smart.clone(), portal.clone()));
        }
        let server = axum::serve(listener, router).with_graceful_shutdown(closing(closed));
        let server = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the sandbox stopped");
            }
        });
        Ok(Self {
            portal,
            smart,
            server,
            _open: open,
        })
    }

    /// `http://127.0.0.1:PORT/fhir`
    pub fn base_url(&self) -> &Url {
        self.portal.base()
    }

    /// The portal's patients.
    pub fn patients(&self) -> Vec<PortalPatient> {
        self.portal.patients()
    }

    /// The authorization server; nobody asks it unless [`SandboxOptions::smart`] says so.
    pub fn smart(&self) -> &Smart {
        &self.smart
    }

    /// The data, the knobs and the log.
    pub fn portal(&self) -> &Portal {
        &self.portal
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Ends when the sandbox is dropped.
pub(crate) async fn closing(mut closed: watch::Receiver<()>) {
    while closed.changed().await.is_ok() {}
}
