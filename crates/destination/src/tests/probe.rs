//! Probing a store: nothing stays, and each fault fails its own check.

use std::sync::Arc;

use super::faulty::Fault;
use model::{Check, DestinationId};

use super::*;

#[tokio::test]
async fn a_probe_leaves_nothing_behind() {
    for (destination, _folder) in destinations() {
        destination.probe().await.unwrap();
        let checks = destination.try_all().await;
        assert_eq!(checks.len(), 6);
        assert!(
            checks
                .iter()
                .all(|(_, outcome)| matches!(outcome, Some(Ok(()))))
        );
        assert_eq!(destination.list("").await.unwrap(), []);
    }
}

#[tokio::test]
async fn each_fault_of_a_mock_store_fails_the_check_that_is_for_it() {
    for (fault, check) in [
        (Fault::Overwrites, Check::CreateOnly),
        (Fault::KeepsToItself, Check::Read),
        (Fault::ListsNothing, Check::List),
        (Fault::IsSlow, Check::Clock),
        (Fault::KeepsAll, Check::Delete),
    ] {
        for (destination, _folder) in destinations() {
            let store = Arc::new(faulty::Faulty(Arc::clone(&destination.store), fault));
            let faulty = FileDestination::over(store, destination.id());
            let failed: Vec<Check> = faulty
                .try_all()
                .await
                .into_iter()
                .filter(|(_, outcome)| !matches!(outcome, Some(Ok(()))))
                .map(|(check, _)| check)
                .collect();
            assert_eq!(failed, [check], "{fault:?}");
            faulty.probe().await.unwrap_err();
            let left = destination.list("").await.unwrap();
            assert_eq!(left.is_empty(), fault != Fault::KeepsAll);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_written_leaves_the_rest_untried() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let destination = FileDestination::open(place.to_str().unwrap(), DestinationId::new()).unwrap();
    // A file where the sentinel's folder should be: also to root it is no folder.
    std::fs::write(place.join("_chartlift"), b"").unwrap();
    let checks = destination.try_all().await;
    assert!(
        matches!(checks[0], (Check::Write, Some(Err(_)))),
        "{checks:?}"
    );
    assert!(checks[1..].iter().all(|(_, outcome)| outcome.is_none()));
}
