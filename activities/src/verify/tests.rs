//! A small deployment in a folder, made by the same calls as the steps make,
//! then damaged: each damage is found under its own code, and nothing is found
//! where there is none.

pub(crate) mod deployment;
mod logs;

use model::{FileFormat, ObjectKey, RunState};

use self::deployment::{Bend, Deployment, flip};
use super::{VerifyOptions, verify};

#[tokio::test]
async fn what_is_sound_is_clean_in_every_format() {
    for format in FileFormat::ALL {
        let deployment = Deployment::with_history(*format).await;
        for bodies in [true, false] {
            let report = verify(
                &deployment.db,
                &deployment.store,
                &deployment.destinations(),
                &VerifyOptions { bodies },
            )
            .await
            .unwrap();
            assert!(report.is_clean(), "{format}: {:#?}", report.findings);
            let checked = report.checked;
            assert_eq!(
                (checked.connections, checked.batches, checked.rows),
                (2, 4, 10)
            );
            assert_eq!(
                (checked.pulls, checked.exports, checked.publications),
                (4, 2, 2)
            );
            assert_eq!((checked.orphans, checked.publications_not_compared), (0, 0));
            // Six rows at first; then a changed patient, a new observation and a deletion.
            assert_eq!(checked.part_rows, if bodies { 9 } else { 0 });
        }
    }
}

#[tokio::test]
async fn what_is_in_flight_is_listed_and_not_judged() {
    let mut deployment = Deployment::with_history(FileFormat::NdjsonGzip).await;
    deployment
        .pull(1, &[("Patient", "person-1", 2)], &[], Bend::default())
        .await;
    deployment
        .export(Bend {
            undecided: true,
            ..Bend::default()
        })
        .await;
    let report = deployment.verify().await;
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(
        (report.in_flight.len(), report.checked.publications_ahead),
        (1, 0)
    );
    let run = report.in_flight[0].parse().unwrap();
    deployment
        .db
        .end_export(
            run,
            RunState::Failed,
            Some("publish_undecided"),
            db::BackOff::default(),
        )
        .await
        .unwrap();
    let report = deployment.verify().await;
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(
        (
            report.in_flight.len(),
            report.checked.publications_ahead,
            report.checked.orphans
        ),
        (0, 1, 0)
    );
    let stray = ObjectKey::Publication { number: 4 }.to_string();
    std::fs::write(deployment.delivered(&stray), b"{}").unwrap();
    assert_eq!(deployment.found().await, [("I4", "publication_ahead")]);
}

#[tokio::test]
async fn a_damaged_destination_is_found() {
    for format in [FileFormat::Ndjson, FileFormat::Parquet] {
        let deployment = Deployment::with_history(format).await;
        let part = deployment
            .files
            .publication(1)
            .await
            .unwrap()
            .unwrap()
            .parts
            .remove(0);
        let path = deployment.delivered(&part.path);
        let sound = std::fs::read(&path).unwrap();

        flip(&path, 20);
        assert_eq!(deployment.found().await, [("I1", "part_changed")]);
        std::fs::write(&path, &sound[1..]).unwrap();
        assert_eq!(deployment.found().await, [("I1", "part_changed")]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(deployment.found().await, [("I1", "part_missing")]);
        let sizes = VerifyOptions { bodies: false };
        let report = verify(
            &deployment.db,
            &deployment.store,
            &deployment.destinations(),
            &sizes,
        )
        .await
        .unwrap();
        assert_eq!(report.findings[0].code, "part_missing");
        std::fs::write(&path, &sound).unwrap();

        // A left-over is counted, and no finding.
        std::fs::write(path.with_file_name("left-over"), b"").unwrap();
        let report = deployment.verify().await;
        assert_eq!((report.is_clean(), report.checked.orphans), (true, 1));

        let publication = deployment.delivered(&ObjectKey::Publication { number: 1 }.to_string());
        let sound = std::fs::read_to_string(&publication).unwrap();
        std::fs::write(
            &publication,
            sound.replacen("\"row_count\":2", "\"row_count\":3", 1),
        )
        .unwrap();
        let found = deployment.found().await;
        assert!(
            found.contains(&("I8", "publication_counts_wrong")),
            "{found:?}"
        );
        assert!(found.contains(&("I8", "part_rows_wrong")), "{found:?}");
        std::fs::write(&publication, "{").unwrap();
        let found = deployment.found().await;
        assert_eq!(found, [("I4", "publication_unreadable")]);
        std::fs::remove_file(&publication).unwrap();
        assert_eq!(deployment.found().await, [("I4", "publication_missing")]);

        std::fs::remove_file(deployment.delivered("_chartlift/owner.json")).unwrap();
        assert_eq!(deployment.found().await, [("I4", "owner_missing")]);
        std::fs::remove_dir_all(deployment.delivered("")).unwrap();
        assert_eq!(deployment.found().await, [("I4", "owner_missing")]);
        assert!(!deployment.delivered("").exists());
    }
}

#[tokio::test]
async fn a_damaged_record_store_is_found() {
    let deployment = Deployment::with_history(FileFormat::Parquet).await;
    let batch = deployment.batches(0).await.swap_remove(1);
    let path = deployment.stored(&batch.object_key);
    let sound = std::fs::read(&path).unwrap();
    // In a frame, and in the footer's end.
    for at in [9, sound.len() - 40] {
        flip(&path, at);
        assert!(
            deployment
                .found()
                .await
                .starts_with(&[("I1", "batch_corrupt")])
        );
        std::fs::write(&path, &sound).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(deployment.found().await, [("I1", "batch_missing")]);
    // Another batch's object in its place.
    let other = deployment.stored(&deployment.batches(0).await[0].object_key);
    std::fs::copy(other, &path).unwrap();
    let found = deployment.found().await;
    for expected in [
        ("I1", "batch_size_wrong"),
        ("I1", "batch_misnumbered"),
        ("I1", "batch_history_wrong"),
    ] {
        assert!(found.contains(&expected), "{found:?}");
    }
    std::fs::write(&path, &sound).unwrap();

    let head = deployment
        .db
        .log_head(deployment.connections[0])
        .await
        .unwrap();
    let index = deployment.stored(&head.index_key.unwrap());
    flip(&index, 45);
    assert_eq!(deployment.found().await, [("I1", "index_wrong")]);
    std::fs::remove_file(&index).unwrap();
    assert_eq!(deployment.found().await, [("I1", "index_wrong")]);
}

#[tokio::test]
async fn what_was_committed_wrong_is_found() {
    let sound = Bend::default();
    let exports: [(Bend, &[(&str, &str)]); 4] = [
        (
            Bend {
                watermark: true,
                ..sound
            },
            &[("I3", "watermark_beyond_log"), ("I3", "watermark_ahead")],
        ),
        (
            Bend {
                row_left_out: true,
                ..sound
            },
            &[("I1", "span_rows_wrong"), ("I1", "rows_missing")],
        ),
        (
            Bend {
                row_twice: true,
                ..sound
            },
            &[("I1", "span_rows_wrong"), ("I2", "rows_twice")],
        ),
        (
            Bend {
                part_again: true,
                ..sound
            },
            &[
                ("I2", "part_listed_twice"),
                ("I8", "publication_counts_wrong"),
            ],
        ),
    ];
    for (bend, expected) in exports {
        for format in [FileFormat::NdjsonZstd, FileFormat::Parquet] {
            let mut deployment = Deployment::with_history(format).await;
            deployment
                .pull(1, &[("Patient", "person-1", 2)], &["o"], sound)
                .await;
            deployment.export(bend).await;
            let found = deployment.found().await;
            for expected in expected {
                assert!(found.contains(expected), "{expected:?} not in {found:?}");
            }
        }
    }
    let deployment = Deployment::with_history(FileFormat::Ndjson).await;
    deployment
        .pull(
            1,
            &[("Patient", "person-1", 2)],
            &[],
            Bend {
                pull_count: true,
                ..sound
            },
        )
        .await;
    assert_eq!(
        deployment.found().await,
        [("I8", "pull_counts_wrong"), ("I8", "pull_types_wrong")]
    );
    let deployment = Deployment::with_history(FileFormat::Ndjson).await;
    deployment
        .pull(
            1,
            &[("Patient", "person-1", 2)],
            &[],
            Bend {
                old_index: true,
                ..sound
            },
        )
        .await;
    assert_eq!(deployment.found().await, [("I1", "index_wrong")]);
}
