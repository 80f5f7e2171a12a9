//! Many tokens that end, two workers that want them, and kills: never two refreshes
//! of a grant in flight, and no grant is lost that need not be.
//!
//! A worker is a runtime of its own with its own connections to the database. A kill
//! drops it: whatever it was doing stops where it stands, its sockets are closed, and
//! nothing is given back.

mod readers;
mod workers;

use std::time::{Duration, Instant};

use db::testing::PostgresDatabase;

use super::scene::lost;

use self::workers::Storm;

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
