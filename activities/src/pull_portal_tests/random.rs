//! Portals that change, repeat, hide and delete resources across pages and pulls
//! and fail at random, some of them without saying what has changed or when: in the end
//! the latest view is the oracle's, and every pull has counted right.
//!
//! `CHARTLIFT_CASES` says how many portals (50), `CHARTLIFT_SEED` with which one to
//! begin.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{PullMode, RunState, fhir_instant};
use sandbox::{Answer, Body, Knobs, Links};

use super::scene::{Pulled, Scene, answer, observation, resource};

const TYPES: [&str; 3] = ["Observation", "Condition", "Procedure"];
const PULLS: u64 = 4;

/// Numbers that follow from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A resource of number `n` with random content, a type's own category and a random
/// reference, written at that time; a few do not say when.
fn some_resource(random: &mut Random, n: u64, at: &str) -> String {
    let meta = format!(r#","meta":{{"lastUpdated":"{at}"}}"#);
    let meta = if random.one_in(60) { "" } else { &meta };
    let rest = format!(
        r#"{meta},"valueInteger":{},"performer":[{{"reference":"Practitioner/{}"}}],"category":[{{"coding":[{{"code":"{}"}}]}}]"#,
        random.below(1_000),
        random.below(4),
        random.pick(&["laboratory", "vital-signs"])
    );
    let name = TYPES[n as usize % TYPES.len()];
    match name {
        "Observation" => observation(&format!("r-{n}"), &rest),
        _ => resource(name, &format!("r-{n}"), &rest),
    }
}

fn some_faults(random: &mut Random, count: u64, clock_ahead_s: i64) -> Knobs {
    let mut knobs = Knobs {
        clock_ahead_s,
        repeat_pages: random.one_in(2),
        expire_cursor_once: random.one_in(3),
        fail_next: u32::from(random.one_in(16)),
        page_size: Some(1 + random.below(6) as usize),
        counts_the_page: random.one_in(2),
        ..Knobs::default()
    };
    for _ in 0..random.below(4) {
        let n = random.below(count);
        let name = TYPES[n as usize % TYPES.len()];
        knobs.hidden_from_search.insert(format!("{name}/r-{n}"));
    }
    for name in TYPES {
        let lies = [
            &mut knobs.ignores_last_updated,
            &mut knobs.hides_last_updated,
            &mut knobs.refuses_last_updated,
        ];
        for lie in lies {
            if random.one_in(5) {
                lie.insert(name.to_owned());
            }
        }
        let links = [
            Links::Session,
            Links::PathCase,
            Links::Relative,
            Links::Dangling,
            Links::EmptyPages,
            Links::Loop,
            Links::Foreign,
        ];
        if random.one_in(2) {
            knobs
                .next_links
                .insert(name.to_owned(), random.pick(&links));
        }
        let fault = |random: &mut Random| {
            let fault = random.pick(&[
                (200, Body::Truncated),
                (500, Body::Outcome),
                (502, Body::Html),
                (401, Body::Html),
                (404, Body::Html),
                (410, Body::Outcome),
            ]);
            let times = random.one_in(2).then(|| 1 + random.below(2) as u32);
            Answer {
                times,
                ..answer(fault.0, fault.1)
            }
        };
        if random.one_in(4) {
            knobs.answers.insert(name.to_owned(), fault(random));
        }
        if random.one_in(4) {
            knobs.next_answers.insert(name.to_owned(), fault(random));
        }
    }
    knobs
}

/// The portal changes a few resources and deletes a few; returns those.
fn change(random: &mut Random, scene: &Scene, count: u64) -> BTreeSet<(String, String)> {
    let mut deleted = BTreeSet::new();
    for _ in 0..random.below(6) {
        let n = random.below(count + 3);
        let (portal, key) = (scene.portal(), key(n));
        if random.one_in(3) {
            portal.remove(&key.0, &key.1);
            deleted.insert(key);
        } else {
            portal.put(&some_resource(random, n, &portal.now()));
            deleted.remove(&key);
        }
    }
    deleted
}

fn key(n: u64) -> (String, String) {
    (TYPES[n as usize % TYPES.len()].to_owned(), format!("r-{n}"))
}

/// Returns how many types were asked for their changes.
async fn run(seed: u64) -> usize {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let practitioner = |n| format!(r#"{{"resourceType":"Practitioner","id":"{n}"}}"#);
    let scene = Scene::new(&(0..4).map(practitioner).collect::<Vec<_>>()).await;
    // A clock may be wrong, but it goes on.
    let clock_ahead_s = random.pick(&[0, 7_200, -7_200]);
    let faultless = Knobs {
        clock_ahead_s,
        ..Knobs::default()
    };
    scene.knobs(faultless.clone());
    let count = 10 + random.below(40);
    let long_ago = fhir_instant(&scene.portal().now()).unwrap();
    for n in 0..count {
        let at = long_ago.before(Duration::from_secs(3_600 * (1 + n)));
        let resource = some_resource(&mut random, n, &at.to_string());
        scene.portal().put(&resource);
    }
    for _ in 0..PULLS {
        scene.knobs(some_faults(&mut random, count, clock_ahead_s));
        let pulled = if random.one_in(4) {
            scene.full_pull().await
        } else {
            scene.pull().await
        };
        is_true(&pulled, seed);
        change(&mut random, &scene, count);
    }
    // Without faults: once to have every type whole, once more to see what is gone.
    scene.knobs(faultless);
    scene.full_pull().await;
    let whole = scene.full_pull().await;
    assert_eq!(whole.pull.state, RunState::Completed, "seed {seed}");
    scene.assert_whole().await;
    // Pulls of what has changed bring all of that, and no deletion where they ask for
    // nothing else; the next full one has those too.
    let (mut deleted, mut updated) = (BTreeSet::new(), 0);
    for _ in 0..2 {
        deleted.extend(change(&mut random, &scene, count));
        let pulled = scene.pull().await;
        is_true(&pulled, seed);
        let modes = TYPES
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
