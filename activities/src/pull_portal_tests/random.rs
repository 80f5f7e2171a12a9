//! Portals that change, repeat, hide and delete resources across pages and pulls
//! and fail at random, some of them without saying what has changed or when: in the end
//! the latest view is the oracle's, and every pull has counted right.
//!
//! `CHARTLIFT_CASES` says how many portals (50), `CHARTLIFT_SEED` with which one to
//! begin. `tests/it/pull_random.rs` does the same with whole runs that are killed.

use std::collections::BTreeSet;

use model::{PullMode, RunState};
use sandbox::Chaos;

use super::scene::{PATIENT, Pulled, Scene};

const PULLS: u64 = 4;

/// Returns how many types were asked for their changes.
async fn run(seed: u64) -> usize {
    let mut chaos = Chaos::new(seed, &[PATIENT]);
    let scene = Scene::new(&[]).await;
    chaos.begin(scene.portal());
    for _ in 0..PULLS {
        scene.knobs(chaos.faults());
        let pulled = if chaos.one_in(4) {
            scene.full_pull().await
        } else {
            scene.pull().await
        };
        is_true(&pulled, seed);
        chaos.change(scene.portal());
    }
    // Without faults: once to have every type whole, once more to see what is gone.
    scene.knobs(chaos.faultless());
    scene.full_pull().await;
    let whole = scene.full_pull().await;
    assert_eq!(whole.pull.state, RunState::Completed, "seed {seed}");
    scene.assert_whole().await;
    // Pulls of what has changed bring all of that, and no deletion where they ask for
    // nothing else; the next full one has those too.
    let (mut deleted, mut updated) = (BTreeSet::new(), 0);
    for _ in 0..2 {
        deleted.extend(chaos.change(scene.portal()));
        let pulled = scene.pull().await;
        is_true(&pulled, seed);
        let modes = Chaos::TYPES
            .iter()
            .filter_map(|name| pulled.types.get(*name)?.mode);
        updated += modes.filter(|mode| *mode == PullMode::Updated).count();
        for key in scene.beyond_whole().await {
            assert!(deleted.contains(&key), "seed {seed}: {key:?}");
            assert_eq!(pulled.mode(&key.0), Some("updated"), "seed {seed}");
        }
    }
    let last = scene.full_pull().await;
    assert_eq!(last.pull.state, RunState::Completed, "seed {seed}");
    scene.assert_whole().await;
    updated
}

fn is_true(pulled: &Pulled, seed: u64) {
    assert!(pulled.pull.counts.is_true(), "seed {seed}: {pulled:?}");
    for of in pulled.types.values() {
        assert!(of.counts.is_true(), "seed {seed}: {of:?}");
    }
}

#[tokio::test]
async fn portals_that_change_and_fail_at_random_are_pulled_whole() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let (first, cases) = (number("CHARTLIFT_SEED", 1), number("CHARTLIFT_CASES", 50));
    let mut updated = 0;
    for seed in first..first + cases {
        updated += run(seed).await;
    }
    println!("{updated} times a type was asked for its changes alone");
    assert!(updated > 0 || cases < 5);
}
