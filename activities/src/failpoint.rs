//! Named points where tests stop or fail a step. Without the feature
//! `failpoints` they are nothing; with it, `FAILPOINTS=NAME=return(abort)` ends
//! the process there as a kill would, `return(stop)` stops it as SIGSTOP does,
//! `return(wait 200)` waits 200 ms, and `return(error)` fails the step. Each step
//! begins with a point of its own, `pull.plan.begin`: waiting there makes a short
//! one long enough to be hit by a kill.

/// Where something becomes durable, in the order a pull and an export pass the
/// points.
pub const NAMES: &[&str] = &[
    "staging_write.before",
    "staging_write.after",
    "cursor_save.before",
    "cursor_save.after",
    "settle_commit.before",
    "settle_commit.after",
    "part_write.before",
    "part_write.after",
    "chunk_save.after",
    "publication.before",
    "publication.after",
    "watermark_commit.before",
    "watermark_commit.after",
];

/// The points of a pull that fetches attachments.
pub const ATTACHMENTS: &[&str] = &[
    "attachment_write.before",
    "attachment_write.after",
    "attachment_save.after",
];

/// The points of the upkeep.
pub const UPKEEP: &[&str] = &["merge_commit.before", "merge_commit.after"];

/// The points of a refresh of tokens.
pub const TOKENS: &[&str] = &[
    "token_request.before",
    "token_request.after",
    "token_stored",
];

/// Reads `FAILPOINTS`; does nothing without the feature.
pub fn set_up() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}

/// Passes a point.
#[cfg(feature = "failpoints")]
pub(crate) async fn pass(name: &str) -> Result<(), crate::failure::Failure> {
    let Some(action) = action(name) else {
        return Ok(());
    };
    match action.split_once(' ').unwrap_or((&action, "")) {
        ("abort", _) => std::process::abort(),
        ("stop", _) => {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
                .expect("a process may stop itself");
            Ok(())
        }
        ("wait", millis) => {
            let millis = millis.parse().expect("`wait` is followed by milliseconds");
            tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
            Ok(())
        }
        _ => Err(crate::failure::Failure::retry(
            "failpoint",
            format!("failpoint {name}"),
        )),
    }
}

/// What is to happen at a point now.
#[cfg(feature = "failpoints")]
fn action(name: &str) -> Option<String> {
    fail::fail_point!(name, |what| Some(what.unwrap_or_default()));
    None
}

/// Passes a point.
#[cfg(not(feature = "failpoints"))]
#[expect(
    clippy::unused_async,
    clippy::unnecessary_wraps,
    reason = "with the feature it waits and fails"
)]
pub(crate) async fn pass(_: &str) -> Result<(), crate::failure::Failure> {
    Ok(())
}
