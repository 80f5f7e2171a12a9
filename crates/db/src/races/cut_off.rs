//! A server that is not there, refuses, or goes away.

use seal::KeyRing;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::testing::{PostgresDatabase, SERVER, TestDb};
use crate::{Db, Error};

async fn refusal(url: &str) -> String {
    let keys = KeyRing::from_base64(&KeyRing::generate()).unwrap();
    let error = Db::connect(url, keys).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[tokio::test]
async fn what_keeps_it_from_opening_is_said_without_the_password() {
    let Some(database) = PostgresDatabase::create().await else {
        return;
    };
    let server = std::env::var(SERVER).unwrap();
    let mut cases = vec![
        (
            "postgres://ann:hush@127.0.0.1:1/x".to_owned(),
            "does not answer",
        ),
        (
            format!("{}_gone", database.url()),
            "no database of this name",
        ),
    ];
    // One that trusts everybody refuses no password.
    if let Some((who, place)) = server.trim_start_matches("postgres://").rsplit_once('@')
        && let Some((user, _)) = who.split_once(':')
    {
        let wrong = format!("postgres://{user}:hush@{place}");
        cases.push((wrong, "refuses this user"));
    }
    for (url, expected) in cases {
        let text = refusal(&url).await;
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn sessions_that_are_cut_off_cost_no_more_than_another_try() {
    let Some(database) = TestDb::postgres().await else {
        return;
    };
    let cut = "SELECT CAST(COUNT(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..5 {
        let mut other = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        let tx = database.db.writer.begin().await.unwrap();
        other.execute(AssertSqlSafe(cut)).await.unwrap();
        let lost = tx.commit().await.map_err(Error::from);
        assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
        match database.db.is_idle().await {
            Ok(_) | Err(Error::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(database.db.is_idle().await.unwrap());
    }
}
