//! Forty words, planted wherever a portal says something: in names, ids, links,
//! texts of errors, resources that are broken. They arrive where they should, and
//! nothing else repeats them: no history of Temporal, no log at its finest, no
//! column of the database, no answer of the API to a key that may not see records.

mod outside;
mod planted;
mod portal;

use anyhow::{Result, ensure};
use chartlift_tests::lines_of;

use self::planted::Planted;
use crate::secrets::contains;

/// In what the portal sends beside resources, and in what is set aside.
const UNDELIVERED: [&str; 9] = [
    "CANARY24", "CANARY25", "CANARY26", "CANARY33", "CANARY34", "CANARY35", "CANARY36", "CANARY37",
    "CANARY39",
];

#[tokio::test(flavor = "multi_thread")]
async fn forty_canaries_are_in_the_records_and_nowhere_else() -> Result<()> {
    let mut planted = Planted::pulled().await?;
    let app = &planted.app;
    let parts = app.delivered(planted.destination).await?.publications;
    let mut delivered = Vec::new();
    for part in parts.iter().flat_map(|of| &of.parts) {
        let lines = lines_of(&app.files("lake").join(&part.path))?;
        delivered.extend(lines.concat());
    }
    let words: Vec<String> = (0..40).map(|number| format!("CANARY{number:02}")).collect();
    for word in &words {
        let sent_on = !UNDELIVERED.contains(&word.as_str());
        ensure!(contains(&delivered, word) == sent_on, "{word}: {sent_on}");
    }
    let log = app.sandbox.portal().log();
    for (ty, status) in [
        ("Condition", 403),
        ("Procedure", 500),
        ("Immunization", 400),
    ] {
        let answered = log
            .iter()
            .any(|entry| entry.status == status && entry.path.contains(&format!("/{ty}?")));
        ensure!(answered, "{ty} was not answered with {status}");
    }
    let attachments = app.core.db.attachments(planted.connection, None, None, 10);
    let attachments = attachments.await?;
    ensure!(
        attachments.len() == 1 && attachments[0].object.is_some(),
        "{attachments:?}"
    );
    let mut secrets = vec![planted.issued.access_token.clone()];
    secrets.extend(planted.issued.refresh_token.clone());
    secrets.extend(words.iter().cloned());
    secrets.push("1901-02-03".to_owned());
    let outside = planted.outside().await?;
    for (name, text) in &outside {
        for word in &secrets {
            ensure!(!contains(text, word), "{name} holds {word}");
        }
    }
    println!(
        "{} texts hold none of {} words",
        outside.len(),
        secrets.len()
    );
    Ok(())
}
