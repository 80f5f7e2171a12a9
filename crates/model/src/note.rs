//! What a pull's coverage says of a type beside how it ended: how it had to be
//! asked for, which part was refused, what was set aside.

use serde::{Deserialize, Serialize};

/// One remark on a type. It carries codes and counts, and of a source's own words
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeNote {
    /// What it says: one of the constants here.
    pub code: String,
    /// How many values or resources it concerns; 0 where that is not known.
    #[serde(default)]
    pub count: u64,
    /// The search parameter it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Values of that parameter, as far as they are Chartlift's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl TypeNote {
    /// The source refuses to be asked for all of the type, so it was asked for value
    /// by value.
    pub const FANNED_OUT: &'static str = "fanned_out";
    /// Resources without any of the values asked for are not found that way.
    pub const UNCATEGORISED_UNSEEN: &'static str = "uncategorised_unseen";
    /// The source refused these values.
    pub const VALUES_REFUSED: &'static str = "values_refused";
    /// The source gave this type by `$everything`, which says nothing of what it leaves
    /// out.
    pub const BY_EVERYTHING: &'static str = "by_everything";
    /// The source gave this type by a bulk export.
    pub const BY_EXPORT: &'static str = "by_export";
    /// The source refused the strategy that is set, so all was searched for.
    pub const STRATEGY_REFUSED: &'static str = "strategy_refused";
    /// The strategy that is set did not bring everything this time, so the rest was
    /// searched for.
    pub const STRATEGY_FAILED: &'static str = "strategy_failed";
    /// So many resources of the type came that are of other patients, or may be: none was
    /// taken.
    pub const OF_OTHERS: &'static str = "of_others";
    /// The export tells of so many errors.
    pub const EXPORT_ERRORS: &'static str = "export_errors";
    /// The export tells of so many warnings and notices.
    pub const EXPORT_WARNINGS: &'static str = "export_warnings";

    /// The source does not say what has changed, so everything was asked for.
    pub const UNFILTERED: &'static str = "unfiltered";
    /// Copies that carry less than the resource: masked, redacted or a part.
    pub const MASKED: &'static str = "masked";
    /// Of these, the ones that did not replace what is known whole.
    pub const MASKED_LEFT_OUT: &'static str = "masked_left_out";

    /// A remark that counts.
    #[must_use]
    pub fn counted(code: &str, count: u64) -> Self {
        Self {
            code: code.to_owned(),
            count,
            ..Self::default()
        }
    }
}
