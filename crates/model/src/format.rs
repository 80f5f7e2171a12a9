//! The formats files are delivered in.

use std::fmt;
use std::str::FromStr;

use crate::state::{WordError, words};
use serde::{Deserialize, Serialize};

words!(
    /// Format and compression of a file destination. Fixed at creation.
    FileFormat, "file format" {
        /// NDJSON, uncompressed.
        Ndjson = "ndjson",
        /// NDJSON in gzip members.
        NdjsonGzip = "ndjson-gzip",
        /// NDJSON in zstd frames.
        NdjsonZstd = "ndjson-zstd",
        /// Parquet with the columns of `docs/contract.md`, zstd inside.
        Parquet = "parquet",
    }
);

impl FileFormat {
    /// The ending of its files' names.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::NdjsonGzip => "ndjson.gz",
            Self::NdjsonZstd => "ndjson.zst",
            Self::Parquet => "zstd.parquet",
        }
    }
}
