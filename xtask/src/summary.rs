//! The table at the end of `cargo xtask test`, and whether the run is green.

use crate::outcome::Tally;
use crate::stage::{Ended, minutes};
use std::time::Duration;

/// One row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) ended: Ended,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
}

/// Prints the table and the totals; true if the run is green.
pub(crate) fn conclude(rows: &[Row], ci: bool, filter: Option<&str>) -> bool {
    let mut green = true;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!(
        "\n{:<8} {:>10} {:>7} {:>7} {:>8} {:>8}",
        "stage", "", "passed", "failed", "skipped", "minutes"
    );
    for Row {
        name,
        ended,
        tally,
        took,
    } in rows
    {
        let (ok, bad, left) = (tally.really_passed(), tally.failed, tally.left_out());
        println!(
            "{name:<8} {ended:>10} {ok:>7} {bad:>7} {left:>8} {:>8.2}",
            minutes(*took)
        );
        // A stage that broke without naming a test is one failure.
        failed += if *ended == Ended::Ok { bad } else { bad.max(1) };
        passed += ok;
        skipped += left;
    }
    println!();
    for reason in rows.iter().flat_map(|row| &row.tally.skipped) {
        println!("skipped: {reason}");
    }
    if failed > 0 {
        green = false;
    }
    if ci && skipped > 0 {
        println!("under CI=true a skipped test is a failure");
        green = false;
    }
    if green && passed == 0 {
        match filter {
            Some(text) => println!("no test has `{text}` in its name"),
            None => println!("no test ran"),
        }
        green = false;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    green
}

#[cfg(test)]
mod tests;
