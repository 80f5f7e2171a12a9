//! The portal's state: the data behind a lock, the knobs and the log; and the
//! oracle, which says what a whole pull of a patient must deliver.

use crate::bundle::compact;
use crate::data::Data;
use crate::export::Job;
use crate::knobs::{KnobState, Knobs};
use crate::log::{Log, LogEntry};
use crate::profiles::Profile;
use crate::row::{Key, Row};
use anyhow::ensure;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use url::Url;

/// Types that a pull fetches by reference, wherever the reference stands.
const CLOSURE_TYPES: [&str; 7] = [
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "Specimen",
];

/// The types whose references to observations a pull follows.
const REPORTING_TYPES: [&str; 2] = ["DiagnosticReport", "Observation"];

/// How many references away from what searches find a pull goes.
const DEPTH: usize = 3;

/// A patient of the portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortalPatient {
    /// The id of the Patient resource.
    pub id: String,
    /// Whether there is more than the Patient resource: a Synthea patient, or the owner of the edge cases.
    pub has_history: bool,
}

/// The in-memory portal, to change it and to read what is true. Clones share it.
#[derive(Debug, Clone)]
pub struct Portal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    base: Url,
    data: RwLock<Data>,
    knobs: Mutex<KnobState>,
    log: Mutex<Log>,
    searches: Mutex<u64>,
    jobs: Mutex<BTreeMap<u64, Job>>,
}

impl Portal {
    pub(crate) fn new(base: Url, data: Data, log: Log) -> Self {
        // Numbers go on from the clock: a portal started again does not repeat them.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_micros() as u64);
        let inner = Inner {
            base,
            data: RwLock::new(data),
            knobs: Mutex::default(),
            log: Mutex::new(log),
            searches: Mutex::new(now),
            jobs: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What a whole pull of a patient must deliver: (type, id) to the compact text of the newest version.
    ///
    /// All rows of the patient with a usable type and id that a search can find, by the values that the
    /// knob `demands` grants where it does, and what is at most three references away from them:
    /// practitioners, their roles, organizations, locations, medications, specimens and questionnaires, and
    /// observations that a report or another observation names. A reference counts when it is `Type/id`,
    /// relative or under the sandbox's own base, and its target exists.
    pub fn expected(&self, patient_id: &str) -> BTreeMap<(String, String), Vec<u8>> {
        let (data, knobs) = (self.data(), self.knobs());
        let mut newest: BTreeMap<Key, Arc<Row>> = BTreeMap::new();
        for row in data.owned(patient_id) {
            let Some(key) = &row.key else { continue };
            let demand = knobs.demands.get(row.searched_as());
            if demand.is_some_and(|demand| !demand.reveals(row)) || !knobs.serves(row) {
                continue;
            }
            if newest
                .get(key)
                .is_none_or(|earlier| row.supersedes(earlier))
            {
                newest.insert(key.clone(), Arc::clone(row));
            }
        }
        let mut reached: Vec<Arc<Row>> = newest.values().map(Arc::clone).collect();
        for _ in 0..DEPTH {
            let mut referenced = BTreeSet::new();
            for row in &reached {
                let resource: Value = serde_json::from_slice(&row.raw).unwrap_or_default();
                let reports = row.ty().is_some_and(|ty| REPORTING_TYPES.contains(&ty));
                self.collect_references(&resource, reports, &mut referenced);
            }
            reached.clear();
            for key in referenced {
                if !newest.contains_key(&key)
                    && let Some(row) = data.newest(&key).filter(|row| knobs.serves(row))
                {
                    reached.push(Arc::clone(&row));
                    newest.insert(key, row);
                }
            }
        }
        newest
            .into_iter()
            .map(|(key, row)| (key, compact(&row.raw)))
            .collect()
    }

    pub(crate) fn collect_references(
        &self,
        value: &Value,
        reports: bool,
        found: &mut BTreeSet<Key>,
    ) {
        match value {
            Value::Array(items) => items
                .iter()
                .for_each(|item| self.collect_references(item, reports, found)),
            Value::Object(members) => {
                for (name, member) in members {
                    let reference = match name.as_str() {
                        "reference" => member.as_str(),
                        // A canonical, with or without a version.
                        "questionnaire" => member.as_str().and_then(|text| text.split('|').next()),
                        _ => None,
                    };
                    match reference {
                        Some(text) => found.extend(self.followed_key(text, reports)),
                        None => self.collect_references(member, reports, found),
                    }
                }
            }
            _ => {}
        }
    }

    fn followed_key(&self, reference: &str, reports: bool) -> Option<Key> {
        let under_base = reference
            .strip_prefix(self.base().as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        let (ty, id) = under_base.unwrap_or(reference).split_once('/')?;
        let is_followed = CLOSURE_TYPES.contains(&ty) || (reports && ty == "Observation");
        (is_followed && !id.contains('/')).then(|| (ty.to_owned(), id.to_owned()))
    }

    /// Creates a resource, or replaces all its versions by this one. A resource that names no patient stays
    /// with the patient it had.
    ///
    /// # Panics
    /// If the text is not a JSON object.
    pub fn put(&self, raw: &str) {
        self.try_put(raw.as_bytes())
            .expect("a resource is a JSON object");
    }

    pub(crate) fn try_put(&self, raw: &[u8]) -> anyhow::Result<()> {
        let row = read_row(raw)?.written_at(self.now_us());
        self.inner.data.write().expect("no writer panics").put(row);
        Ok(())
    }

    /// The time by the portal's clock, as `lastUpdated` has it.
    pub fn now(&self) -> String {
        let now = jiff::Timestamp::from_microsecond(self.now_us());
        now.map_or_else(|_| String::new(), |now| now.to_string())
    }

    pub(crate) fn now_us(&self) -> i64 {
        let ahead = self.knob_state().knobs.clock_ahead_s;
        let now = jiff::Timestamp::now().as_microsecond();
        now.saturating_add(ahead.saturating_mul(1_000_000))
    }

    /// Removes a resource with all its versions: a read of it answers 410 from now on. Returns whether it existed.
    pub fn remove(&self, ty: &str, id: &str) -> bool {
        self.inner
            .data
            .write()
            .expect("no writer panics")
            .remove(&(ty.to_owned(), id.to_owned()))
    }

    /// The patients, the sample's first.
    pub fn patients(&self) -> Vec<PortalPatient> {
        let data = self.data();
        let has_history = |id: &str| data.owned(id).any(|row| row.ty() != Some("Patient"));
        data.patient_ids()
            .map(|id| PortalPatient {
                id: id.to_owned(),
                has_history: has_history(id),
            })
            .collect()
    }

    /// Replaces all knobs by those of a profile.
    pub fn set_profile(&self, profile: Profile) {
        self.set_knobs(self.knobs_of(profile));
    }

    /// The knobs of a profile, to change some of them.
    pub fn knobs_of(&self, profile: Profile) -> Knobs {
        profile.knobs(&self.data())
    }

    /// Replaces all knobs.
    pub fn set_knobs(&self, knobs: Knobs) {
        self.knob_state().knobs = knobs;
    }

    /// The knobs as they stand: those that count down show what is left.
    pub fn knobs(&self) -> Knobs {
        self.knob_state().knobs.clone()
    }

    /// What was served so far, oldest first.
    pub fn log(&self) -> Vec<LogEntry> {
        self.log_mut().entries()
    }

    pub(crate) fn base(&self) -> &Url {
        &self.inner.base
    }

    pub(crate) fn data(&self) -> RwLockReadGuard<'_, Data> {
        self.inner.data.read().expect("no writer panics")
    }

    pub(crate) fn knob_state(&self) -> MutexGuard<'_, KnobState> {
        self.inner.knobs.lock().expect("no holder panics")
    }

    pub(crate) fn log_mut(&self) -> MutexGuard<'_, Log> {
        self.inner.log.lock().expect("no holder panics")
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, BTreeMap<u64, Job>> {
        self.inner.jobs.lock().expect("no holder panics")
    }

    /// How many exports have not been ended by whoever asked for them.
    pub fn open_exports(&self) -> usize {
        self.jobs().len()
    }

    /// A number that tells this search from all others.
    pub(crate) fn next_search(&self) -> u64 {
        let mut searches = self.inner.searches.lock().expect("no holder panics");
        *searches += 1;
        *searches
    }
}

/// Any JSON object may be a row, usable or not; anything else would break the page that holds it.
pub(crate) fn read_row(raw: &[u8]) -> anyhow::Result<Row> {
    let raw = raw.trim_ascii();
    let is_object =
        raw.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(raw).is_ok();
    ensure!(is_object, "a resource is a JSON object, and this is not");
    Ok(Row::new(Bytes::copy_from_slice(raw)))
}
