//! Whether a destination can be written to as an export needs, check by check.

use db::Destination;
use destination::{Checked, FileDestination};
use model::{Check, CheckResult, ProbeReport, Verdict};

use crate::Destinations;
use crate::failure::Failure;

/// Tries a destination out. One that awaits its first test is made and given its
/// name, where all else passes and the place is no other's.
pub async fn run(destinations: &Destinations, destination: &Destination) -> ProbeReport {
    let (id, location) = (destination.id, &destination.location);
    let opened = if destination.awaits_test {
        destinations.make(id, location).await
    } else {
        destinations.open(id, location).await
    };
    let checks: Vec<Checked> = match opened {
        Ok(files) => try_all(&files, destination.awaits_test).await,
        // The first check tells why none can be made.
        Err(error) => {
            let rest = Check::ALL.iter().filter(|check| **check != Check::Write);
            let rest = rest.map(|check| (*check, None));
            std::iter::once((Check::Write, Some(Err(error))))
                .chain(rest)
                .collect()
        }
    };
    ProbeReport {
        checks: checks.into_iter().map(told).collect(),
        rehearsal: None,
    }
}

async fn try_all(files: &FileDestination, is_new: bool) -> Vec<Checked> {
    let mut checks = files.try_all().await;
    let is_good = checks
        .iter()
        .all(|(_, outcome)| matches!(outcome, Some(Ok(()))));
    let owner = match (is_new, is_good) {
        (true, true) => Some(files.claim_owner().await),
        (true, false) => None,
        (false, _) => Some(files.confirm_owner().await),
    };
    checks.push((Check::Owner, owner));
    checks
}

fn told((check, outcome): Checked) -> CheckResult {
    let (verdict, failure) = match outcome {
        Some(Ok(())) => (Verdict::Passed, None),
        Some(Err(error)) => (Verdict::Failed, Some(Failure::from(error).told())),
        None => (Verdict::Skipped, None),
    };
    let (error_code, message) = failure.unzip();
    CheckResult {
        check,
        verdict,
        error_code: error_code.map(str::to_owned),
        message,
    }
}
