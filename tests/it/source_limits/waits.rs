//! How long the steps of pulls waited until a worker began them, by Temporal's histories,
//! and how much of that there was no slot for them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use chartlift_tests::{App, BegunStep, begun_steps, chain};
use model::{ConnectionId, Timestamp};
use serde_json::{Value, json};
use steps::PatientPull;
use temporalio_client::Client;

use super::Portal;

/// The longest waits that are told one by one.
const TOLD: usize = 5;

/// What the steps of a round's pulls waited.
pub(super) struct Waits {
    /// The longest, from being asked for to being begun.
    pub(super) max_ms: u64,
    pub(super) figures: Value,
}

/// The waits of the portals' steps since then, where so many slots are shared with the
/// steps of others.
pub(super) async fn waits(
    app: &App,
    portals: &[Portal],
    others: &[ConnectionId],
    slots: usize,
    since: Timestamp,
) -> Result<Waits> {
    let client = worker::connect(&app.temporal.address(), "default").await?;
    let mut steps = Vec::new();
    for portal in portals {
        steps.extend(steps_of(&client, &portal.connections).await?);
    }
    ensure!(!steps.is_empty(), "no step was begun");
    let mut all = steps_of(&client, others).await?;
    all.extend_from_slice(&steps);
    let (full, at_work_max) = full_spans(&all, slots);

    let mut by_step: BTreeMap<&str, u64> = BTreeMap::new();
    for step in &steps {
        *by_step.entry(&step.step).or_default() += 1;
    }
    // The history of one that was tried again says only when the last attempt began.
    let mut first: Vec<&BegunStep> = steps.iter().filter(|step| step.attempt == 1).collect();
    first.sort_by_key(|step| wait_ms(step));
    let at = |permille: usize| first.get((first.len() - 1) * permille / 1000);
    let at = |permille: usize| at(permille).map_or(0, |step| wait_ms(step));
    let longest = first.iter().rev().take(TOLD).map(|step| {
        json!({
            "step": step.step,
            "ms": wait_ms(step),
            "after_s": step.scheduled.since(since).as_secs(),
        })
    });
    // Where this is less, the machine was busy, and not the slots.
    let for_slot = first.iter().map(|step| overlap_ms(step, &full));
    let figures = json!({
        "steps": by_step,
        "steps_at_work_max": at_work_max,
        "slots": slots,
        "for_slot_max_ms": for_slot.max(),
        "begun_after_ms": { "p50": at(500), "p99": at(990), "p999": at(999), "max": at(1000) },
        "longest": longest.collect::<Vec<_>>(),
    });
    Ok(Waits {
        max_ms: at(1000),
        figures,
    })
}

async fn steps_of(client: &Client, connections: &[ConnectionId]) -> Result<Vec<BegunStep>> {
    let mut steps = Vec::new();
    for connection in connections {
        for history in chain::<PatientPull>(client, &PatientPull::id(*connection)).await? {
            steps.extend(begun_steps(&history)?);
        }
    }
    Ok(steps)
}

fn wait_ms(step: &BegunStep) -> u64 {
    step.started.since(step.scheduled).as_millis() as u64
}

/// When all slots were taken, from and to, and how many were at most.
fn full_spans(steps: &[BegunStep], slots: usize) -> (Vec<(Timestamp, Timestamp)>, usize) {
    let mut edges = Vec::with_capacity(2 * steps.len());
    for step in steps {
        edges.push((step.started, true));
        edges.extend(step.ended.map(|at| (at, false)));
    }
    // One that ends makes room for one that begins then.
    edges.sort_unstable();
    let (mut spans, mut taken, mut taken_max, mut since) = (Vec::new(), 0, 0, None);
    for (at, begins) in edges {
        taken = if begins { taken + 1 } else { taken - 1 };
        taken_max = taken.max(taken_max);
        if taken >= slots {
            since = since.or(Some(at));
        } else if let Some(from) = since.take() {
            spans.push((from, at));
        }
    }
    spans.extend(since.map(|from| (from, Timestamp(i64::MAX))));
    (spans, taken_max)
}

/// How much of a step's wait lies in these spans.
fn overlap_ms(step: &BegunStep, spans: &[(Timestamp, Timestamp)]) -> u64 {
    let of = |(from, to): &(Timestamp, Timestamp)| {
        let (from, to) = ((*from).max(step.scheduled), (*to).min(step.started));
        to.since(from).as_micros() as u64
    };
    spans.iter().map(of).sum::<u64>() / 1000
}

#[test]
fn waits_count_while_all_slots_are_taken() {
    let step = |scheduled: i64, started: i64, ended: Option<i64>| BegunStep {
        step: "pull.pages".to_owned(),
        scheduled: Timestamp(scheduled * 1000),
        started: Timestamp(started * 1000),
        ended: ended.map(|at| Timestamp(at * 1000)),
        attempt: 1,
    };
    let steps = [
        step(0, 0, Some(10)),
        step(0, 5, Some(30)),
        step(2, 10, Some(20)),
        step(12, 40, None),
    ];
    let (full, taken_max) = full_spans(&steps, 2);
    let ms = |from: i64, to: i64| (Timestamp(from * 1000), Timestamp(to * 1000));
    assert_eq!((&full[..], taken_max), (&[ms(5, 10), ms(10, 20)][..], 2));
    let waits = steps.each_ref().map(|step| overlap_ms(step, &full));
    assert_eq!(waits, [0, 0, 5, 8]);
}
