//! Exports that are refused, fail, or tell of errors: the record is searched for.

use model::{RunState, Strategy};
use sandbox::{ExportKnobs, Knobs};

use super::everything::choose;
use super::exports::{KICK_OFF, assert_by_export, exporting, record, with};

/// Both names of the member: `error` before version 4, `outcome` since.
#[tokio::test]
async fn errors_that_an_export_tells_are_told_and_all_is_searched_for() {
    for says_outcome in [false, true] {
        let scene = with(
            &record(),
            exporting(ExportKnobs {
                issues: ["error", "warning", "information"]
                    .map(str::to_owned)
                    .into(),
                says_outcome,
                ..ExportKnobs::default()
            }),
        )
        .await;
        let pulled = scene.pull().await;
        scene.assert_whole().await;
        assert_eq!(
            pulled.notes("OperationOutcome"),
            [("export_errors", 1), ("export_warnings", 2)]
        );
        assert_eq!(pulled.notes("Patient"), [("strategy_failed", 0)]);
        assert_eq!(
            (pulled.asked("Observation?"), pulled.asked("Encounter?")),
            (1, 1)
        );
        assert_eq!(pulled.pull.state, RunState::Completed);
        assert!(pulled.pull.counts.is_true());
    }
}

#[tokio::test]
async fn warnings_of_an_export_are_told_and_nothing_is_searched_for() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            issues: vec!["warning".to_owned()],
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_by_export(&pulled);
    assert_eq!(pulled.notes("OperationOutcome"), [("export_warnings", 1)]);
}

#[tokio::test]
async fn an_export_that_is_always_forgotten_is_searched_for() {
    let knobs = Knobs {
        status_for_type: [("$export-status".to_owned(), 404)].into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        (pulled.asked(KICK_OFF), pulled.asked("Observation?")),
        (3, 1)
    );
    assert_eq!(pulled.notes("Patient"), [("strategy_failed", 0)]);
    // It was begun, so that is no refusal.
    scene.knobs(Knobs::default());
    assert_by_export(&scene.pull().await);
}

#[tokio::test]
async fn a_refused_export_is_searched_for_and_remembered() {
    for status in [400, 403, 404, 405, 501] {
        let knobs = Knobs {
            status_for_type: [("$export".to_owned(), status)].into(),
            ..Knobs::default()
        };
        let scene = with(&record(), knobs).await;
        let pulled = scene.pull().await;
        scene.assert_whole().await;
        assert_eq!(
            (pulled.asked(KICK_OFF), pulled.asked("Observation?")),
            (1, 1)
        );
        assert_eq!(pulled.notes("Patient"), [("strategy_refused", 0)]);
        assert_eq!(pulled.pull.state, RunState::Completed);

        scene.knobs(Knobs::default());
        let again = scene.pull().await;
        assert_eq!(again.asked(KICK_OFF), 0);
        assert_eq!(again.notes("Patient"), [("strategy_refused", 0)]);
        choose(&scene, Strategy::Bulk).await;
        assert_by_export(&scene.pull().await);
    }
}

/// 500 is asked again, and then the record is searched for, this time.
#[tokio::test]
async fn an_export_that_fails_is_searched_for() {
    // A begun one is ended at the source, too.
    for (of, beginning, asked) in [
        ("$export", KICK_OFF, 3),
        ("$export-status", "$export-status", 4),
    ] {
        let knobs = Knobs {
            status_for_type: [(of.to_owned(), 500)].into(),
            ..Knobs::default()
        };
        let scene = with(&record(), knobs).await;
        let pulled = scene.pull().await;
        scene.assert_whole().await;
        assert_eq!(pulled.asked(beginning), asked);
        assert_eq!(pulled.notes("Patient"), [("strategy_failed", 0)]);
        scene.knobs(Knobs::default());
        assert_by_export(&scene.pull().await);
    }
}

/// A server that does not know `patient` exports everybody: such an export is given up
/// and not asked for again.
#[tokio::test]
async fn an_export_of_everybody_is_given_up() {
    let scene = with(&record(), Knobs::default()).await;
    let everybody = scene.portal().patients().into_iter().map(|of| of.id);
    scene.knobs(Knobs {
        given_along: everybody.collect(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        (pulled.asked(KICK_OFF), pulled.asked("Observation?") > 0),
        (1, true)
    );
    assert!(pulled.notes("Patient").contains(&("strategy_refused", 0)));
    assert_eq!(scene.portal().open_exports(), 0);
    assert_eq!(scene.pull().await.asked(KICK_OFF), 0);
}
