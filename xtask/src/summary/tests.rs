//! What counts as green.

use super::*;

fn row(ended: Ended, passed: u64, failed: u64, skipped: &[&str]) -> Row {
    let skipped = skipped.iter().map(|reason| (*reason).to_owned()).collect();
    let tally = Tally {
        passed,
        failed,
        skipped,
        ..Tally::default()
    };
    Row {
        name: "unit",
        ended,
        tally,
        took: Duration::ZERO,
    }
}

#[test]
fn a_run_is_green_only_if_something_ran_and_nothing_failed() {
    assert!(conclude(&[row(Ended::Ok, 1, 0, &[])], true, None));
    assert!(!conclude(&[row(Ended::Failed, 1, 1, &[])], false, None));
    assert!(!conclude(
        &[row(Ended::Ok, 1, 0, &[]), row(Ended::TimedOut, 0, 0, &[])],
        false,
        None
    ));
    assert!(!conclude(
        &[row(Ended::Ok, 0, 0, &[])],
        false,
        Some("nothing")
    ));
}

#[test]
fn a_skip_is_a_failure_in_ci_alone() {
    assert!(conclude(&[row(Ended::Ok, 2, 0, &["no S3"])], false, None));
    assert!(!conclude(&[row(Ended::Ok, 2, 0, &["no S3"])], true, None));
}
