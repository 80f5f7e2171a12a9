//! What a queued pull waits for.

use api::views::PullQueueView;

/// What a queued pull waits for, for a person.
pub(super) fn waits_for(queue: &PullQueueView) -> String {
    match queue.behind {
        Some(pull) => format!("for {pull} of the same connection"),
        None => format!(
            "{} of the same source at work, {} before it",
            queue.at_work, queue.ahead
        ),
    }
}
