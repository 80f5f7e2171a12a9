//! Copies that carry less than the resource: masked, redacted or a part of it.

use model::content_hash;

use super::scene::{Pulled, Scene, observation};

const REDACTED: &str = r#","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"REDACTED"}]}"#;
const SUBSETTED: &str = r#","meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}"#;
const MASKED: &str = r#","dataAbsentReason":{"coding":[{"code":"masked"}]}"#;

fn copy(mark: &str, value: u32) -> String {
    observation("o", &format!(r#"{mark},"status":"final{value}""#))
}

async fn holds(scene: &Scene, text: &str) -> bool {
    let latest = scene.latest().await;
    let key = ("Observation".to_owned(), "o".to_owned());
    latest.get(&key) == Some(&content_hash(text.as_bytes()).to_string())
}

fn notes(pulled: &Pulled) -> Vec<(&str, u64)> {
    assert!(pulled.pull.counts.is_true(), "{pulled:?}");
    assert!(pulled.types["Observation"].counts.is_true());
    pulled.notes("Observation")
}

#[tokio::test]
async fn a_masked_copy_does_not_replace_a_whole_one() {
    for mark in [REDACTED, SUBSETTED, MASKED] {
        let whole = copy("", 1);
        let scene = Scene::new(std::slice::from_ref(&whole)).await;
        assert!(notes(&scene.pull().await).is_empty());
        scene.portal().put(&copy(mark, 2));
        for _ in 0..2 {
            let pulled = scene.pull().await;
            assert_eq!(notes(&pulled), [("masked", 1), ("masked_left_out", 1)]);
            assert_eq!(pulled.types["Observation"].counts.superseded, 1);
            assert_eq!(pulled.types["Observation"].counts.deleted, 0);
            assert_eq!(pulled.pull.batch_seq, None);
            assert!(holds(&scene, &whole).await);
        }
        // Whole again, it is taken.
        let whole = copy("", 3);
        scene.portal().put(&whole);
        assert_eq!(scene.pull().await.types["Observation"].counts.changed, 1);
        assert!(holds(&scene, &whole).await);
    }
}

#[tokio::test]
async fn a_masked_copy_alone_is_kept_until_there_is_a_better_one() {
    let masked = copy(REDACTED, 1);
    let scene = Scene::new(std::slice::from_ref(&masked)).await;
    let pulled = scene.pull().await;
    assert_eq!(notes(&pulled), [("masked", 1)]);
    assert!(holds(&scene, &masked).await);
    let newer = copy(MASKED, 2);
    scene.portal().put(&newer);
    let pulled = scene.pull().await;
    assert_eq!(notes(&pulled), [("masked", 1)]);
    assert_eq!(pulled.types["Observation"].counts.changed, 1);
    assert!(holds(&scene, &newer).await);
    let whole = copy("", 3);
    scene.portal().put(&whole);
    let pulled = scene.pull().await;
    assert!(notes(&pulled).is_empty());
    assert!(holds(&scene, &whole).await);
}

/// One pull meets both, in either order.
#[tokio::test]
async fn of_two_copies_in_one_pull_the_whole_one_is_kept() {
    let (whole, masked) = (copy("", 1), copy(SUBSETTED, 1));
    for both in [
        [whole.clone(), masked.clone()],
        [masked.clone(), whole.clone()],
    ] {
        let scene = Scene::new(&both).await;
        let pulled = scene.pull().await;
        assert_eq!(notes(&pulled), [("masked", 1)]);
        assert_eq!(pulled.types["Observation"].counts.superseded, 1);
        assert!(holds(&scene, &whole).await);
        assert_eq!(scene.pull().await.pull.batch_seq, None);
    }
}
