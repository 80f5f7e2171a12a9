//! The parts that `up` and `demo` run in one process: Temporal as a child where
//! none is configured, the API, and the worker.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use worker::Core;
use worker::embedded::{DevServer, DevServerOptions, free_port};

use crate::checks::Register;
use crate::stop::Stop;

/// How long open API requests may take once the process is asked to end.
const API_PATIENCE: Duration = Duration::from_secs(2);

/// The Temporal server in use: a configured one, or our child.
#[derive(Debug)]
pub(crate) struct Temporal {
    pub(crate) address: String,
    child: Option<DevServer>,
}

impl Temporal {
    /// Starts the child, unless a server is configured.
    pub(crate) async fn start(core: &Core) -> Result<Self> {
        let settings = &core.settings.temporal;
        if !settings.is_embedded() {
            return Ok(Self {
                address: settings.address.clone(),
                child: None,
            });
        }
        let options = DevServerOptions {
            dir: core.settings.data.dir.clone(),
            grpc_port: settings.grpc_port,
            ui_port: settings.ui_port,
            namespace: settings.namespace.clone(),
            search_attributes: steps::SEARCH_ATTRIBUTES,
        };
        let child = DevServer::start(options)
            .await
            .context("start the Temporal dev server")?;
        Ok(Self {
            address: child.address(),
            child: Some(child),
        })
    }

    /// The UI of our child.
    pub(crate) fn ui_url(&self) -> Option<String> {
        self.child.as_ref().map(DevServer::ui_url)
    }

    /// Ends our child; a configured server is not ours to end.
    pub(crate) async fn stop(self) {
        if let Some(child) = self.child {
            child.stop().await;
        }
    }
}

/// The API, listening.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Api {
    /// Listens on the configured port, or the next free one.
    pub(crate) async fn start(core: &Core) -> Result<Self> {
        let mut address = core.settings.api.address();
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                address.set_port(free_port(address.port())?);
                TcpListener::bind(address)
                    .await
                    .with_context(|| format!("listen on {address}"))?
            }
            Err(error) => return Err(error).with_context(|| format!("listen on {address}")),
        };
        let address = listener.local_addr()?;
        let (stop, mut stopped) = watch::channel(false);
        let shutdown = async move {
            let _ = stopped.wait_for(|is| *is).await;
        };
        // Portals want the address of our public keys before they know us as a client.
        activities::first_signing_keys(&core.db)
            .await
            .context("make the signing keys")?;
        let checks = Register {
            guard: core.guard.clone(),
        };
        let app = api::App::new(core.db.clone(), core.store.clone(), Arc::new(checks));
        let server = tokio::spawn(api::serve(app, listener, shutdown));
        Ok(Self {
            address,
            server,
            stop,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the server ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        Ok((&mut self.server).await??)
    }

    /// Lets open requests end, but not for long.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        let abort = self.server.abort_handle();
        match tokio::time::timeout(API_PATIENCE, self.server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the API broke off"),
            Ok(Err(error)) => tracing::warn!(%error, "the API broke off"),
            Err(_) => abort.abort(),
        }
    }
}

/// Works until `told` ends, then drains. A worker that ends by itself (it does
/// after very many activities) is followed by another.
pub(crate) async fn work(core: &Core, address: &str, told: impl Future<Output = ()>) -> Result<()> {
    let (tell, is_told) = watch::channel(false);
    let keep_working = async {
        while !*is_told.borrow() {
            let client = worker::connect(address, &core.settings.temporal.namespace).await?;
            let mut is_told = is_told.clone();
            let shutdown = async move {
                let _ = is_told.wait_for(|is| *is).await;
            };
            worker::run(core.clone(), client, shutdown).await?;
        }
        Ok(())
    };
    let tell_in_time = async {
        told.await;
        let _ = tell.send(true);
        std::future::pending().await
    };
    tokio::select! {
        ended = keep_working => ended,
        never = tell_in_time => never,
    }
}

/// Works while `story` runs. Asked to stop, the story is broken off: it then
/// gives nothing.
pub(crate) async fn work_during<T>(
    core: &Core,
    address: &str,
    stop: &Stop,
    story: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    let (end, ended) = watch::channel(false);
    let told = async {
        let mut ended = ended;
        let _ = ended.wait_for(|is| *is).await;
    };
    let working = work(core, address, told);
    let telling = async {
        let told = tokio::select! {
            told = story => told.map(Some),
            () = stop.asked() => Ok(None),
        };
        let _ = end.send(true);
        told
    };
    tokio::pin!(working, telling);
    tokio::select! {
        // It was not told to end, so this is why it could not go on.
        worked = &mut working => {
            worked?;
            telling.await
        }
        told = &mut telling => {
            working.await.context("stop the worker")?;
            told
        }
    }
}
