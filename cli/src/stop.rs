//! Ctrl-C and SIGTERM: the first asks for a graceful end, the second ends at once.

use tokio::sync::watch;

/// Turns true when the process is asked to end.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on.
    pub(crate) fn on_signal() -> anyhow::Result<Self> {
        let mut signals = Signals::new()?;
        let (ask, asked) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            eprintln!("stopping: finishing what is at work (once more to stop at once)");
            let _ = ask.send(true);
            signals.next().await;
            // Nothing needs tidying: whatever was at work goes on at the next start.
            std::process::exit(130);
        });
        Ok(Self(asked))
    }

    /// Ends when the process is asked to.
    pub(crate) async fn asked(&self) {
        let mut asked = self.0.clone();
        // The sender lives in a task that ends with the process.
        if asked.wait_for(|is| *is).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
