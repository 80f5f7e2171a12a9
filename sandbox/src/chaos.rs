//! A portal's life at random, all of it following from a seed: resources that change and
//! go, and faults that come and go. Tests hold what became of it against
//! [`Portal::expected`].

use crate::faults::{Answer, Body, Links};
use crate::knobs::Knobs;
use crate::portal::Portal;
use std::collections::{BTreeMap, BTreeSet};

/// How far the clock may be wrong: by two hours.
const CLOCKS_S: [i64; 3] = [0, 7_200, -7_200];
/// Practitioners that resources refer to.
const PRACTITIONERS: u64 = 4;
const LINKS: [Links; 7] = [
    Links::Session,
    Links::PathCase,
    Links::Relative,
    Links::Dangling,
    Links::EmptyPages,
    Links::Loop,
    Links::Foreign,
];
const FAULTS: [(u16, Body); 6] = [
    (200, Body::Truncated),
    (500, Body::Outcome),
    (502, Body::Html),
    (401, Body::Html),
    (404, Body::Html),
    (410, Body::Outcome),
];

/// What happens at a portal, by a seed.
#[derive(Debug, Clone)]
pub struct Chaos {
    state: u64,
    patients: Vec<String>,
    /// Resources in the beginning.
    count: u64,
    clock_ahead_s: i64,
}

impl Chaos {
    /// The types that change, go and are answered wrongly.
    pub const TYPES: [&str; 3] = ["Observation", "Condition", "Procedure"];

    /// The life of a portal with these patients, who have up to fifty resources.
    ///
    /// # Panics
    /// If there is no patient.
    #[must_use]
    pub fn new(seed: u64, patients: &[&str]) -> Self {
        assert!(!patients.is_empty(), "a portal has a patient");
        let mut chaos = Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            patients: patients.iter().map(|id| (*id).to_owned()).collect(),
            count: 0,
            clock_ahead_s: 0,
        };
        // A clock may be wrong, but it goes on.
        chaos.clock_ahead_s = chaos.pick(&CLOCKS_S);
        chaos.count = 10 + chaos.below(40);
        chaos
    }

    /// A number below `bound` (xorshift64*).
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// Whether what happens once in so many times happens.
    pub fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Puts the patients, what they refer to and their first resources, and turns all
    /// faults off but the clock's.
    pub fn begin(&mut self, portal: &Portal) {
        portal.set_knobs(self.faultless());
        let mut everybody = Vec::new();
        for n in 0..PRACTITIONERS {
            portal.put(&format!(r#"{{"resourceType":"Practitioner","id":"{n}"}}"#));
            everybody.push(format!(
                r#"{{"individual":{{"reference":"Practitioner/{n}"}}}}"#
            ));
        }
        let everybody = everybody.join(",");
        for patient in &self.patients {
            portal.put(&format!(r#"{{"resourceType":"Patient","id":"{patient}"}}"#));
            // It never goes, and so everybody is always referred to.
            portal.put(&format!(
                r#"{{"resourceType":"Encounter","id":"e-{patient}","subject":{{"reference":"Patient/{patient}"}},"participant":[{everybody}]}}"#
            ));
        }
        let now_us = portal.now_us();
        for n in 0..self.count {
            let hours = 1 + i64::try_from(n).unwrap_or_default();
            let at = jiff::Timestamp::from_microsecond(now_us - hours * 3_600_000_000);
            let resource = self.resource(n, &at.unwrap_or_default().to_string());
            portal.put(&resource);
        }
    }

    /// No faults, but the clock is as it is.
    #[must_use]
    pub fn faultless(&self) -> Knobs {
        Knobs {
            clock_ahead_s: self.clock_ahead_s,
            ..Knobs::default()
        }
    }

    /// Faults of all kinds: lies about changes, links and cursors, resources that no
    /// search finds, refusals and failures, some of which last.
    pub fn faults(&mut self) -> Knobs {
        let mut knobs = Knobs {
            repeat_pages: self.one_in(2),
            expire_cursor_once: self.one_in(3),
            fail_next: u32::from(self.one_in(16)),
            page_size: Some(1 + self.below(6) as usize),
            counts_the_page: self.one_in(2),
            ..self.faultless()
        };
        for _ in 0..self.below(4) {
            let (name, id) = key(self.below(self.count));
            knobs.hidden_from_search.insert(format!("{name}/{id}"));
        }
        for name in Self::TYPES {
            let lies = [
                &mut knobs.ignores_last_updated,
                &mut knobs.hides_last_updated,
                &mut knobs.refuses_last_updated,
            ];
            for lie in lies {
                if self.one_in(5) {
                    lie.insert(name.to_owned());
                }
            }
            if self.one_in(2) {
                knobs.next_links.insert(name.to_owned(), self.pick(&LINKS));
            }
            if self.one_in(4) {
                knobs.answers.insert(name.to_owned(), self.fault());
            }
            if self.one_in(4) {
                knobs.next_answers.insert(name.to_owned(), self.fault());
            }
        }
        knobs
    }

    fn fault(&mut self) -> Answer {
        let (status, body) = self.pick(&FAULTS);
        Answer {
            status,
            body,
            text: "This is refused.".to_owned(),
            headers: BTreeMap::new(),
            times: self.one_in(2).then(|| 1 + self.below(2) as u32),
        }
    }

    /// Changes a few resources, adds some and deletes some; returns those, as (type, id).
    pub fn change(&mut self, portal: &Portal) -> BTreeSet<(String, String)> {
        let mut deleted = BTreeSet::new();
        for _ in 0..self.below(6) {
            let n = self.below(self.count + 3);
            let key = key(n);
            if self.one_in(3) {
                portal.remove(&key.0, &key.1);
                deleted.insert(key);
            } else {
                portal.put(&self.resource(n, &portal.now()));
                deleted.remove(&key);
            }
        }
        deleted
    }

    /// A resource of number `n` with random content, a category and a reference, written
    /// at that time; a few do not say when.
    fn resource(&mut self, n: u64, at: &str) -> String {
        let meta = format!(r#","meta":{{"lastUpdated":"{at}"}}"#);
        let meta = if self.one_in(60) { "" } else { &meta };
        let (name, id) = key(n);
        let patients = self.patients.len() as u64;
        let patient = self.patients[(n / Self::TYPES.len() as u64 % patients) as usize].clone();
        let (value, practitioner) = (self.below(1_000), self.below(PRACTITIONERS));
        let category = self.pick(&["laboratory", "vital-signs"]);
        format!(
            r#"{{"resourceType":"{name}","id":"{id}","subject":{{"reference":"Patient/{patient}"}}{meta},"valueInteger":{value},"performer":[{{"reference":"Practitioner/{practitioner}"}}],"category":[{{"coding":[{{"code":"{category}"}}]}}]}}"#
        )
    }
}

/// (type, id) of the resource of number `n`.
fn key(n: u64) -> (String, String) {
    let name = Chaos::TYPES[(n % Chaos::TYPES.len() as u64) as usize];
    (name.to_owned(), format!("r-{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sandbox, SandboxOptions};

    /// What a seed comes to, without the times.
    async fn lived(seed: u64) -> (Vec<Knobs>, Vec<Vec<(String, String)>>) {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let (portal, mut chaos) = (sandbox.portal(), Chaos::new(seed, &["a", "b"]));
        chaos.begin(portal);
        let (mut knobs, mut views) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            knobs.push(chaos.faults());
            chaos.change(portal);
            let of = ["a", "b"].map(|patient| portal.expected(patient).into_keys());
            views.push(of.into_iter().flatten().collect());
        }
        (knobs, views)
    }

    #[tokio::test]
    async fn a_seed_is_lived_the_same_again_and_another_is_not() {
        let once = lived(7).await;
        assert_eq!(once, lived(7).await);
        assert_ne!(once, lived(8).await);
        for view in &once.1 {
            for patient in ["a", "b"] {
                assert!(view.contains(&("Patient".to_owned(), patient.to_owned())));
            }
            // Everybody is referred to by both, whatever goes.
            let shared = view.iter().filter(|(name, _)| name == "Practitioner");
            assert_eq!(shared.count(), 2 * PRACTITIONERS as usize);
            assert!(view.len() > 2 * (2 + PRACTITIONERS as usize));
        }
    }
}
