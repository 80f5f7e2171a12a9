//! What a pull has to say of a type, in words.

use api::views::TypeNoteView;
use model::TypeNote;

use crate::output::grouped;

/// A remark on a type as a line.
pub(super) fn line(resource_type: &str, note: &TypeNoteView) -> String {
    let count = grouped(note.count);
    let by = note.parameter.as_deref().unwrap_or("a parameter");
    let text = match note.code.as_str() {
        TypeNote::FANNED_OUT => format!(
            "the source refuses to be asked for all of it: asked by {by}, value by value ({count} values)"
        ),
        TypeNote::UNCATEGORISED_UNSEEN => {
            format!("what has none of these values of {by} is not found that way")
        }
        TypeNote::VALUES_REFUSED if note.values.is_empty() => {
            format!("the source refused {count} values of {by}")
        }
        TypeNote::VALUES_REFUSED => format!(
            "the source refused {count} values of {by}: {}",
            note.values.join(", ")
        ),
        TypeNote::BY_EVERYTHING => format!(
            "{count} by $everything, not by a search: whether that is all, the source does not say"
        ),
        TypeNote::BY_EXPORT => format!("{count} by a bulk export, not by a search"),
        TypeNote::STRATEGY_REFUSED => {
            "the source refuses the strategy that is set: all types were searched for".to_owned()
        }
        TypeNote::STRATEGY_FAILED => {
            "the strategy that is set did not bring everything: the rest was searched for"
                .to_owned()
        }
        TypeNote::OF_OTHERS => {
            format!("{count} came that are of other patients, or name none: not taken")
        }
        TypeNote::EXPORT_ERRORS => format!("the source's export tells of {count} errors"),
        TypeNote::EXPORT_WARNINGS => format!("the source's export tells of {count} warnings"),
        TypeNote::UNFILTERED => {
            "the source cannot say what has changed: asked for everything".to_owned()
        }
        TypeNote::MASKED => {
            format!("{count} copies are masked or a part: kept where nothing better is known")
        }
        TypeNote::MASKED_LEFT_OUT => {
            format!("{count} masked copies did not replace what is known whole")
        }
        code => match code.strip_prefix("rejected_") {
            Some(reason) => format!("{count} set aside: {}", reason.replace('_', " ")),
            None => format!("{code} ({count})"),
        },
    };
    format!("{resource_type}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_sentences() {
        let note = |code: &str, values: &[&str]| TypeNoteView {
            code: code.to_owned(),
            count: 2,
            parameter: Some("category".to_owned()),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        for (note, expected) in [
            (
                note(TypeNote::FANNED_OUT, &[]),
                "Goal: the source refuses to be asked for all of it: asked by category, value by value (2 values)",
            ),
            (
                note(TypeNote::VALUES_REFUSED, &["exam", "survey"]),
                "Goal: the source refused 2 values of category: exam, survey",
            ),
            (
                note("rejected_duplicate_key", &[]),
                "Goal: 2 set aside: duplicate key",
            ),
            (
                note(TypeNote::BY_EXPORT, &[]),
                "Goal: 2 by a bulk export, not by a search",
            ),
            (
                note(TypeNote::MASKED_LEFT_OUT, &[]),
                "Goal: 2 masked copies did not replace what is known whole",
            ),
            (note("newer", &[]), "Goal: newer (2)"),
        ] {
            assert_eq!(line("Goal", &note), expected);
        }
    }
}
