//! What the steps work with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use db::{BackOff, Connection, Db, MergeRule, SourceAuth};
use guard::Guard;
use model::{MediaTypes, SourceId};
use records::Store;
use source::{Auth, Secret, SourceClient, TokenClient, TokenLimits};
use url::Url;

use crate::Destinations;
use crate::failure::Failure;
use crate::pace::SourcePace;
use crate::token::{Owner, Terms, TokenKeeper};

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
    /// How long after a type was had whole it is asked for whole again.
    pub full_pull_after: Duration,
    /// How far a search for changes goes back behind the newest that is had.
    pub pull_overlap: Duration,
    /// Which attachments are fetched.
    pub attachments: AttachmentLimits,
    /// The upkeep.
    pub maintain: MaintainLimits,
}

/// Which attachments are fetched, from the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentLimits {
    /// The size of the largest one.
    pub bytes_max: u64,
    /// Their media types.
    pub types: MediaTypes,
}

/// The bounds of the upkeep, from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintainLimits {
    /// When a log is merged.
    pub merge: MergeRule,
    /// How long superseded objects stay.
    pub superseded_age: Duration,
    /// How long what nothing names stays.
    pub orphan_age: Duration,
    /// How long the details of ended runs stay.
    pub retention: Duration,
}

/// Database, record store, guard and bounds, shared by all steps of a worker.
#[derive(Debug)]
pub struct Context {
    pub(crate) db: Db,
    pub(crate) store: Store,
    pub(crate) guard: Guard,
    pub(crate) destinations: Destinations,
    pub(crate) limits: Limits,
    /// One client a base URL: its connections are worth keeping.
    clients: Mutex<HashMap<String, SourceClient>>,
    /// The pace of each source.
    paces: Mutex<HashMap<SourceId, Arc<SourcePace>>>,
    /// Who keeps the tokens of a subject, as long as steps use them.
    keepers: Mutex<HashMap<String, Weak<TokenKeeper>>>,
    /// One client of a token endpoint a base URL: it knows the endpoint and its clock.
    token_clients: Mutex<HashMap<String, Arc<TokenClient>>>,
    pub(crate) token_terms: Terms,
    /// Attempts of steps begun by this worker.
    step_count: AtomicU64,
    /// Whether the worker is asked to end.
    draining: AtomicBool,
}

impl Context {
    /// A context over a database and a record store; what is asked elsewhere goes
    /// through `guard`.
    #[must_use]
    pub fn new(db: Db, store: Store, guard: Guard, limits: Limits) -> Self {
        Self {
            destinations: Destinations::new(db.clone(), guard.clone()),
            db,
            store,
            guard,
            limits,
            clients: Mutex::default(),
            paces: Mutex::default(),
            keepers: Mutex::default(),
            token_clients: Mutex::default(),
            token_terms: Terms::default(),
            step_count: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }
    }

    /// Attempts of steps begun with this context: a worker is replaced after very
    /// many, since the SDK keeps a little of each.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.step_count.load(Ordering::Relaxed)
    }

    /// Tells the steps that the worker is asked to end: those that can save where
    /// they are and return do so, so that they need not be cut off.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn count_step(&self) {
        self.step_count.fetch_add(1, Ordering::Relaxed);
    }

    /// The pace of a connection's source.
    fn pace(&self, connection: &Connection) -> Arc<SourcePace> {
        let id = connection.summary.source_id;
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let known = paces.get(&id).filter(|pace| pace.is_of(connection));
        let pace = known.cloned().unwrap_or_else(|| {
            let new = Arc::new(SourcePace::new(self.db.clone(), connection));
            paces.insert(id, Arc::clone(&new));
            new
        });
        pace.learn(connection);
        pace
    }

    /// Who keeps the tokens of a connection, if its source gives out tokens.
    pub(crate) fn keeper(
        &self,
        connection: &Connection,
    ) -> Result<Option<Arc<TokenKeeper>>, Failure> {
        let (source, id) = (connection.summary.source_id, connection.summary.id);
        let (subject, owner) = match connection.auth {
            SourceAuth::None | SourceAuth::Bearer => return Ok(None),
            SourceAuth::Smart => {
                let patient = Secret::new(connection.source_patient_id.clone());
                (id.to_string(), Owner::Patient(id, patient))
            }
            SourceAuth::ClientCredentials | SourceAuth::BackendServices => {
                (source.to_string(), Owner::Ourselves)
            }
        };
        let client = self.token_client(&connection.base_url)?;
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keepers.get(&subject).and_then(Weak::upgrade) {
            return Ok(Some(known));
        }
        keepers.retain(|_, keeper| keeper.strong_count() > 0);
        let keeper = TokenKeeper::new(self.db.clone(), client, source, owner, self.token_terms);
        let keeper = Arc::new(keeper);
        keepers.insert(subject, Arc::downgrade(&keeper));
        Ok(Some(keeper))
    }

    fn token_client(&self, base_url: &str) -> Result<Arc<TokenClient>, Failure> {
        let clients = self.token_clients.lock();
        let mut clients = clients.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(base_url) {
            return Ok(Arc::clone(known));
        }
        let url = parse_base(base_url)?;
        let limits = TokenLimits {
            request_timeout: self.token_terms.request * 3 / 4,
            ..TokenLimits::default()
        };
        let client = TokenClient::new(url, limits, &self.guard)
            .map_err(|error| Failure::last("source_config", error))?;
        let client = Arc::new(client);
        clients.insert(base_url.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    /// The client for a connection, with its token.
    pub(crate) fn client(&self, connection: &Connection) -> Result<SourceClient, Failure> {
        let failed = |error: source::Error| Failure::last("source_config", error);
        let auth = match (self.keeper(connection)?, &connection.token) {
            (Some(keeper), _) => Auth::Tokens(keeper),
            (None, Some(token)) => Auth::Bearer(Secret::new(token.clone())),
            (None, None) => Auth::None,
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(&connection.base_url) {
            Some(client) => client.clone(),
            None => {
                let url = parse_base(&connection.base_url)?;
                let limits = source::Limits {
                    page_size: self.limits.page_count,
                    ..source::Limits::default()
                };
                let client =
                    SourceClient::new(url, Auth::None, limits, &self.guard).map_err(failed)?;
                clients.insert(connection.base_url.clone(), client.clone());
                client
            }
        };
        let client = client.with_auth(auth).map_err(failed)?;
        Ok(client.with_pace(self.pace(connection)))
    }
}

/// Where a source's API begins, as the database has it.
pub(crate) fn parse_base(base_url: &str) -> Result<Url, Failure> {
    Url::parse(base_url)
        .map_err(|_| Failure::last("source_config", "the source's base URL cannot be read"))
}
