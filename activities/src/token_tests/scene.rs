//! A portal that gives out tokens, a database, and a connection.

use std::sync::Arc;
use std::time::Duration;

use db::testing::TestDb;
use db::{Db, NewConnection, NewSource, NewToken, OpenLogin, SourceAuth, SourceLogin, StoredToken};
use guard::{Allow, Guard};
use model::{ClientMethod, ConnectionId, ConnectionStatus, SigningAlgorithm, SourceId, Timestamp};
use sandbox::{
    Issued, Sandbox, SandboxOptions, SmartClient, SmartKnobs, SmartOptions, TokenRequest,
};
use source::{Auth, Error, Limits, Secret, SourceClient, TokenClient, TokenLimits};

use crate::token::{Owner, Terms, TokenKeeper};

pub(super) const SCOPE: &str = "launch/patient patient/*.rs offline_access";
const SECRET: &str = "a secret: %";

/// Terms that a test can wait for.
pub(super) fn brief() -> Terms {
    Terms {
        request: Duration::from_millis(600),
        lease: Duration::from_millis(1600),
        wait: Duration::from_millis(1000),
        look: Duration::from_millis(10),
        back_off: (Duration::from_millis(400), Duration::from_millis(800)),
        young: Duration::from_secs(60),
    }
}

pub(super) fn loopback() -> Guard {
    Guard::new(Allow::parse(&["127.0.0.1"]).unwrap())
}

/// What the sandbox gave, as it is stored.
pub(super) fn given(issued: &Issued) -> NewToken {
    NewToken {
        access: Some(issued.access_token.clone()),
        refresh: issued.refresh_token.clone(),
        scope: Some(issued.scope.clone()),
        expires_in: Some(Duration::from_secs(300)),
        after_refusal: false,
    }
}

pub(super) async fn sleep_until(time: Timestamp) {
    let left = time.after(Duration::from_millis(1)).since(Timestamp::now());
    tokio::time::sleep(left).await;
}

pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    pub(super) db: Db,
    pub(super) source: SourceId,
    pub(super) connection: ConnectionId,
    pub(super) patient: String,
    pub(super) grant_number: u64,
    pub(super) refresh_token: String,
    issued: Option<Issued>,
    owner: Owner,
}

async fn portal(client: SmartClient) -> Sandbox {
    let options = SandboxOptions {
        smart: Some(SmartOptions {
            clients: vec![client],
            knobs: SmartKnobs::default(),
        }),
        ..SandboxOptions::default()
    };
    Sandbox::start(options).await.unwrap()
}

async fn add_source(db: &Db, sandbox: &Sandbox, auth: SourceAuth, login: OpenLogin) -> SourceId {
    let base_url = sandbox.base_url().to_string();
    let new = NewSource {
        auth,
        ..NewSource::new(&base_url, &base_url, &base_url)
    };
    db.add_source_with_login(&new, &login).await.unwrap()
}

fn login(method: ClientMethod, algorithm: Option<SigningAlgorithm>) -> OpenLogin {
    let has_secret = matches!(method, ClientMethod::Basic | ClientMethod::Post);
    OpenLogin {
        login: SourceLogin {
            client_id: "app".to_owned(),
            token_url: None,
            scope: Some("system/*.rs".to_owned()),
            method,
            algorithm,
        },
        secret: has_secret.then(|| SECRET.to_owned()),
    }
}

impl Scene {
    /// A patient's grant, to a public client.
    pub(super) async fn smart(database: &TestDb) -> Self {
        let client = SmartClient {
            id: "app".to_owned(),
            ..SmartClient::default()
        };
        let sandbox = portal(client).await;
        let db = database.db.clone();
        let patient = sandbox.patients()[0].id.clone();
        let public = login(ClientMethod::Public, None);
        let source = add_source(&db, &sandbox, SourceAuth::Smart, public).await;
        let issued = sandbox.smart().grant("app", &patient, SCOPE);
        let new = NewConnection {
            patient_id: db.ensure_patient("ann").await.unwrap(),
            source_id: source,
            source_patient_id: patient.clone(),
            token: None,
        };
        let connection = db.add_connection_with_grant(&new, &given(&issued)).await;
        let connection = connection.unwrap();
        Self {
            db,
            source,
            connection,
            owner: Owner::Patient(connection, Secret::new(patient.clone())),
            patient,
            grant_number: issued.grant,
            refresh_token: issued.refresh_token.clone().unwrap(),
            issued: Some(issued),
            sandbox,
        }
    }

    /// Tokens of our own.
    pub(super) async fn system(
        database: &TestDb,
        method: ClientMethod,
        algorithm: Option<SigningAlgorithm>,
    ) -> Self {
        let db = database.db.clone();
        crate::first_signing_keys(&db).await.unwrap();
        let keys = db.published_keys().await.unwrap();
        let jwks = serde_json::from_str(&format!(r#"{{"keys":[{}]}}"#, keys.join(","))).unwrap();
        let open = login(method, algorithm);
        let client = SmartClient {
            id: "app".to_owned(),
            secret: open.secret.clone(),
            jwks: (method == ClientMethod::Signed).then_some(jwks),
        };
        let sandbox = portal(client).await;
        let auth = match method {
            ClientMethod::Signed => SourceAuth::BackendServices,
            _ => SourceAuth::ClientCredentials,
        };
        let source = add_source(&db, &sandbox, auth, open).await;
        let patient = sandbox.patients()[0].id.clone();
        let new = NewConnection {
            patient_id: db.ensure_patient("ann").await.unwrap(),
            source_id: source,
            source_patient_id: patient.clone(),
            token: None,
        };
        Self {
            connection: db.add_connection(&new).await.unwrap(),
            db,
            source,
            patient,
            grant_number: 0,
            refresh_token: String::new(),
            issued: None,
            owner: Owner::Ourselves,
            sandbox,
        }
    }

    /// The tokens of the beginning.
    pub(super) fn grant(&self) -> NewToken {
        given(self.issued.as_ref().unwrap())
    }

    /// A worker's keeper of the connection's tokens.
    pub(super) fn keeper(&self, db: &Db) -> Arc<TokenKeeper> {
        let terms = brief();
        let limits = TokenLimits {
            request_timeout: terms.request * 3 / 4,
            ..TokenLimits::default()
        };
        let base = self.sandbox.base_url().clone();
        let client = Arc::new(TokenClient::new(base, limits, &loopback()).unwrap());
        let owner = self.owner.clone();
        Arc::new(TokenKeeper::new(
            db.clone(),
            client,
            self.source,
            owner,
            terms,
        ))
    }

    pub(super) fn client(&self, keeper: &Arc<TokenKeeper>) -> SourceClient {
        let keeper: Arc<TokenKeeper> = Arc::clone(keeper);
        let base = self.sandbox.base_url().clone();
        SourceClient::new(base, Auth::Tokens(keeper), Limits::default(), &loopback()).unwrap()
    }

    /// Reads the patient, as a step would.
    pub(super) async fn read(&self, keeper: &Arc<TokenKeeper>) -> Result<(), Error> {
        let read = self.client(keeper).read("Patient", &self.patient).await;
        read.map(drop)
    }

    pub(super) async fn search(&self, keeper: &Arc<TokenKeeper>, ty: &str) -> Result<(), Error> {
        let base = self.sandbox.base_url();
        let url = format!("{base}/{ty}?patient={}&_count=5", self.patient);
        self.client(keeper).page(&url).await.map(drop)
    }

    pub(super) fn knobs(&self, knobs: SmartKnobs) {
        self.sandbox.smart().set_knobs(knobs);
    }

    pub(super) fn requests(&self) -> Vec<TokenRequest> {
        self.sandbox.smart().token_requests()
    }

    pub(super) async fn stored(&self) -> StoredToken {
        let subject = match &self.owner {
            Owner::Patient(connection, _) => connection.to_string(),
            Owner::Ourselves => self.source.to_string(),
        };
        self.db.token(&subject).await.unwrap().unwrap()
    }

    pub(super) async fn status(&self) -> ConnectionStatus {
        let summary = self.db.connection_summary(self.connection).await;
        summary.unwrap().status
    }

    /// What was told of connections that are to be made again, and why.
    pub(super) async fn events(&self) -> Vec<String> {
        lost(&self.db).await
    }

    /// Waits until the endpoint may be asked again.
    pub(super) async fn asked_again(&self) {
        let stored = self.stored().await;
        sleep_until(stored.not_before.max(stored.held_until)).await;
    }
}

/// The events of grants that were lost, each with its reason.
pub(super) async fn lost(db: &Db) -> Vec<String> {
    const KIND: &str = "connection.needs_reconnect";
    let events = db::testing::events(db, KIND).await;
    let told = events.into_iter().map(|(_, body)| {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        format!("{KIND} {}", body["error_code"].as_str().unwrap())
    });
    told.collect()
}
