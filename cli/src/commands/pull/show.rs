//! A pull and what it got of each type, as text.

use api::views::PullView;
use model::AttachmentCounts;

use super::{because, held, notes, queue};
use crate::output::{Table, grouped, or_dash, print_line};

/// Prints a pull.
pub(super) fn show(pull: &PullView) {
    print_line(&format!("pull        {}", pull.id));
    print_line(&format!("connection  {}", pull.connection_id));
    print_line(&format!(
        "state       {}{}",
        pull.state,
        because(pull.error_code.as_deref())
    ));
    if let Some(queue) = &pull.queue {
        print_line(&format!("waits       {}", queue::waits_for(queue)));
    }
    print_line(&format!("batch       {}", or_dash(pull.batch_seq)));
    print_line(&format!("created     {}", pull.created_at));
    print_line(&format!(
        "started     {}",
        or_dash(pull.started_at.as_ref())
    ));
    print_line(&format!(
        "finished    {}",
        or_dash(pull.finished_at.as_ref())
    ));
    if pull.full {
        print_line("asks for    everything");
    }
    if let Some(retried) = pull.retry_of {
        print_line(&format!("retry of    {retried}"));
    }
    if let Some(counts) = pull.attachments.filter(|counts| counts.found > 0) {
        print_line(&format!("attachments {}", attachments(&counts)));
    }
    if let Some(held) = &pull.held {
        held::show(held);
    }
    for trigger in pull.triggers.iter().flatten() {
        print_line(&format!(
            "asked for   {} × {}",
            trigger.reason, trigger.count
        ));
    }
    let types = pull.types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return;
    }
    let headers = [
        "TYPE",
        "ASKED FOR",
        "OUTCOME",
        "FETCHED",
        "NEW",
        "CHANGED",
        "UNCHANGED",
        "REJECTED",
        "DELETED",
    ];
    let mut table = Table::new(&headers, 3);
    for of in types {
        let counts = &of.counts;
        let numbers = [
            counts.fetched,
            counts.new,
            counts.changed,
            counts.unchanged,
            counts.rejected,
            counts.deleted,
        ]
        .map(grouped);
        let outcome = format!("{}{}", of.outcome, because(of.error_code.as_deref()));
        table.row(
            [of.resource_type.clone(), or_dash(of.mode), outcome]
                .into_iter()
                .chain(numbers),
        );
    }
    print_line("");
    table.print();
    let notes = types.iter().flat_map(|of| {
        let name = &of.resource_type;
        of.notes.iter().map(move |note| notes::line(name, note))
    });
    for (number, line) in notes.enumerate() {
        if number == 0 {
            print_line("");
        }
        print_line(&line);
    }
}

/// What became of attachments, in a line; what there is none of is left out.
fn attachments(counts: &AttachmentCounts) -> String {
    let parts = [
        (counts.fetched, "fetched"),
        (counts.unchanged, "unchanged"),
        (counts.failed, "failed"),
        (counts.refused, "refused"),
        (counts.gone, "gone"),
        (counts.too_large, "too large"),
        (counts.type_not_allowed, "of a type that is not taken"),
        (counts.elsewhere, "elsewhere"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{} {what}", grouped(count)))
        .collect();
    format!("{}: {}", grouped(counts.found), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_told_by_what_became_of_them() {
        let counts = AttachmentCounts {
            found: 1_203,
            fetched: 1_200,
            failed: 2,
            elsewhere: 1,
            ..AttachmentCounts::default()
        };
        assert_eq!(
            attachments(&counts),
            "1,203: 1,200 fetched, 2 failed, 1 elsewhere"
        );
    }
}
