//! A portal that bears so many requests a second, and says how often it was asked.

use std::time::Duration;

use anyhow::Result;
use chartlift_tests::{App, generated_patient, number};
use db::SourceLimits;
use model::{ConnectionId, Timestamp};
use sandbox::{Sandbox, SandboxOptions};

use super::PULLS;

const LATENCY: Duration = Duration::from_millis(50);
/// Resources a page.
const PAGE: u64 = 4;
/// Patients of a portal; they are connected again and again.
const PATIENTS: u64 = 4;
/// No ten seconds of a portal may have more requests than its rate allows.
const WINDOW_US: i64 = 10_000_000;

pub(super) struct Portal {
    pub(super) name: String,
    sandbox: Sandbox,
    pub(super) per_second: u32,
    pub(super) connections: Vec<ConnectionId>,
    /// The resources of each of its connections.
    pub(super) expected: Vec<u64>,
}

impl Portal {
    pub(super) async fn start(
        app: &App,
        name: &str,
        per_second: u32,
        connections: u64,
    ) -> Result<Self> {
        let resources = (PAGE * number("CHARTLIFT_REQUESTS", 0)).max(PAGE);
        let extra = (0..PATIENTS)
            .flat_map(|patient| generated_patient(&format!("made-{patient}"), resources, patient));
        let sandbox = Sandbox::start(SandboxOptions {
            latency: LATENCY,
            page_size: PAGE as usize,
            extra: extra.collect(),
            ..SandboxOptions::default()
        })
        .await?;
        let limits = SourceLimits {
            requests_per_second: Some(per_second),
            concurrent_requests: None,
            concurrent_pulls: Some(PULLS),
        };
        let db = &app.core.db;
        app.add_source(name, sandbox.base_url(), limits).await?;
        let mut portal = Self {
            name: name.to_owned(),
            sandbox,
            per_second,
            connections: Vec::new(),
            expected: Vec::new(),
        };
        for number in 0..connections {
            let patient = format!("made-{}", number % PATIENTS);
            let expected = portal.sandbox.portal().expected(&patient).len() as u64;
            let external = format!("{name}-{number}");
            let added =
                activities::register::add_connection(db, &external, name, patient, None).await?;
            portal.connections.push(added);
            portal.expected.push(expected);
        }
        Ok(portal)
    }

    /// When it was asked since, in order.
    pub(super) fn asked(&self, since: Timestamp) -> Vec<i64> {
        let log = self.sandbox.portal().log().into_iter();
        let times = log.map(|entry| entry.at_us).filter(|at| *at >= since.0);
        let mut times: Vec<i64> = times.collect();
        times.sort_unstable();
        times
    }

    /// The most requests that any ten seconds have.
    pub(super) fn most(&self) -> usize {
        let times = self.asked(Timestamp(0));
        let within = times
            .iter()
            .enumerate()
            .map(|(at, from)| times[at..].partition_point(|time| *time < from + WINDOW_US));
        within.max().unwrap_or_default()
    }
}
