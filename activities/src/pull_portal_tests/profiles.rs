//! Portals as a whole, of each profile of the sandbox: what can be had of them is had,
//! and the coverage names the rest.

use sandbox::Profile;

use super::scene::{Pulled, Scene};

/// A portal of each profile gives all that a client can get of it, and the coverage
/// names what it does not.
#[tokio::test]
async fn a_portal_of_each_profile_is_pulled_whole() {
    for (profile, incomplete) in [
        (
            Profile::EpicLike,
            &[
                ("Condition", "suppressed", "suppressed"),
                ("ImagingStudy", "refused", "insufficient_scope"),
                ("Observation", "suppressed", "values_refused"),
                ("SupplyDelivery", "refused", "refused"),
            ][..],
        ),
        (Profile::AthenaLike, &[]),
        (
            Profile::CernerLike,
            &[("SupplyDelivery", "refused", "unauthorized")],
        ),
    ] {
        let scene = Scene::of_sample().await;
        scene.portal().set_profile(profile);
        let pulled = scene.pull().await;
        assert_eq!(ends(&pulled), incomplete, "{profile:?}");
        scene.assert_whole().await;
        assert!(pulled.pull.counts.is_true());
        let again = scene.pull().await;
        assert_eq!(ends(&again), incomplete, "{profile:?}");
        assert_eq!(again.pull.batch_seq, None, "{profile:?}");
    }
}

/// A hostile portal costs what it spoils and no more.
#[tokio::test]
async fn a_hostile_portal_costs_what_it_spoils() {
    let scene = Scene::of_sample().await;
    scene.portal().set_profile(Profile::Hostile);
    let pulled = scene.pull().await;
    let expected = [
        ("CareTeam", "gave_up", "source_protocol"),
        ("Claim", "gave_up", "source_protocol"),
        ("Device", "gave_up", "source_failed"),
        ("ExplanationOfBenefit", "truncated", "foreign_link"),
        ("Procedure", "truncated", "cursor_loop"),
    ];
    assert_eq!(ends(&pulled), expected);
    assert!(pulled.pull.counts.is_true());
    assert!(pulled.types["Condition"].counts.rejected > 0);
    assert_eq!(pulled.end("Immunization"), ("complete", None));
}

/// The types that were not had whole.
fn ends(pulled: &Pulled) -> Vec<(&str, &str, &str)> {
    pulled
        .types
        .values()
        .filter(|of| of.outcome != model::TypeOutcome::Complete)
        .map(|of| {
            let code = of.error_code.as_deref().unwrap_or_default();
            (of.resource_type.as_str(), of.outcome.as_str(), code)
        })
        .collect()
}
