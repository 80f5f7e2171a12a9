//! Reading columns into the model's types.

use std::str::FromStr;

use model::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::{Error, Result};

/// A row, read column by column; a value that cannot be read names its column.
pub(crate) trait Columns {
    fn raw<'r, T>(&'r self, column: &str) -> Result<T>
    where
        T: Decode<'r, sqlx::Any> + Type<sqlx::Any>;

    /// A BIGINT that counts something.
    fn count(&self, column: &str) -> Result<u64> {
        u64::try_from(self.raw::<i64>(column)?).map_err(|_| corrupt(column))
    }

    fn optional_count(&self, column: &str) -> Result<Option<u64>> {
        self.raw::<Option<i64>>(column)?
            .map(|n| u64::try_from(n).map_err(|_| corrupt(column)))
            .transpose()
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.raw::<i64>(column)? != 0)
    }

    fn time(&self, column: &str) -> Result<Timestamp> {
        self.raw(column).map(Timestamp)
    }

    fn optional_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.raw::<Option<i64>>(column)?.map(Timestamp))
    }

    fn text(&self, column: &str) -> Result<String> {
        self.raw(column)
    }

    /// A TEXT that spells a `T`: an id, a state, a word.
    fn word<T: FromStr>(&self, column: &str) -> Result<T> {
        self.text(column)?.parse().map_err(|_| corrupt(column))
    }

    fn optional_word<T: FromStr>(&self, column: &str) -> Result<Option<T>> {
        self.raw::<Option<String>>(column)?
            .map(|text| text.parse().map_err(|_| corrupt(column)))
            .transpose()
    }

    fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        self.raw::<Option<String>>(column)?
            .map(|text| serde_json::from_str(&text).map_err(|_| corrupt(column)))
            .transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|_| corrupt(column))
    }
}

impl Columns for AnyRow {
    fn raw<'r, T>(&'r self, column: &str) -> Result<T>
    where
        T: Decode<'r, sqlx::Any> + Type<sqlx::Any>,
    {
        fn index<I: ColumnIndex<AnyRow>>(column: I) -> I {
            column
        }
        self.try_get(index(column)).map_err(|error| match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => corrupt(column),
            other => Error::Unavailable(other),
        })
    }
}

pub(crate) fn corrupt(column: &str) -> Error {
    Error::Corrupt {
        column: column.to_owned(),
    }
}

/// A number as the BIGINT it is stored as.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as the JSON text it is stored as.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the model's types serialise")
}
