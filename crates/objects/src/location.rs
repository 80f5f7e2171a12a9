//! Where a store lies: `s3://bucket` or `s3://bucket/prefix`.

use object_store::path::Path;

const SCHEME: &str = "s3://";

/// A location that cannot be used. Its text is not repeated: it may hold a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; give s3://bucket or s3://bucket/prefix")]
pub struct LocationError {
    /// Why not.
    pub reason: &'static str,
}

/// A bucket, and the prefix of all objects there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(crate) bucket: String,
    pub(crate) prefix: Option<Path>,
}

/// Whether a location is one in S3.
#[must_use]
pub fn is_s3(location: &str) -> bool {
    let scheme = location.get(..SCHEME.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

impl Location {
    /// Reads a location.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn parse(location: &str) -> Result<Self, LocationError> {
        let refuse = |reason| Err(LocationError { reason });
        if !is_s3(location) {
            return refuse("it is not in S3");
        }
        let rest = &location[SCHEME.len()..];
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|byte| letter(byte) || b".-".contains(&byte))
            && bucket.bytes().next().is_some_and(letter)
            && bucket.bytes().last().is_some_and(letter);
        if !is_name {
            return refuse(
                "its bucket is no name of 3 to 63 lower-case letters, digits, '.' and '-'",
            );
        }
        let prefix = prefix.trim_end_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=".contains(&byte);
        if !prefix.bytes().all(is_plain) {
            return refuse("its prefix may hold letters, digits, '/', '.', '_', '-' and '=' only");
        }
        let has_empty = prefix
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."));
        if !prefix.is_empty() && has_empty {
            return refuse("a part of its prefix is empty, `.` or `..`");
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: (!prefix.is_empty()).then(|| Path::from(prefix)),
        })
    }

    /// The location in the one form that tells whether two are the same.
    #[must_use]
    pub fn normalised(&self) -> String {
        match &self.prefix {
            Some(prefix) => format!("{SCHEME}{}/{prefix}", self.bucket),
            None => format!("{SCHEME}{}", self.bucket),
        }
    }
}
