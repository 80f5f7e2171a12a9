use std::time::Duration;

use futures::future::join_all;
use model::{SourceId, Timestamp};

use super::{Lease, SourceRate, Throttled, TurnsAsked};
use crate::testing::TestDb;

crate::on_both!(
    turns_of_many_workers_do_not_overlap,
    a_turn_is_never_in_the_past,
    of_many_who_are_throttled_at_once_one_counts,
    a_source_that_wants_to_be_left_alone_is_left_alone_by_all,
);

const SECOND: Duration = Duration::from_secs(1);

fn asked(limit: Option<u32>) -> TurnsAsked {
    TurnsAsked {
        limit,
        span: Duration::from_millis(100),
        patience: 2 * SECOND,
        took: None,
    }
}

fn throttled(limit: Option<u32>) -> Throttled {
    Throttled {
        limit,
        ..Throttled::default()
    }
}

/// Uses a rate to the full for so long; how many turns that were, and the time then.
fn used(
    rate: &mut SourceRate,
    limit: Option<u32>,
    from: Timestamp,
    long: Duration,
) -> (u64, Timestamp) {
    let (mut turns, mut now) = (0, from);
    while now < from.after(long) {
        match rate.lease(&asked(limit), now) {
            Lease::Turns { count, .. } => turns += u64::from(count),
            Lease::Later { after, .. } => now = now.after(after),
            Lease::Free => panic!("nothing holds it back"),
        }
    }
    (turns, now)
}

fn milli(rate: &SourceRate, limit: Option<u32>, now: Timestamp) -> Option<u64> {
    rate.milli_per_second(limit, now)
}

#[test]
fn a_rate_is_used_and_not_exceeded() {
    for limit in [1, 7, 50, 1000] {
        let mut rate = SourceRate::default();
        let now = Timestamp::now();
        let (turns, _) = used(&mut rate, Some(limit), now, 10 * SECOND);
        // What is leased ahead is within the patience, and a lease more.
        let most = u64::from(limit) * 121 / 10 + 1;
        let least = u64::from(limit) * 95 / 10;
        assert!((least..=most).contains(&turns), "{turns} of {limit}/s");
    }
}

#[test]
fn what_throttles_is_asked_less_often_down_to_a_floor() {
    let limit = Some(50);
    let (mut rate, mut now) = (SourceRate::default(), Timestamp::now());
    assert_eq!(milli(&rate, limit, now), Some(50_000));
    assert!(!rate.is_throttled(now));
    rate.throttle(&throttled(limit), now);
    assert_eq!(milli(&rate, limit, now), Some(35_000));
    assert!(rate.is_throttled(now));
    // What comes of the same moment counts once.
    rate.throttle(&throttled(limit), now.after(SECOND / 2));
    assert_eq!(milli(&rate, limit, now), Some(35_000));
    for _ in 0..30 {
        now = now.after(SECOND);
        rate.throttle(&throttled(limit), now);
    }
    assert_eq!(milli(&rate, limit, now), Some(1_000));
}

#[test]
fn use_lets_a_rate_grow_back_to_its_limit_and_no_further() {
    let limit = Some(50);
    let (mut rate, now) = (SourceRate::default(), Timestamp::now());
    rate.throttle(&throttled(limit), now);
    // Time alone does nothing.
    let idle = now.after(60 * SECOND);
    assert_eq!(milli(&rate, limit, idle), Some(35_000));
    let (_, then) = used(&mut rate, limit, idle, 5 * SECOND);
    let grown = milli(&rate, limit, then).unwrap();
    assert!((40_000..50_000).contains(&grown), "{grown}");
    let (_, then) = used(&mut rate, limit, then, 10 * SECOND);
    assert_eq!(milli(&rate, limit, then), Some(50_000));
    assert!(!rate.is_throttled(then));

    // One that was throttled for long is back within minutes.
    for second in 0..30 {
        rate.throttle(&throttled(limit), then.after(second * SECOND));
    }
    let (_, then) = used(&mut rate, limit, then.after(30 * SECOND), 310 * SECOND);
    assert_eq!(milli(&rate, limit, then), Some(50_000));
}

#[test]
fn what_a_source_bore_long_ago_is_forgotten() {
    let limit = Some(50);
    let (mut rate, now) = (SourceRate::default(), Timestamp::now());
    rate.throttle(&throttled(limit), now);
    let soon = now.after(599 * SECOND);
    assert_eq!(milli(&rate, limit, soon), Some(35_000));
    let later = now.after(601 * SECOND);
    assert_eq!(milli(&rate, limit, later), Some(50_000));
    // A lower limit counts at once.
    assert_eq!(milli(&rate, Some(20), now), Some(20_000));
}

#[test]
fn a_source_without_a_limit_has_a_rate_while_it_throttles() {
    let (mut rate, now) = (SourceRate::default(), Timestamp::now());
    assert_eq!(rate.lease(&asked(None), now), Lease::Free);
    let busy = Throttled {
        asked_per_second: 40,
        ..Throttled::default()
    };
    rate.throttle(&busy, now);
    // Others may have asked as often.
    assert_eq!(milli(&rate, None, now), Some(56_000));
    let (turns, then) = used(&mut rate, None, now, 10 * SECOND);
    assert!((560..1_000).contains(&turns), "{turns}");
    assert!(milli(&rate, None, then) > Some(60_000));
    let mut quiet = SourceRate::default();
    quiet.throttle(&throttled(None), now);
    assert_eq!(milli(&quiet, None, now), Some(35_000));
    // Nothing was heard of it for long.
    let later = then.after(610 * SECOND);
    assert_eq!(rate.lease(&asked(None), later), Lease::Free);
}

#[test]
fn requests_that_take_long_are_remembered_smoothly() {
    let (mut rate, now) = (SourceRate::default(), Timestamp::now());
    let took = |ms| TurnsAsked {
        took: Some(Duration::from_millis(ms)),
        ..asked(Some(1000))
    };
    rate.lease(&took(50), now);
    assert_eq!(rate.request_us, Some(50_000));
    rate.lease(&took(90), now);
    assert_eq!(rate.request_us, Some(60_000));
    rate.lease(&asked(Some(1000)), now);
    assert_eq!(rate.request_us, Some(60_000));
}

async fn turns_of_many_workers_do_not_overlap(database: TestDb) {
    // Three turns each.
    let asked = TurnsAsked {
        limit: Some(5),
        span: Duration::from_millis(630),
        patience: Duration::MAX,
        took: None,
    };
    let tasks = (0..8).map(|_| {
        let db = database.db.clone();
        tokio::spawn(async move {
            let mut leased = Vec::new();
            for _ in 0..10 {
                match db.lease_turns("src_a", &asked).await.unwrap() {
                    Lease::Turns {
                        first,
                        interval,
                        count: 3,
                    } => leased.push((first.0, interval)),
                    other => panic!("{other:?}"),
                }
            }
            leased
        })
    });
    let leases = join_all(tasks).await.into_iter();
    let mut leases: Vec<(i64, Duration)> = leases.flat_map(|of| of.unwrap()).collect();
    leases.sort_unstable();
    assert_eq!(leases.len(), 80);
    for pair in leases.windows(2) {
        assert_eq!(pair[0].1, Duration::from_millis(208));
        assert!(pair[1].0 - pair[0].0 >= 624_000, "{pair:?}");
    }
    // Another subject has turns of its own.
    let other = database.db.lease_turns("src_b", &asked).await.unwrap();
    assert!(matches!(other, Lease::Turns { first, .. } if first.0 < leases[79].0));
}

async fn a_turn_is_never_in_the_past(database: TestDb) {
    for _ in 0..3 {
        let before = Timestamp::now();
        let lease = database.db.lease_turns("src_a", &asked(Some(1000))).await;
        assert!(matches!(lease.unwrap(), Lease::Turns { first, .. } if first >= before));
    }
}

async fn of_many_who_are_throttled_at_once_one_counts(database: TestDb) {
    let (db, source, limit) = (&database.db, SourceId::new(), Some(50));
    let subject = source.to_string();
    let told = Throttled {
        limit,
        asked_per_second: 9,
        hold: SECOND,
    };
    for rate in join_all((0..20).map(|_| db.throttle(&subject, &told))).await {
        let rate = rate.unwrap();
        assert_eq!(milli(&rate, limit, Timestamp::now()), Some(35_000));
    }
    let rates = db.source_rates().await.unwrap();
    assert_eq!(rates[&source], db.source_rate(source).await.unwrap());
    assert_eq!(rates[&source].milli_per_second, Some(35_000));
    let never = db.source_rate(SourceId::new()).await.unwrap();
    assert_eq!(never, SourceRate::default());
}

async fn a_source_that_wants_to_be_left_alone_is_left_alone_by_all(database: TestDb) {
    let (db, limit) = (&database.db, Some(50));
    let told = Throttled {
        limit,
        asked_per_second: 9,
        hold: 60 * SECOND,
    };
    db.throttle("src_a", &told).await.unwrap();
    let held = db.lease_turns("src_a", &asked(limit)).await.unwrap();
    let Lease::Later { after, is_held } = held else {
        panic!("{held:?}");
    };
    assert!(is_held && after > 50 * SECOND, "{held:?}");
    // A shorter wish does not end a longer one; who is patient is told when.
    let told = Throttled {
        hold: SECOND,
        ..told
    };
    let rate = db.throttle("src_a", &told).await.unwrap();
    let now = Timestamp::now();
    assert!(rate.wait(now) > 50 * SECOND && rate.held_until(now).is_some());
    let patient = TurnsAsked {
        patience: Duration::MAX,
        ..asked(limit)
    };
    let leased = db.lease_turns("src_a", &patient).await.unwrap();
    assert!(matches!(leased, Lease::Turns { first, .. } if first.since(now) > 50 * SECOND));
    // One that is only busy says so.
    let two = TurnsAsked {
        span: 60 * SECOND,
        ..asked(limit)
    };
    db.lease_turns("src_b", &two).await.unwrap();
    let busy = db.lease_turns("src_b", &two).await.unwrap();
    assert!(
        matches!(busy, Lease::Later { is_held: false, .. }),
        "{busy:?}"
    );
}
