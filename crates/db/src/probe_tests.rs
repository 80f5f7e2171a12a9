//! Tests of destinations, their changes and their end; exports of some patients.

use model::{
    CheckResult, DestinationId, FileFormat, PatientId, ProbeId, ProbeKind, ProbeReport, RunState,
    Timestamp, Trigger, Verdict,
};

use crate::testing::TestDb;
use crate::{BackOff, Db, DestinationChange, Error, NewConnection, NewDestination, NewSource};

crate::on_both!(
    the_first_test_that_passes_enables_a_destination,
    a_probe_is_joined_until_it_has_ended,
    a_change_is_made_whole_or_not_at_all,
    a_destination_goes_with_all_its_exports_but_not_under_one,
    an_export_is_for_those_it_was_asked_for,
);

async fn add(db: &Db, name: &str, awaits_test: bool) -> DestinationId {
    let new = NewDestination {
        id: DestinationId::new(),
        name: name.to_owned(),
        location: format!("/{name}"),
        format: FileFormat::Parquet,
        credentials: None,
        awaits_test,
    };
    db.add_destination(&new).await.unwrap();
    new.id
}

async fn connect(db: &Db, external: &str) -> PatientId {
    let source = match db.source("portal").await {
        Ok(source) => source.id,
        Err(_) => {
            let new = NewSource::new("portal", "https://portal/fhir", "portal/fhir");
            db.add_source(&new).await.unwrap()
        }
    };
    let patient = db.ensure_patient(external).await.unwrap();
    let new = NewConnection {
        patient_id: patient,
        source_id: source,
        source_patient_id: external.to_owned(),
        token: None,
    };
    let connection = db.add_connection(&new).await.unwrap();
    // As if it had settled once.
    sqlx::query("UPDATE connections SET head_seq = 1 WHERE id = $1")
        .bind(connection.to_string())
        .execute(&db.writer)
        .await
        .unwrap();
    patient
}

fn failed(code: &str) -> ProbeReport {
    ProbeReport {
        checks: vec![CheckResult {
            check: model::Check::Write,
            verdict: Verdict::Failed,
            error_code: Some(code.to_owned()),
            message: None,
        }],
        rehearsal: None,
    }
}

async fn the_first_test_that_passes_enables_a_destination(database: TestDb) {
    let db = &database.db;
    let id = add(db, "lake", true).await;
    let enabled = async || {
        let row = db.destination(&id.to_string()).await.unwrap();
        (row.enabled, row.awaits_test)
    };
    assert_eq!(enabled().await, (false, true));
    let error = db.set_destination_enabled(id, true).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let error = db.request_export(id, None).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");

    let first = db.latest_test(id).await.unwrap().unwrap();
    assert_eq!(first.state, RunState::Queued);
    db.begin_probe(first.id).await.unwrap();
    let report = failed("destination_denied");
    db.end_probe(first.id, &report, Some("destination_denied"))
        .await
        .unwrap();
    assert_eq!(enabled().await, (false, true));
    let told = db.latest_test(id).await.unwrap().unwrap();
    assert_eq!((told.state, told.report), (RunState::Failed, report));

    // A rehearsal enables nothing.
    let rehearsal = db.request_probe(id, ProbeKind::Rehearsal).await.unwrap();
    db.end_probe(rehearsal, &ProbeReport::default(), None)
        .await
        .unwrap();
    assert_eq!(enabled().await, (false, true));

    let second = db.request_probe(id, ProbeKind::Test).await.unwrap();
    db.end_probe(second, &ProbeReport::default(), None)
        .await
        .unwrap();
    assert_eq!(enabled().await, (true, false));
    // What has ended stays as it is.
    db.end_probe(second, &failed("late"), Some("late"))
        .await
        .unwrap();
    assert_eq!(db.probe(second).await.unwrap().state, RunState::Completed);
    let late = db.begin_probe(second).await;
    assert!(matches!(late, Err(Error::Lost)));
    // Its first export tells why it is made.
    let export = db.request_export(id, None).await.unwrap();
    let triggers = db.export(export).await.unwrap().triggers;
    assert_eq!(triggers[0].reason, Trigger::DestinationAdded);
    // One that was disabled by hand is not enabled by a test.
    db.set_destination_enabled(id, false).await.unwrap();
    let third = db.request_probe(id, ProbeKind::Test).await.unwrap();
    db.end_probe(third, &ProbeReport::default(), None)
        .await
        .unwrap();
    assert_eq!(enabled().await, (false, false));
}

async fn a_probe_is_joined_until_it_has_ended(database: TestDb) {
    let db = &database.db;
    let id = add(db, "lake", false).await;
    let first = db.request_probe(id, ProbeKind::Test).await.unwrap();
    assert_eq!(db.request_probe(id, ProbeKind::Test).await.unwrap(), first);
    let other = db.request_probe(id, ProbeKind::Rehearsal).await.unwrap();
    let open: Vec<ProbeId> = db
        .open_probes(9)
        .await
        .unwrap()
        .iter()
        .map(|of| of.id)
        .collect();
    assert_eq!(open, [first, other]);
    assert_eq!(db.give_up_probes(Timestamp(0)).await.unwrap(), 0);
    let soon = Timestamp::now().after(std::time::Duration::from_secs(1));
    assert_eq!(db.give_up_probes(soon).await.unwrap(), 2);
    let told = db.probe(first).await.unwrap();
    assert_eq!(told.error_code.as_deref(), Some("timeout"));
    assert_ne!(db.request_probe(id, ProbeKind::Test).await.unwrap(), first);
    let unknown = db
        .request_probe(DestinationId::new(), ProbeKind::Test)
        .await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

async fn a_change_is_made_whole_or_not_at_all(database: TestDb) {
    let db = &database.db;
    let id = add(db, "lake", false).await;
    add(db, "sea", false).await;
    let change = DestinationChange {
        name: Some("sea"),
        enabled: Some(false),
        credentials: Some("hush"),
        seen: None,
    };
    let error = db.change_destination(id, change).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let row = db.destination(&id.to_string()).await.unwrap();
    assert!(row.name == "lake" && row.enabled);
    assert_eq!(db.destination_credentials(id).await.unwrap(), None);

    let change = DestinationChange {
        name: Some("pond"),
        ..change
    };
    db.change_destination(id, change).await.unwrap();
    let row = db.destination("pond").await.unwrap();
    assert!(row.id == id && !row.enabled);
    let text = db.destination_credentials(id).await.unwrap();
    assert_eq!(text.as_deref(), Some("hush"));
    // A new key is tried out.
    assert!(db.latest_test(id).await.unwrap().is_some());
}

async fn a_destination_goes_with_all_its_exports_but_not_under_one(database: TestDb) {
    let db = &database.db;
    let patient = connect(db, "ann").await;
    let id = add(db, "lake", false).await;
    let probe = db.request_probe(id, ProbeKind::Test).await.unwrap();
    let export = db.request_export_of(id, &[patient]).await.unwrap();
    let error = db.delete_destination(id, None).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    db.end_export(export, RunState::Cancelled, None, BackOff::default())
        .await
        .unwrap();
    let seen = db.destination(&id.to_string()).await.unwrap();
    db.set_destination_enabled(id, !seen.enabled).await.unwrap();
    let late = db.delete_destination(id, Some(&seen)).await;
    assert!(matches!(late, Err(Error::Changed)));
    let rename = DestinationChange {
        name: Some("late"),
        seen: Some(&seen),
        ..DestinationChange::default()
    };
    let late = db.change_destination(id, rename).await;
    assert!(matches!(late, Err(Error::Changed)));
    let seen = db.destination(&id.to_string()).await.unwrap();
    db.delete_destination(id, Some(&seen)).await.unwrap();
    for gone in [
        db.destination(&id.to_string()).await.map(drop),
        db.export(export).await.map(drop),
        db.delete_destination(id, None).await,
    ] {
        assert!(matches!(gone, Err(Error::NotFound { .. })));
    }
    // Whoever is at its test hears that there is nothing more to do.
    assert!(matches!(db.begin_probe(probe).await, Err(Error::Lost)));
    db.end_probe(probe, &ProbeReport::default(), None)
        .await
        .unwrap();
    // Its name and its place are to be had again.
    add(db, "lake", false).await;
}

async fn an_export_is_for_those_it_was_asked_for(database: TestDb) {
    let db = &database.db;
    let (ann, bob) = (connect(db, "ann").await, connect(db, "bob").await);
    let id = add(db, "lake", false).await;
    let planned = async |export| {
        let spans = db.candidates(id, export, 9).await.unwrap();
        spans.len()
    };
    assert_eq!(db.lacking(id, None, 9).await.unwrap().len(), 2);
    let export = db.request_export_of(id, &[ann]).await.unwrap();
    assert_eq!(planned(export).await, 1);
    // Joined for another, it is for both; for all, for all, from then on.
    assert_eq!(db.request_export_of(id, &[bob, ann]).await.unwrap(), export);
    assert_eq!(db.export_patients(export).await.unwrap(), [ann, bob]);
    db.request_export(id, Some(Trigger::Manual)).await.unwrap();
    assert_eq!(db.export_patients(export).await.unwrap(), []);
    db.request_export_of(id, &[ann]).await.unwrap();
    assert_eq!(planned(export).await, 2);
    db.end_export(export, RunState::Cancelled, None, BackOff::default())
        .await
        .unwrap();

    // Cancelled, all is held back; asked for by hand, what it is asked for is not.
    let export = db.request_export_of(id, &[ann]).await.unwrap();
    db.request_export(id, None).await.unwrap_or(export);
    let other = db.export_patients(export).await.unwrap();
    assert_eq!(other, [], "an automatic one is for all");
    assert_eq!(planned(export).await, 1, "bob's is held back");
    db.end_export(export, RunState::Failed, None, BackOff::default())
        .await
        .unwrap();
    let export = db.request_export_of(id, &[bob]).await.unwrap();
    db.end_export(export, RunState::Failed, None, BackOff::default())
        .await
        .unwrap();
    let retry = db.retry_export(export).await.unwrap();
    assert_eq!(db.export_patients(retry).await.unwrap(), [bob]);

    let unknown = db.request_export_of(id, &[PatientId::new()]).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    let alone = db.ensure_patient("cid").await.unwrap();
    let nothing = db.request_export_of(id, &[alone]).await;
    assert!(matches!(nothing, Err(Error::Conflict { .. })));
}
