//! Random sequences of pulls against a naive copy of the rules in memory: what is
//! written, read, copied, merged and re-hashed must be what a map would hold.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod checks;
mod log;
mod oracle;
mod pulls;

use std::sync::Arc;

use chartlift_records::Store;
use model::{ConnectionId, PullCounts};
use object_store::memory::InMemory;

use self::log::Log;
use self::oracle::Oracle;
use self::pulls::Pull;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn pulls_settle_as_a_map_would() {
    let iterations = std::env::var("CHARTLIFT_PROPERTY_ITERATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    bolero::check!()
        .with_type::<Vec<Pull>>()
        .with_iterations(iterations.unwrap_or(300))
        .for_each(|pulls| {
            block_on(async {
                let store = Store::new(Arc::new(InMemory::new()));
                let mut log = Log {
                    store,
                    connection: ConnectionId::new(),
                    batches: Vec::new(),
                    index_key: None,
                };
                let mut oracle = Oracle::default();
                for (objects, gone, seed) in pulls.iter().take(5) {
                    let objects = objects
                        .iter()
                        .take(4)
                        .map(|rows| rows.iter().take(16).copied().collect());
                    let pull = &(objects.collect(), gone.clone(), *seed);
                    let batch_seq = oracle.head + 1;
                    let absent = oracle.absent(pull);
                    let expected = oracle.settle(pull);
                    let (settled, found_absent) = log.settle(pull, batch_seq).await;
                    assert_eq!(found_absent, absent);
                    assert_eq!(settled.counts_by_type, expected);
                    assert!(settled.counts_by_type.values().all(PullCounts::is_true));
                    assert_eq!(settled.batch.is_some(), oracle.head == batch_seq);
                    log.check(&oracle, pull.2).await;
                }
            });
        });
}
