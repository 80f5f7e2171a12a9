//! Tokens, logins and signing keys on both databases.

mod logins;

use std::time::Duration;

use model::{ClientMethod, ConnectionId, ConnectionStatus, SourceId, Timestamp};
use sqlx::Row;

use crate::testing::TestDb;
use crate::{Db, NewConnection, NewSource, NewToken, OpenLogin, SourceAuth, SourceLogin};

crate::on_both!(
    one_of_many_refreshes_and_what_it_gives_is_the_next_version,
    a_lease_that_ended_stores_nothing_over_what_came_after,
    a_lost_grant_is_told_once_and_connected_again,
    a_revoked_connection_stores_no_tokens,
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
