//! Named points where tests stop or fail a step. Without the feature
//! `failpoints` they are nothing; with it, `FAILPOINTS=NAME=return(abort)` ends
//! the process there as a kill would, and `return(error)` fails the step.

/// Every point, in the order a pull and an export pass them.
pub const NAMES: &[&str] = &[
    "staging_write.before",
    "staging_write.after",
    "cursor_save.before",
    "cursor_save.after",
    "settle_commit.before",
    "settle_commit.after",
    "part_write.before",
    "part_write.after",
    "publication.before",
    "publication.after",
    "watermark_commit.before",
    "watermark_commit.after",
];

/// Reads `FAILPOINTS`; does nothing without the feature.
pub fn set_up() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}

/// Passes a point.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &'static str) -> Result<(), crate::failure::Failure> {
    fail::fail_point!(name, |what| {
        if what.as_deref() == Some("abort") {
            std::process::abort();
        }
        Err(crate::failure::Failure::retry(
            "failpoint",
            format!("failpoint {name}"),
        ))
    });
    Ok(())
}

/// Passes a point.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(crate) fn pass(_: &'static str) -> Result<(), crate::failure::Failure> {
    Ok(())
}
