//! What the steps work with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use db::{BackOff, Connection, Db};
use records::Store;
use source::{Auth, Secret, SourceClient};
use url::Url;

use crate::failure::Failure;

/// The bounds of a step, from the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Resources asked for per page.
    pub page_count: u32,
    /// Raw bytes after which a staging object is closed.
    pub staging_size_target_bytes: u64,
    /// Rows after which a chunk takes no further connection.
    pub chunk_rows_target: u64,
    /// Bytes after which a part is closed.
    pub part_size_target_bytes: u64,
    /// How long a pull step works before it saves and returns.
    pub step_duration_max: Duration,
    /// How long a chunk works between two saves of its position.
    pub chunk_save_every: Duration,
    /// How long a destination that failed is left alone.
    pub back_off: BackOff,
    /// Steps that talk to one source at the same time.
    pub source_slots: u64,
}

/// Database, record store and bounds, shared by all steps of a worker.
#[derive(Debug)]
pub struct Context {
    pub(crate) db: Db,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    /// One client a base URL: its connections are worth keeping.
    clients: Mutex<HashMap<String, SourceClient>>,
    /// Attempts of steps begun by this worker.
    step_count: AtomicU64,
}

impl Context {
    /// A context over a database and a record store.
    #[must_use]
    pub fn new(db: Db, store: Store, limits: Limits) -> Self {
        Self {
            db,
            store,
            limits,
            clients: Mutex::default(),
            step_count: AtomicU64::new(0),
        }
    }

    /// Attempts of steps begun with this context: a worker is replaced after very
    /// many, since the SDK keeps a little of each.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.step_count.load(Ordering::Relaxed)
    }

    pub(crate) fn count_step(&self) {
        self.step_count.fetch_add(1, Ordering::Relaxed);
    }

    /// The client for a connection, with its token.
    pub(crate) fn client(&self, connection: &Connection) -> Result<SourceClient, Failure> {
        let failed = |error: source::Error| Failure::last("source_config", error);
        let auth = match &connection.token {
            Some(token) => Auth::Bearer(Secret::new(token.clone())),
            None => Auth::None,
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(&connection.base_url) {
            Some(client) => client.clone(),
            None => {
                let url = Url::parse(&connection.base_url).map_err(|_| {
                    Failure::last("source_config", "the source's base URL cannot be read")
                })?;
                let limits = source::Limits {
                    page_size: self.limits.page_count,
                    ..source::Limits::default()
                };
                let client = SourceClient::new(url, Auth::None, limits).map_err(failed)?;
                clients.insert(connection.base_url.clone(), client.clone());
                client
            }
        };
        client.with_auth(auth).map_err(failed)
    }
}
