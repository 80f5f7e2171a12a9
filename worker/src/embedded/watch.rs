//! The watch over a running server: restarted when it ends by itself, ended when
//! we stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::launch::Launch;
use super::process::{ProcessRef, SignalKind, TERM_PATIENCE, signal};

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A server that lived this long was well: the next restart comes soon again.
const LIFETIME_WELL: Duration = Duration::from_secs(60);
const ADOPTED_POLL: Duration = Duration::from_secs(1);

/// A server process, of this run or of a killed one.
#[derive(Debug)]
pub(super) enum Server {
    /// Our child; killed if dropped.
    Child(Box<Child>),
    /// One that an earlier run started.
    Adopted(ProcessRef),
}

impl Server {
    /// Its number; 0 if it has ended.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Child(child) => child.id().unwrap_or(0),
            Self::Adopted(process) => process.pid,
        }
    }

    /// Waits for its end, and says how it ended.
    async fn ended(&mut self, mark: &str) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Self::Adopted(process) => {
                while process
                    .command_line()
                    .is_some_and(|line| line.contains(mark))
                {
                    sleep(ADOPTED_POLL).await;
                }
                "not our child, status unknown".to_owned()
            }
        }
    }

    async fn end(&mut self, mark: &str) {
        match self {
            Self::Child(child) => {
                if let Some(pid) = child.id() {
                    signal(pid, SignalKind::Terminate);
                }
                if timeout(TERM_PATIENCE, child.wait()).await.is_err()
                    && let Err(error) = child.kill().await
                {
                    tracing::warn!(%error, "cannot end the Temporal dev server");
                }
            }
            Self::Adopted(process) => process.end(mark).await,
        }
    }
}

/// Restarts the server, on the same file and ports, whenever it ends, until
/// `stop` is sent or dropped; then ends it.
pub(super) async fn watch(
    launch: Launch,
    server: Server,
    pid: Arc<AtomicU32>,
    mut stop: oneshot::Receiver<()>,
) {
    let mark = launch.mark();
    let mut server = Some(server);
    let mut backoff = BACKOFF_MIN;
    loop {
        if let Some(server) = &mut server {
            pid.store(server.pid(), Ordering::Release);
            let started = Instant::now();
            let how = tokio::select! {
                _ = &mut stop => return server.end(&mark).await,
                how = server.ended(&mark) => how,
            };
            if started.elapsed() > LIFETIME_WELL {
                backoff = BACKOFF_MIN;
            }
            tracing::warn!(
                how,
                restart_in_s = backoff.as_secs(),
                log_tail = launch.log_tail(),
                "the Temporal dev server ended by itself"
            );
        }
        pid.store(0, Ordering::Release);
        tokio::select! {
            _ = &mut stop => return,
            () = sleep(backoff) => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
        server = match launch.spawn(false) {
            Ok(child) => Some(Server::Child(Box::new(child))),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot restart the Temporal dev server"
                );
                None
            }
        };
    }
}
