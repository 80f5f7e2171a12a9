//! What can go wrong between a row and a file.

use model::FileFormat;

/// A row that cannot be written, or a file that cannot be read back.
///
/// Types, sizes and formats only: never resource text, never a source's id.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part is named after its resource type, so nothing else may pass.
    #[error("a part cannot be written for this resource type: a type is `[A-Z][A-Za-z]{{0,63}}`")]
    ResourceType,

    /// The row belongs into another part; a fault of the caller.
    #[error(
        "a row was given to a part of {resource_type} (deletions: {deleted}) that belongs into another part"
    )]
    Misplaced {
        /// The type of the part.
        resource_type: String,
        /// Whether the part lists deletions.
        deleted: bool,
    },

    /// The resource is not UTF-8, so it is not JSON.
    #[error("a {resource_type} is not UTF-8 text: its batch is damaged; run `chartlift verify`")]
    NotUtf8 {
        /// Its type.
        resource_type: String,
    },

    /// The resource holds a line feed, so it would be more than one line.
    #[error("a {resource_type} is not on one line: its batch is damaged; run `chartlift verify`")]
    LineFeed {
        /// Its type.
        resource_type: String,
    },

    /// The resource is larger than [`crate::RESOURCE_SIZE_BYTES_MAX`].
    #[error(
        "a {resource_type} of {size_bytes} bytes cannot be written: the limit is {size_bytes_max}"
    )]
    TooLarge {
        /// Its type.
        resource_type: String,
        /// Its size.
        size_bytes: usize,
        /// The limit.
        size_bytes_max: usize,
    },

    /// A number is larger than a column can hold.
    #[error("a number of column `{column}` is out of range")]
    OutOfRange {
        /// The column.
        column: &'static str,
    },

    /// The encoder failed.
    #[error("encode {format}")]
    Encode {
        /// What was written.
        format: FileFormat,
        /// The encoder's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A file is not what its name says.
    #[error("the file is not sound {format}: {what}")]
    Corrupt {
        /// What it should be.
        format: FileFormat,
        /// What is wrong with it.
        what: &'static str,
    },
}
