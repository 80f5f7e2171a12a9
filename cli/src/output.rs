//! Lists, tables and errors as the terminal shows them.

use std::fmt::Display;

use serde::Serialize;

/// A table of text: the first columns to the left, numbers to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    numeric_from: usize,
}

impl Table {
    /// A table whose columns from `numeric_from` on hold numbers.
    pub(crate) fn new(headers: &[&str], numeric_from: usize) -> Self {
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        Self {
            rows: vec![headers],
            numeric_from,
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, without space at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if column >= self.numeric_from {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    pub(crate) fn print(&self) {
        for line in self.lines() {
            print_line(&line);
        }
    }
}

/// Prints a list: as JSON, or as a table; an empty one says so on standard error.
pub(crate) fn print_list<T: Serialize>(
    json: bool,
    items: &[T],
    headers: &[&str],
    empty: &str,
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    if json {
        return print_json(&items);
    }
    if items.is_empty() {
        eprintln!("{empty}");
        return Ok(());
    }
    let mut table = Table::new(headers, usize::MAX);
    for item in items {
        table.row(row(item));
    }
    table.print();
    Ok(())
}

pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print_line(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// One line of data.
pub(crate) fn print_line(line: &str) {
    use std::io::Write;
    // A reader that has gone (`| head`) is no error of ours.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// An error and its causes, on standard error.
pub(crate) fn print_error(error: &anyhow::Error) {
    let sentences = sentences(error);
    eprintln!("error: {}", sentences.first().map_or("", String::as_str));
    for cause in sentences.iter().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// What an error and its causes say, each thing once: some texts hold that of
/// their source already, and some libraries' the debug form of it.
pub(crate) fn sentences(error: &anyhow::Error) -> Vec<String> {
    let mut told = vec![error.to_string()];
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !text.contains("Error(") && !told.iter().any(|earlier| earlier.contains(&text)) {
            told.push(text);
        }
    }
    told
}

/// A value that may be missing.
pub(crate) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(crate) fn yes_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// A size for people: `12.3 MB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if size < 1_000 {
        return format!("{size} B");
    }
    let (mut value, mut unit) = (size as f64 / 1_000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1_000.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number with its digits in groups: `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["type", "n"], 1);
        table.row(["Observation".to_owned(), "7".to_owned()]);
        table.row(["Ä".to_owned(), "1,000".to_owned()]);
        assert_eq!(
            table.lines(),
            [
                "type             n",
                "Observation      7",
                "Ä            1,000"
            ]
        );
    }

    #[test]
    fn an_error_says_each_thing_once() {
        let error = anyhow::anyhow!("refused")
            .context("x: Error(Kind { code: 1 })")
            .context("it: refused")
            .context("do it");
        assert_eq!(sentences(&error), ["do it", "it: refused"]);
    }

    #[test]
    fn numbers_for_people() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (size, text) in [
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_999, "1.0 MB"),
            (12_345_678, "12.3 MB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
