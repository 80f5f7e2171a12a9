//! Tokens, logins and signing keys on both databases.

use std::time::Duration;

use model::{ClientMethod, ConnectionId, ConnectionStatus, SigningAlgorithm, SourceId, Timestamp};
use sqlx::Row;

use crate::signing_keys::KeyOverlap;
use crate::testing::TestDb;
use crate::{
    Db, NewConnection, NewSigningKey, NewSource, NewToken, OpenLogin, SourceAuth, SourceLogin,
};

crate::on_both!(
    one_of_many_refreshes_and_what_it_gives_is_the_next_version,
    a_lease_that_ended_stores_nothing_over_what_came_after,
    a_lost_grant_is_told_once_and_connected_again,
    a_revoked_connection_stores_no_tokens,
    a_login_is_sealed_and_replaced,
    keys_change_with_an_overlap,
);

const TERM: Duration = Duration::from_secs(30);

fn pair(number: u32) -> NewToken {
    NewToken {
        access: Some(format!("hush-access-{number}")),
        refresh: Some(format!("hush-refresh-{number}")),
        scope: Some("patient/*.rs".to_owned()),
        expires_in: Some(Duration::from_secs(1000)),
        after_refusal: false,
    }
}

fn login() -> OpenLogin {
    OpenLogin {
        login: SourceLogin {
            client_id: "app".to_owned(),
            token_url: Some("https://auth.example/token".to_owned()),
            scope: None,
            method: ClientMethod::Basic,
            algorithm: None,
        },
        secret: Some("hush-secret".to_owned()),
    }
}

async fn scene(db: &Db) -> (SourceId, ConnectionId) {
    let source = NewSource {
        auth: SourceAuth::Smart,
        ..NewSource::new("portal", "https://ehr.example/fhir", "ehr.example/fhir")
    };
    let source_id = db.add_source_with_login(&source, &login()).await.unwrap();
    let new = NewConnection {
        patient_id: db.ensure_patient("ann").await.unwrap(),
        source_id,
        source_patient_id: "ann-there".to_owned(),
        token: None,
    };
    let connection = db.add_connection_with_grant(&new, &pair(1)).await.unwrap();
    (source_id, connection)
}

/// Types and subjects of the events there are.
async fn events(db: &Db) -> Vec<(String, String, String)> {
    let rows = sqlx::query("SELECT type, subject_id, body FROM events ORDER BY id")
        .fetch_all(&db.reader)
        .await
        .unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

async fn one_of_many_refreshes_and_what_it_gives_is_the_next_version(database: TestDb) {
    let db = &database.db;
    let (_, connection) = scene(db).await;
    let subject = connection.to_string();
    let first = db.token(&subject).await.unwrap().unwrap();
    assert_eq!(first.access.as_deref(), Some("hush-access-1"));
    assert_eq!(first.refresh.as_deref(), Some("hush-refresh-1"));
    let life = first.expires_at.0 - first.obtained_at.0;
    assert_eq!(life, 1_000_000_000);
    assert_eq!(first.refresh_at.0 - first.obtained_at.0, life * 4 / 5);
    assert_eq!(
        db.granted_scope(connection).await.unwrap().as_deref(),
        Some("patient/*.rs")
    );

    let tries = (0..8).map(|_| db.lease_token(&subject, first.version, TERM));
    let leases = futures::future::join_all(tries).await;
    let mut leases: Vec<_> = leases.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(leases.len(), 1);
    let lease = leases.remove(0);
    let mut next = pair(2);
    (next.refresh, next.scope, next.expires_in) = (None, None, None);
    assert!(db.store_token(&lease, &next).await.unwrap());
    let second = db.token(&subject).await.unwrap().unwrap();
    assert_eq!(second.version, first.version + 1);
    assert_eq!(second.access.as_deref(), Some("hush-access-2"));
    // What was not said stays, and a life that was not said is five minutes.
    assert_eq!(second.refresh, first.refresh);
    assert_eq!(second.expires_at.0 - second.obtained_at.0, 300_000_000);
    assert!(!db.store_token(&lease, &pair(3)).await.unwrap());
    // Another version than the one that stands is nobody's to refresh.
    assert!(
        db.lease_token(&subject, first.version, TERM)
            .await
            .unwrap()
            .is_none()
    );

    // An endpoint that failed is left alone.
    let lease = db
        .lease_token(&subject, second.version, TERM)
        .await
        .unwrap()
        .unwrap();
    let later = Timestamp::now().after(TERM);
    db.token_failed(&lease, "token_unavailable", later)
        .await
        .unwrap();
    let failed = db.token(&subject).await.unwrap().unwrap();
    assert_eq!((failed.failures, failed.not_before), (1, later));
    assert!(
        db.lease_token(&subject, second.version, TERM)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(failed.access, second.access);
    assert!(!format!("{failed:?} {:?} {:?}", pair(1), login()).contains("hush"));

    db.ensure_token("src_x").await.unwrap();
    db.ensure_token("src_x").await.unwrap();
    let none = db.token("src_x").await.unwrap().unwrap();
    assert_eq!((none.version, none.access), (0, None));
}

async fn a_lease_that_ended_stores_nothing_over_what_came_after(database: TestDb) {
    let db = &database.db;
    let (_, connection) = scene(db).await;
    let subject = connection.to_string();
    let lease = async || {
        db.lease_token(&subject, 1, Duration::ZERO)
            .await
            .unwrap()
            .unwrap()
    };
    let (slow, quick) = (lease().await, lease().await);
    assert!(!db.store_token(&slow, &pair(2)).await.unwrap());
    assert!(
        !db.grant_lost(&slow, connection, "invalid_grant")
            .await
            .unwrap()
    );
    db.token_failed(&slow, "token_unavailable", Timestamp::now().after(TERM))
        .await
        .unwrap();
    assert!(db.store_token(&quick, &pair(3)).await.unwrap());
    let now = db.token(&subject).await.unwrap().unwrap();
    assert_eq!(
        (now.version, now.refresh.as_deref()),
        (2, Some("hush-refresh-3"))
    );
    assert!(events(db).await.is_empty());
}

async fn a_lost_grant_is_told_once_and_connected_again(database: TestDb) {
    let db = &database.db;
    let (_, connection) = scene(db).await;
    let subject = connection.to_string();
    let lease = db.lease_token(&subject, 1, TERM).await.unwrap().unwrap();
    assert!(
        db.grant_lost(&lease, connection, "invalid_grant")
            .await
            .unwrap()
    );
    assert!(
        !db.grant_lost(&lease, connection, "invalid_grant")
            .await
            .unwrap()
    );
    db.set_needs_reconnect(connection, "unauthorized")
        .await
        .unwrap();
    let status = async || db.connection(connection).await.unwrap().summary.status;
    assert_eq!(status().await, ConnectionStatus::NeedsReconnect);
    let lost = db.token(&subject).await.unwrap().unwrap();
    assert_eq!((lost.access, lost.refresh), (None, None));
    assert_eq!(lost.error_code.as_deref(), Some("invalid_grant"));
    let told = "connection.needs_reconnect".to_owned();
    let body = r#"{"error_code":"invalid_grant"}"#.to_owned();
    assert_eq!(events(db).await, [(told, subject.clone(), body)]);

    db.reconnect(connection, None, Some(&pair(5)))
        .await
        .unwrap();
    assert_eq!(status().await, ConnectionStatus::Active);
    let again = db.token(&subject).await.unwrap().unwrap();
    assert_eq!(again.version, 3);
    assert_eq!(again.access.as_deref(), Some("hush-access-5"));
    assert_eq!(again.error_code, None);
    assert_eq!(events(db).await[1].0, "connection.reconnected");
    assert!(
        db.reconnect(ConnectionId::new(), None, Some(&pair(5)))
            .await
            .is_err()
    );
}

async fn a_revoked_connection_stores_no_tokens(database: TestDb) {
    let db = &database.db;
    let (_, connection) = scene(db).await;
    let subject = connection.to_string();
    let lease = db.lease_token(&subject, 1, TERM).await.unwrap().unwrap();
    db.revoke_connection(connection).await.unwrap();
    assert!(!db.store_token(&lease, &pair(2)).await.unwrap());
    assert!(
        !db.grant_lost(&lease, connection, "invalid_grant")
            .await
            .unwrap()
    );
    db.set_needs_reconnect(connection, "unauthorized")
        .await
        .unwrap();
    assert!(db.token(&subject).await.unwrap().is_none());
    let status = db.connection(connection).await.unwrap().summary.status;
    assert_eq!(status, ConnectionStatus::Revoked);
    assert!(events(db).await.is_empty());
}

async fn a_login_is_sealed_and_replaced(database: TestDb) {
    let db = &database.db;
    let (source, _) = scene(db).await;
    let open = db.source_login(source).await.unwrap().unwrap();
    assert_eq!((open.login, open.secret), (login().login, login().secret));
    let text: String = sqlx::query("SELECT login, login_secret_sealed AS sealed FROM sources")
        .fetch_one(&db.reader)
        .await
        .map(|row| row.get::<String, _>("login") + &row.get::<String, _>("sealed"))
        .unwrap();
    assert!(!text.contains("hush"));
    let mut other = login();
    (other.login.method, other.secret) = (ClientMethod::Public, None);
    db.set_source_login(source, &other).await.unwrap();
    let open = db.source_login(source).await.unwrap().unwrap();
    assert_eq!(
        (open.login.method, open.secret),
        (ClientMethod::Public, None)
    );
    assert_eq!(
        db.source("portal").await.unwrap().login,
        Some(other.login.clone())
    );
    assert!(db.set_source_login(SourceId::new(), &other).await.is_err());
    assert!(db.source_login(SourceId::new()).await.is_err());
}

fn key(kid: &str, algorithm: SigningAlgorithm) -> NewSigningKey {
    NewSigningKey {
        kid: kid.to_owned(),
        algorithm,
        public_jwk: format!(r#"{{"kid":"{kid}"}}"#),
        pkcs8: kid.as_bytes().to_vec(),
    }
}

async fn keys_change_with_an_overlap(database: TestDb) {
    use SigningAlgorithm::{Es384, Rs384};
    let db = &database.db;
    let first = [key("r1", Rs384), key("e1", Es384)];
    let tries = (0..4).map(|_| db.add_first_signing_keys(&first));
    for done in futures::future::join_all(tries).await {
        done.unwrap();
    }
    let signing = async || {
        let mut names = Vec::new();
        for key in db.signing_keys().await.unwrap() {
            assert_eq!(key.kid.as_bytes(), key.pkcs8);
            names.push(key.kid);
        }
        names.sort();
        names.join(" ")
    };
    let published = async || {
        let mut names = db.published_keys().await.unwrap();
        names.sort();
        names
            .concat()
            .replace(r#"{"kid":""#, "")
            .replace(r#""}"#, " ")
    };
    assert_eq!(
        (signing().await, published().await),
        ("e1 r1".into(), "e1 r1 ".into())
    );
    let overlap = |cached, signed| {
        Some(KeyOverlap {
            cached: Duration::from_secs(cached),
            signed: Duration::from_secs(signed),
        })
    };
    // Published at once; the old ones go on signing.
    db.rotate_signing_keys(&[key("r2", Rs384), key("e2", Es384)], overlap(3600, 300))
        .await
        .unwrap();
    assert_eq!(signing().await, "e1 r1");
    assert_eq!(published().await, "e1 e2 r1 r2 ");
    // With caches that have nothing, the new one signs, and the old one is still there.
    db.rotate_signing_keys(&[key("r3", Rs384)], overlap(0, 3600))
        .await
        .unwrap();
    assert_eq!(signing().await, "e1 r3");
    assert_eq!(published().await, "e1 e2 r1 r2 r3 ");
    // One that is known to others is withdrawn at once.
    db.rotate_signing_keys(&[key("r4", Rs384), key("e4", Es384)], None)
        .await
        .unwrap();
    assert_eq!(signing().await, "e4 r4");
    assert_eq!(published().await, "e4 r4 ");
}
