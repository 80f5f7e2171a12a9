//! What a run's output says: libtest's totals, skipped tests, figures. Pure.

use serde_json::Value;

/// What has been read from one child's output so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests marked to be left out.
    pub(crate) ignored: u64,
    /// What tests gave as `SKIPPED: reason`. libtest counts them as passed.
    pub(crate) skipped: Vec<String>,
    /// Named by tests as `FIGURES: {…}`, one object after the other.
    pub(crate) figures: serde_json::Map<String, Value>,
    /// The last line, if it was a JSON object: a benchmark's result.
    pub(crate) last_object: Option<Value>,
}

impl Tally {
    /// Takes in one line.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.passed += count(rest, "passed");
            self.failed += count(rest, "failed");
            self.ignored += count(rest, "ignored");
        } else if let Some(reason) = line.strip_prefix("SKIPPED: ") {
            self.skipped.push(reason.to_owned());
        } else if let Some((_, json)) = line.split_once("FIGURES: ")
            && let Ok(Value::Object(figures)) = serde_json::from_str(json)
        {
            self.figures.extend(figures);
        }
        if !line.is_empty() {
            self.last_object = serde_json::from_str(line).ok().filter(Value::is_object);
        }
    }

    /// Tests that ran and passed: one that skipped itself is not among them.
    pub(crate) fn really_passed(&self) -> u64 {
        self.passed.saturating_sub(self.skipped.len() as u64)
    }

    /// Tests that did not run, by either way.
    pub(crate) fn left_out(&self) -> u64 {
        self.ignored + self.skipped.len() as u64
    }
}

/// The number before `word` in "ok. 3 passed; 0 failed; …".
fn count(text: &str, word: &str) -> u64 {
    text.split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn totals_of_several_binaries_add_up() {
        let tally = tally(
            "test a ... ok\n\
             test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.20s\n",
        );
        assert_eq!((tally.passed, tally.failed, tally.left_out()), (14, 1, 1));
    }

    #[test]
    fn a_test_that_skips_itself_has_not_passed() {
        let tally = tally(
            "---- a stdout ----\nSKIPPED: no S3 here\ntest result: ok. 2 passed; 0 failed; 0 ignored",
        );
        assert_eq!((tally.really_passed(), tally.left_out()), (1, 1));
        assert_eq!(tally.skipped, ["no S3 here"]);
    }

    #[test]
    fn figures_are_collected_even_after_a_test_name() {
        let tally = tally(
            "test fuzz ... FIGURES: {\"executions\": 5}\nFIGURES: {\"panics\": 0}\nFIGURES: nothing",
        );
        assert_eq!(
            Value::Object(tally.figures).to_string(),
            r#"{"executions":5,"panics":0}"#
        );
    }

    #[test]
    fn only_the_last_line_is_a_result() {
        assert_eq!(
            tally("{\"a\":1}\n{\"b\":2}\n\n")
                .last_object
                .unwrap()
                .to_string(),
            "{\"b\":2}"
        );
        assert_eq!(tally("{\"a\":1}\ndone\n").last_object, None);
    }
}
