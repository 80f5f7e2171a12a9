//! Patients that read without end, and what they count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::ConnectionId;
use source::{Error, SourceClient};

/// A patient's connection, as a worker needs it.
#[derive(Clone)]
pub(super) struct Patient {
    pub(super) connection: ConnectionId,
    pub(super) id: String,
}

/// What all workers count together.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) reads: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) odd: AtomicU64,
}

pub(super) async fn read_without_end(client: &SourceClient, id: &str, counts: &Counts) {
    loop {
        let pause = match client.read("Patient", id).await {
            Ok(_) => {
                counts.reads.fetch_add(1, Ordering::Relaxed);
                Duration::from_millis(20)
            }
            Err(Error::NoToken { after, .. }) => after.min(Duration::from_millis(100)),
            // A worker that is being killed loses its refresh first.
            Err(Error::GrantLost { .. } | Error::NoTurn) => Duration::from_millis(100),
            Err(Error::Unauthorized { .. }) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                Duration::from_millis(100)
            }
            Err(error) => {
                eprintln!("a read ended otherwise: {error}");
                counts.odd.fetch_add(1, Ordering::Relaxed);
                Duration::from_millis(100)
            }
        };
        tokio::time::sleep(pause).await;
    }
}
