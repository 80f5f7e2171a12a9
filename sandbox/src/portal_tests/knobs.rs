//! What the knobs turn on.

use crate::sample::EDGE_CASE_PATIENT;
use crate::{Knobs, SandboxOptions};
use std::time::Duration;

use super::{Bundle, get, search, start, walk};

#[tokio::test]
async fn knobs_refuse_repeat_and_expire() {
    let sandbox = start(SandboxOptions {
        page_size: 5,
        ..Default::default()
    })
    .await;
    let (base, portal) = (sandbox.base_url(), sandbox.portal());
    let read = format!("{base}/Patient/{EDGE_CASE_PATIENT}");
    let set = |knobs: Knobs| portal.set_knobs(knobs);

    set(Knobs {
        fail_next: 2,
        ..Default::default()
    });
    assert_eq!(
        [get(&read).await.0, get(&read).await.0, get(&read).await.0],
        [503, 503, 200]
    );
    set(Knobs {
        requests_per_second: Some(0),
        ..Default::default()
    });
    assert_eq!(get(&read).await.0, 429);
    set(Knobs {
        status_for_type: [("Patient".into(), 403)].into(),
        ..Default::default()
    });
    assert_eq!(get(&read).await.0, 403);
    set(Knobs {
        hang: ["Patient".into()].into(),
        ..Default::default()
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(100), get(&read))
            .await
            .is_err()
    );

    set(Knobs::default());
    let first = search(&sandbox, "Observation", EDGE_CASE_PATIENT);
    let shown = walk(first.clone()).await.len();
    set(Knobs {
        hidden_from_search: ["Observation/dec-trailing".into()].into(),
        ..Default::default()
    });
    let hidden = format!("{base}/Observation/dec-trailing");
    assert_eq!(walk(first.clone()).await.len(), shown - 1);
    assert_eq!(get(&hidden).await.0, 200);
    set(Knobs {
        status_for_read: [("Observation/dec-trailing".into(), 410)].into(),
        ..Default::default()
    });
    assert_eq!(walk(first.clone()).await.len(), shown);
    assert_eq!(get(&hidden).await.0, 410);
    let whole = walk(first.clone()).await;
    set(Knobs {
        repeat_pages: true,
        ..Default::default()
    });
    let repeated = walk(first.clone()).await;
    assert_eq!(repeated.len(), whole.len() + whole.len().div_ceil(5) - 1);
    assert_eq!(repeated[5], whole[0]);

    set(Knobs {
        expire_cursor_once: true,
        ..Default::default()
    });
    let next = next_of(&get(&first).await.1);
    assert_eq!([get(&next).await.0, get(&next).await.0], [410, 410]);
    assert_eq!(portal.knobs(), Knobs::default());
    assert_eq!(walk(first).await, whole);
}

fn next_of(body: &str) -> String {
    let bundle: Bundle<'_> = serde_json::from_str(body).unwrap();
    bundle.link[1]["url"].clone()
}
