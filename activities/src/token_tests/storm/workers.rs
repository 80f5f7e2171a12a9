//! Workers that refresh beside each other, are killed and start again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db::{Db, NewConnection, NewSource, OpenLogin, SourceAuth, SourceLogin};
use model::{ClientMethod, ConnectionStatus, SourceId, content_hash};
use sandbox::{Sandbox, SandboxOptions, SmartClient, SmartKnobs, SmartOptions, TokenRequest};
use seal::KeyRing;
use source::{Auth, Limits, Secret, SourceClient, TokenClient, TokenLimits};
use tokio::runtime::Runtime;

use super::readers::{Counts, Patient, read_without_end};
use crate::token::{Owner, TokenKeeper};
use crate::token_tests::scene::{SCOPE, brief, given, loopback};

const CONNECTIONS: usize = 8;

const WORKERS: usize = 2;

/// Long enough for a token to be used a few times.
const LIFE_MS: u64 = 600;

/// An answer is on its way so long: whoever is killed meanwhile has lost it.
const ANSWER_MS: u64 = 40;

/// For each expiry, at most: a storm that stands still fails.
const PATIENCE_PER_EXPIRY: Duration = Duration::from_secs(4);

pub(super) struct Storm {
    pub(super) sandbox: Sandbox,
    url: String,
    key: String,
    pub(super) db: Db,
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
    pub(super) async fn new(url: String, keep_old: bool) -> Self {
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
    pub(super) fn worker(&self) -> Runtime {
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

    pub(super) fn refreshes(&self) -> Vec<TokenRequest> {
        self.sandbox.smart().token_requests()
    }

    pub(super) fn expiries(&self) -> u64 {
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
    pub(super) async fn run(&self, expiries: u64, over: u64, seed: u64) -> u64 {
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
    pub(super) fn never_two(&self) {
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
    pub(super) async fn all_alive(&self) {
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

impl Storm {
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (
            of(&self.counts.reads),
            of(&self.counts.refused),
            of(&self.counts.odd),
        )
    }
}
