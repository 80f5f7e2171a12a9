//! Portals that change, repeat, hide and delete resources across pages and pulls
//! and fail at random: in the end the latest view is the oracle's, and every pull
//! has counted right.
//!
//! `CHARTLIFT_CASES` says how many portals (50), `CHARTLIFT_SEED` with which one to
//! begin.

use sandbox::{Answer, Body, Knobs, Links};

use super::scene::{Scene, answer, observation, resource};

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
/// reference.
fn some_resource(random: &mut Random, n: u64) -> String {
    let rest = format!(
        r#","valueInteger":{},"performer":[{{"reference":"Practitioner/{}"}}],"category":[{{"coding":[{{"code":"{}"}}]}}]"#,
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

fn some_faults(random: &mut Random, count: u64) -> Knobs {
    let mut knobs = Knobs {
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

async fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut resources: Vec<String> = (0..4)
        .map(|n| format!(r#"{{"resourceType":"Practitioner","id":"{n}"}}"#))
        .collect();
    let count = 10 + random.below(40);
    resources.extend((0..count).map(|n| some_resource(&mut random, n)));
    let scene = Scene::new(&resources).await;
    for _ in 0..PULLS {
        scene.knobs(some_faults(&mut random, count));
        let pulled = scene.pull().await;
        assert!(pulled.pull.counts.is_true(), "seed {seed}: {pulled:?}");
        for of in pulled.types.values() {
            assert!(of.counts.is_true(), "seed {seed}: {of:?}");
        }
        for _ in 0..random.below(6) {
            let n = random.below(count + 3);
            let portal = scene.portal();
            if random.one_in(3) {
                portal.remove(TYPES[n as usize % TYPES.len()], &format!("r-{n}"));
            } else {
                portal.put(&some_resource(&mut random, n));
            }
        }
    }
    // Without faults: once to have every type whole, once more to see what is gone.
    scene.knobs(Knobs::default());
    scene.pull().await;
    let last = scene.pull().await;
    assert_eq!(last.pull.state, model::RunState::Completed, "seed {seed}");
    scene.assert_whole().await;
}

#[tokio::test]
async fn portals_that_change_and_fail_at_random_are_pulled_whole() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let first = number("CHARTLIFT_SEED", 1);
    for seed in first..first + number("CHARTLIFT_CASES", 50) {
        run(seed).await;
    }
}
