//! The Temporal dev server as a child of this process, for `demo`, `up` and tests.
//!
//! Owns `temporal.db`, `temporal.log` and `temporal.json` in a data folder, and
//! the folder's lock. The server is watched and restarted on the same file and
//! port; one that a killed run left behind is found and reused, or ended.
//! Invariant: no process is signalled that does not work on this folder's file,
//! and the file of a running server is never opened.

mod cli;
mod launch;
mod lock;
mod process;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::launch::Launch;
use self::state::State;
use self::watch::Server;

pub use self::lock::DataLock;

/// How many ports above the preferred one are tried.
const PORT_SPAN: u16 = 50;
/// How often a start is repeated because another process took a port meanwhile.
const START_ATTEMPTS: usize = 5;

/// What a [`DevServer`] runs with.
#[derive(Debug, Clone)]
pub struct DevServerOptions {
    /// The folder of `temporal.db`, `temporal.log` and `temporal.json`.
    pub dir: PathBuf,
    /// The port of the server; if taken, the next free one. 0: any.
    pub grpc_port: u16,
    /// The port of its UI; if taken, the next free one. 0: any.
    pub ui_port: u16,
    /// The namespace to make.
    pub namespace: String,
    /// The search attributes to register, all of type Keyword.
    pub search_attributes: &'static [&'static str],
}

/// A running Temporal dev server, watched and restarted until [`DevServer::stop`].
///
/// Dropped, it ends too, but nothing waits for that.
#[derive(Debug)]
pub struct DevServer {
    port: u16,
    ui_port: u16,
    pid: Arc<AtomicU32>,
    stop: oneshot::Sender<()>,
    watch: JoinHandle<()>,
}

impl DevServer {
    /// Starts a server on the folder's file, or goes on with the one a killed run
    /// left there, and returns when its namespace answers. Take the folder's
    /// [`DataLock`] first: two servers on one file would corrupt it.
    ///
    /// # Errors
    /// Without a Temporal CLI: what to install. If the server ends early or does
    /// not answer: the last lines of its log.
    pub async fn start(options: DevServerOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.dir)
            .with_context(|| format!("make the folder {}", options.dir.display()))?;
        let launch = Launch::new(&options, cli::find().await?)?;
        let (launch, server) = match launch.adopt().await? {
            Some((launch, orphan)) => (launch, Server::Adopted(orphan)),
            None => {
                let (launch, child) = start_fresh(launch, &options).await?;
                (launch, Server::Child(Box::new(child)))
            }
        };
        let (port, ui_port) = (launch.port, launch.ui_port);
        let pid = Arc::new(AtomicU32::new(server.pid()));
        let (stop, stopped) = oneshot::channel();
        let watch = tokio::spawn(watch::watch(launch, server, Arc::clone(&pid), stopped));
        Ok(Self {
            port,
            ui_port,
            pid,
            stop,
            watch,
        })
    }

    /// Where clients connect: `http://127.0.0.1:PORT`. It stays through restarts.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The web UI: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn ui_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ui_port)
    }

    /// The server's process id; `None` between an unexpected end and the restart.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// Ends the server, an adopted one too, and waits until it is gone.
    pub async fn stop(self) {
        // Fails only if the watch has ended already.
        let _ = self.stop.send(());
        if let Err(error) = self.watch.await {
            tracing::warn!(%error, "the watch of the Temporal dev server broke off");
        }
    }
}

/// The program `temporal`: where it is, or built once where Go is.
///
/// # Errors
/// If there is none and it cannot be built: what to install.
pub async fn temporal_cli() -> Result<PathBuf> {
    cli::find().await
}

/// Starts a child on free ports, once more on others if one of them was taken
/// between the look and the start.
async fn start_fresh(
    mut launch: Launch,
    options: &DevServerOptions,
) -> Result<(Launch, tokio::process::Child)> {
    let known = State::read(&launch.dir).filter(|state| state.was_asked(options));
    let mut wanted = known.map_or((options.grpc_port, options.ui_port), |s| {
        (s.port, s.ui_port)
    });
    let mut attempts = 0;
    loop {
        attempts += 1;
        // The one is held while the other is chosen: they must differ.
        let (port_guard, port) = bind_near(wanted.0).context("find a free port")?;
        let (ui_guard, ui_port) = bind_near(wanted.1).context("find a free port")?;
        drop((port_guard, ui_guard));
        (launch.port, launch.ui_port) = (port, ui_port);
        let mut child = launch.spawn(true)?;
        match launch.wait_ready(&mut child).await {
            Ok(()) => return Ok((launch, child)),
            Err(error) => {
                // Ours is gone by now, so whoever holds a port is someone else.
                child.kill().await.context("end the Temporal dev server")?;
                if attempts == START_ATTEMPTS || (is_free(port) && is_free(ui_port)) {
                    return Err(error);
                }
                wanted = (options.grpc_port, options.ui_port);
            }
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on: the preferred one, else one of the
/// 50 above it, else any.
///
/// # Errors
/// The system's, if it has no port left.
pub fn free_port(preferred: u16) -> std::io::Result<u16> {
    bind_near(preferred).map(|(_, port)| port)
}

fn bind_near(preferred: u16) -> std::io::Result<(TcpListener, u16)> {
    let near = if preferred == 0 {
        0..=0
    } else {
        preferred..=preferred.saturating_add(PORT_SPAN)
    };
    let listener = near
        .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .next()
        .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
