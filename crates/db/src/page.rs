//! Pages of lists, newest first, in conditions that an index can follow: SQLite
//! follows none through an `OR`, and would read every row before the page.

use std::fmt::Display;

/// Where a page begins, for `id < $n`: without a bound, behind every id, since ids
/// are lower-case letters, `_` and hexadecimal digits.
pub(crate) fn before(id: Option<impl Display>) -> String {
    id.map_or_else(|| "~".to_owned(), |id| id.to_string())
}

/// The condition that narrows a list by parameter `number`, which is empty where it
/// is not narrowed.
pub(crate) fn only(column: &str, number: u8, is_narrowed: bool) -> String {
    if is_narrowed {
        format!("{column} = ${number}")
    } else {
        format!("${number} = ''")
    }
}
