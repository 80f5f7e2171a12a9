//! Portals that refuse plain questions are pulled whole, and the coverage says what
//! they kept back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::{FileFormat, RunState, TypeNote};
use sandbox::Profile;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn an_epic_like_patient_is_pulled_whole() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let portal = app.sandbox.portal();
    portal.set_profile(Profile::EpicLike);
    // One with care plans and observations of several categories.
    let patient = app
        .sandbox
        .patients()
        .into_iter()
        .find(|patient| {
            let expected = app.sandbox.portal().expected(&patient.id);
            expected.keys().any(|(name, _)| name == "CarePlan")
        })
        .context("no patient has a care plan")?
        .id;
    let connections = app.connect(&[patient.as_str()]).await?;
    let lake = app.destination("lake", FileFormat::NdjsonZstd).await?;
    for round in 0..2 {
        let asked_before = app.sandbox.portal().log().len() as u64;
        let pulls = app.pull(&connections).await?;
        app.idle(LIMIT).await?;
        app.verified().await?;
        // Everything that a client can get, once, in the log and at the destination.
        app.holds_what_was_served(asked_before, &[lake]).await?;
        let pull = app.core.db.pull(pulls[0]).await?;
        ensure!(pull.state == RunState::Partial, "{pull:?}");
        ensure!(pull.counts.is_true(), "{pull:?}");
        ensure!((round == 0) == (pull.counts.new > 0), "{pull:?}");

        let types = app.core.db.pull_types(pulls[0]).await?;
        let of = |name: &str| {
            let of = types.iter().find(|of| of.resource_type == name);
            of.with_context(|| format!("no coverage of {name}"))
        };
        let end = |name: &str| -> Result<(&'static str, Option<&str>)> {
            let of = of(name)?;
            Ok((of.outcome.as_str(), of.error_code.as_deref()))
        };
        ensure!(
            end("CarePlan")? == ("complete", None),
            "{:?}",
            of("CarePlan")?
        );
        let suppressed = ("suppressed", Some("suppressed"));
        ensure!(end("Condition")? == suppressed, "{:?}", of("Condition")?);
        let refused = ("suppressed", Some("values_refused"));
        ensure!(end("Observation")? == refused, "{:?}", of("Observation")?);
        let scope = ("refused", Some("insufficient_scope"));
        ensure!(end("ImagingStudy")? == scope, "{:?}", of("ImagingStudy")?);
        let notes = &of("Observation")?.notes;
        let note = |code: &str| notes.iter().find(|note| note.code == code);
        ensure!(note(TypeNote::UNCATEGORISED_UNSEEN).is_some(), "{notes:?}");
        let values = note(TypeNote::VALUES_REFUSED).context("no value was refused")?;
        ensure!(values.values.contains(&"survey".to_owned()), "{values:?}");

        // The second pull knows how to ask.
        let plain = app
            .sandbox
            .portal()
            .log()
            .into_iter()
            .filter(|entry| entry.seq > asked_before && entry.status == 400)
            .filter(|entry| !entry.path.contains("category="))
            .count();
        ensure!(
            (round == 0) == (plain > 0),
            "{plain} plain searches refused"
        );
    }
    app.down()
}
