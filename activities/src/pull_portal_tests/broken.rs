//! Resources that are broken on their way: each is set aside alone, and the
//! coverage says why.

use sandbox::{Break, Knobs};

use super::scene::{Scene, observation};

#[tokio::test]
async fn each_broken_resource_is_set_aside_alone() {
    let ways = [
        (Break::BrokenJson, "rejected_broken_json"),
        (Break::DuplicateKey, "rejected_duplicate_key"),
        (Break::TooDeep, "rejected_too_deep"),
        (Break::LoneSurrogate, "rejected_lone_surrogate"),
        (Break::NotUtf8, "rejected_not_utf8"),
        (Break::NoId, "rejected_no_id"),
    ];
    let resources: Vec<String> = (0..20)
        .map(|n| observation(&format!("o-{n:02}"), ""))
        .collect();
    for (way, code) in ways {
        let scene = Scene::new(&resources).await;
        scene.pull().await;
        scene.knobs(Knobs {
            breaks: [("Observation/o-03".to_owned(), way)].into(),
            ..Knobs::default()
        });
        let pulled = scene.pull().await;
        assert_eq!(pulled.end("Observation").0, "complete", "{way:?}");
        assert_eq!(pulled.notes("Observation"), [(code, 1)], "{way:?}");
        let counts = pulled.types["Observation"].counts;
        assert_eq!((counts.unchanged, counts.rejected), (19, 1), "{way:?}");
        assert!(counts.is_true() && counts.deleted == 0, "{way:?}");
        // What was whole before stays.
        assert_eq!(scene.latest().await.len(), 21, "{way:?}");
    }
}

/// Several in one page, of which none takes another along.
#[tokio::test]
async fn a_page_of_broken_resources_gives_what_is_whole() {
    let resources: Vec<String> = (0..10)
        .map(|n| observation(&format!("o-{n:02}"), ""))
        .collect();
    let scene = Scene::new(&resources).await;
    let ways = [Break::BrokenJson, Break::NotUtf8, Break::BrokenJson];
    scene.knobs(Knobs {
        breaks: (2..5)
            .map(|n| format!("Observation/o-{n:02}"))
            .zip(ways)
            .collect(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        pulled.notes("Observation"),
        [("rejected_broken_json", 2), ("rejected_not_utf8", 1)]
    );
    assert_eq!(pulled.types["Observation"].counts.new, 7);
}
