//! Many tokens that end, two workers that want them, and kills: never two refreshes
//! of a grant in flight, and no grant is lost that need not be.
//!
//! A worker is a runtime of its own with its own connections to the database. A kill
//! drops it: whatever it was doing stops where it stands, its sockets are closed, and
//! nothing is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db::testing::PostgresDatabase;
use db::{Db, NewConnection, NewSource, OpenLogin, SourceAuth, SourceLogin};
use model::{ClientMethod, ConnectionId, ConnectionStatus, SourceId, content_hash};
use sandbox::{Sandbox, SandboxOptions, SmartClient, SmartKnobs, SmartOptions, TokenRequest};
use seal::KeyRing;
use source::{Auth, Error, Limits, Secret, SourceClient, TokenClient, TokenLimits};
use tokio::runtime::Runtime;

use super::scene::{SCOPE, brief, given, loopback, lost};
use crate::token::{Owner, TokenKeeper};

const CONNECTIONS: usize = 8;
const WORKERS: usize = 2;
/// Long enough for a token to be used a few times.
const LIFE_MS: u64 = 600;
/// An answer is on its way so long: whoever is killed meanwhile has lost it.
const ANSWER_MS: u64 = 40;
/// For each expiry, at most: a storm that stands still fails.
const PATIENCE_PER_EXPIRY: Duration = Duration::from_secs(4);

/// A patient's connection, as a worker needs it.
#[derive(Clone)]
struct Patient {
    connection: ConnectionId,
    id: String,
}

/// What all workers count together.
#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    refused: AtomicU64,
    odd: AtomicU64,
}

struct Storm {
    sandbox: Sandbox,
    url: String,
    key: String,
    db: Db,
    source: SourceId,
    patients: Vec<Patient>,
    counts: Arc<Counts>,
}

/// A sequence that a number begins.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 += 1;
        let hash = content_hash(&self.0.to_le_bytes()).0;
        u64::from_le_bytes(hash[..8].try_into().unwrap()) % sides
    }
}

impl Storm {
    async fn new(url: String, keep_old: bool) -> Self {
        let key = KeyRing::generate();
        let db = Db::connect(&url, KeyRing::from_base64(&key).unwrap())
            .await
            .unwrap();
        db.migrate().await.unwrap();
        let client = SmartClient {
            id: "app".to_owned(),
            ..SmartClient::default()
        };
        let knobs = SmartKnobs {
            token_lifetime_ms: LIFE_MS,
            keep_old_until_new_is_used: keep_old,
            token_latency_ms: 5,
            answer_latency_ms: ANSWER_MS,
            ..SmartKnobs::default()
        };
        let options = SandboxOptions {
            smart: Some(SmartOptions {
                clients: vec![client],
                knobs,
            }),
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let base_url = sandbox.base_url().to_string();
        let new = NewSource {
            auth: SourceAuth::Smart,
            ..NewSource::new("portal", &base_url, &base_url)
        };
        let login = OpenLogin {
            login: SourceLogin {
                client_id: "app".to_owned(),
                token_url: None,
                scope: None,
                method: ClientMethod::Public,
                algorithm: None,
            },
            secret: None,
        };
        let mut storm = Self {
            source: db.add_source_with_login(&new, &login).await.unwrap(),
            sandbox,
            url,
            key,
            db,
            patients: Vec::new(),
            counts: Arc::default(),
        };
        for number in 0..CONNECTIONS {
            storm.connect(number).await;
        }
        storm
    }

    async fn connect(&mut self, number: usize) {
        let patients = self.sandbox.patients();
        let id = patients[number % patients.len()].id.clone();
        let issued = self.sandbox.smart().grant("app", &id, SCOPE);
        let new = NewConnection {
            patient_id: self.db.ensure_patient(&format!("p{number}")).await.unwrap(),
            source_id: self.source,
            source_patient_id: id.clone(),
            token: None,
        };
        let connection = self
            .db
            .add_connection_with_grant(&new, &given(&issued))
            .await;
        self.patients.push(Patient {
            connection: connection.unwrap(),
            id,
        });
    }

    /// Starts a worker that reads every patient without end.
    fn worker(&self) -> Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (url, key) = (self.url.clone(), self.key.clone());
        let (base, source) = (self.sandbox.base_url().clone(), self.source);
        let (patients, counts) = (self.patients.clone(), Arc::clone(&self.counts));
        runtime.spawn(async move {
            let ring = KeyRing::from_base64(&key).unwrap();
            let db = Db::connect_pooled(&url, ring, 4).await.unwrap();
            let terms = brief();
            let limits = TokenLimits {
                request_timeout: terms.request * 3 / 4,
                ..TokenLimits::default()
            };
            let tokens = TokenClient::new(base.clone(), limits, &loopback()).unwrap();
            let tokens = Arc::new(tokens);
            let client = SourceClient::new(base, Auth::None, Limits::default(), &loopback());
            let client = client.unwrap();
            for patient in patients {
                let owner = Owner::Patient(patient.connection, Secret::new(patient.id.clone()));
                let keeper =
                    TokenKeeper::new(db.clone(), Arc::clone(&tokens), source, owner, terms);
                let client = client.with_auth(Auth::Tokens(Arc::new(keeper))).unwrap();
                let counts = Arc::clone(&counts);
                tokio::spawn(async move { read_without_end(&client, &patient.id, &counts).await });
            }
        });
        runtime
    }

    fn refreshes(&self) -> Vec<TokenRequest> {
        self.sandbox.smart().token_requests()
    }

    fn expiries(&self) -> u64 {
        let requests = self.refreshes();
        requests.iter().filter(|of| of.status == 200).count() as u64
    }

    /// Patients whose grant is lost approve again.
    async fn reconnect(&self) {
        for patient in &self.patients {
            let status = self.db.connection_summary(patient.connection).await;
            if status.unwrap().status == ConnectionStatus::NeedsReconnect {
                let issued = self.sandbox.smart().grant("app", &patient.id, SCOPE);
                let grant = given(&issued);
                let done = self.db.reconnect(patient.connection, None, Some(&grant));
                done.await.unwrap();
            }
        }
    }

    /// Runs until so many tokens have ended, and so many grants are over; returns the
    /// number of kills.
    async fn run(&self, expiries: u64, over: u64, seed: u64) -> u64 {
        let mut dice = Dice(seed);
        let mut workers: Vec<Runtime> = (0..WORKERS).map(|_| self.worker()).collect();
        let until = Instant::now() + PATIENCE_PER_EXPIRY * u32::try_from(expiries).unwrap();
        let mut kills = 0;
        while self.expiries() < expiries || self.sandbox.smart().grants_over() < over {
            assert!(
                Instant::now() < until,
                "it stands still at {}",
                self.expiries()
            );
            tokio::time::sleep(Duration::from_millis(100 + dice.roll(300))).await;
            // Every second kill comes while a token is being asked for.
            if dice.roll(2) == 0 {
                let limit = Instant::now() + Duration::from_secs(2);
                while self.sandbox.smart().underway() == 0 && Instant::now() < limit {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(Duration::from_millis(dice.roll(ANSWER_MS))).await;
            }
            let at = dice.roll(WORKERS as u64) as usize;
            std::mem::replace(&mut workers[at], self.worker()).shutdown_background();
            kills += 1;
            let knobs = self.sandbox.smart().knobs();
            self.sandbox.smart().set_knobs(SmartKnobs {
                token_fail_next: u32::from(dice.roll(4) == 0),
                ..knobs
            });
            self.reconnect().await;
        }
        // The last requests end by themselves.
        for worker in workers {
            worker.shutdown_background();
        }
        while self.sandbox.smart().underway() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        kills
    }

    /// No two requests of a grant were in flight together.
    fn never_two(&self) {
        let mut of_grant: BTreeMap<u64, Vec<TokenRequest>> = BTreeMap::new();
        for request in self.refreshes() {
            assert_ne!(request.grant, 0, "{request:?}");
            of_grant.entry(request.grant).or_default().push(request);
        }
        for mut requests in of_grant.into_values() {
            requests.sort_by_key(|request| request.started_us);
            for pair in requests.windows(2) {
                assert!(pair[0].ended_us <= pair[1].started_us, "{pair:?}");
            }
        }
    }

    /// Each connection can be refreshed with what the database has.
    async fn all_alive(&self) {
        let worker = self.worker();
        let all: BTreeSet<u64> = (1..=self.sandbox.smart().grant_count()).collect();
        assert_eq!(all.len(), CONNECTIONS);
        for number in all {
            assert!(self.sandbox.smart().is_alive(number), "grant {number}");
        }
        self.sandbox.smart().forget_access_tokens();
        let before = self.expiries();
        let until = Instant::now() + Duration::from_secs(60);
        while self.expiries() < before + CONNECTIONS as u64 {
            assert!(Instant::now() < until, "not all are refreshed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        worker.shutdown_background();
    }
}

async fn read_without_end(client: &SourceClient, id: &str, counts: &Counts) {
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

/// A number from the environment, for long runs.
fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

/// A database of this test's own: a folder and a URL.
async fn databases() -> Vec<(
    &'static str,
    String,
    Option<tempfile::TempDir>,
    Option<PostgresDatabase>,
)> {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("storm.db").display());
    let mut found = vec![("sqlite", url, Some(dir), None)];
    if let Some(server) = PostgresDatabase::create().await {
        found.push(("postgres", server.url(), None, Some(server)));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_grant_is_lost_where_the_old_token_is_honoured() {
    let expiries = number("CHARTLIFT_TOKEN_EXPIRIES", 50);
    for (name, url, _dir, _server) in databases().await {
        let storm = Storm::new(url, true).await;
        let kills = storm.run(expiries, 0, number("CHARTLIFT_SEED", 1)).await;
        storm.never_two();
        let (reads, refused, odd) = storm.counts();
        storm.all_alive().await;
        assert_eq!(lost(&storm.db).await, Vec::<String>::new());
        println!(
            "FIGURES: {{\"{name}\": {{\"expiries\": {}, \"kills\": {kills}, \"lost\": 0, \"requests\": {}, \"reads\": {reads}, \
             \"refused\": {refused}}}}}",
            storm.expiries(),
            storm.refreshes().len()
        );
        assert_eq!((refused, odd), (0, 0));
        assert!(
            kills >= 3 && reads > expiries,
            "{kills} kills, {reads} reads"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_lost_is_told_and_no_other() {
    let expiries = number("CHARTLIFT_TOKEN_EXPIRIES", 50);
    for (name, url, _dir, _server) in databases().await {
        let storm = Storm::new(url, false).await;
        let kills = storm.run(expiries, 1, number("CHARTLIFT_SEED", 2)).await;
        storm.never_two();
        // The last ones that are over are found by whoever asks next.
        let worker = storm.worker();
        let until = Instant::now() + Duration::from_secs(60);
        let mut told = lost(&storm.db).await;
        while (told.len() as u64) < storm.sandbox.smart().grants_over() {
            assert!(Instant::now() < until, "one that is over is not told");
            tokio::time::sleep(Duration::from_millis(20)).await;
            told = lost(&storm.db).await;
        }
        worker.shutdown_background();
        let over = storm.sandbox.smart().grants_over();
        println!(
            "FIGURES: {{\"{name}, no grace\": {{\"expiries\": {}, \"kills\": {kills}, \"lost\": {}}}}}",
            storm.expiries(),
            told.len()
        );
        // Whose worker was killed with the answer in hand has lost it; the next one is told.
        assert!(over > 0);
        assert!(
            told.iter().all(|of| of.ends_with(" invalid_grant")),
            "{told:?}"
        );
        assert!(
            told.len() as u64 == over,
            "{} told, {over} over",
            told.len()
        );
        let (_, _, odd) = storm.counts();
        assert_eq!(odd, 0);
    }
}

impl Storm {
    fn counts(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (
            of(&self.counts.reads),
            of(&self.counts.refused),
            of(&self.counts.odd),
        )
    }
}
