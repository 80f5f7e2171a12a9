//! Logins of sources, and the keys that sign for us.

use std::time::Duration;

use model::{ClientMethod, SigningAlgorithm, SourceId};

use crate::NewSigningKey;
use crate::signing_keys::KeyOverlap;
use crate::testing::TestDb;
use sqlx::Row;

use super::{login, scene};

crate::on_both!(a_login_is_sealed_and_replaced, keys_change_with_an_overlap,);

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
