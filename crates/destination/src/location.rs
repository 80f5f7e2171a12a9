//! Where a destination may lie: a folder, as an absolute path or a `file://` URL, or
//! a place in an object store.

use std::path::PathBuf;

use objects::{Access, Location};

use crate::Error;

/// Whether there can be a destination at `location`, with the key to an object store
/// or, for a folder, without. Reaches for nothing.
///
/// # Errors
/// [`Error::Unsupported`] for a location that cannot be one; [`Error::Credentials`]
/// for a key that is missing or cannot be used.
pub fn check_location(location: &str, access: Option<&Access>) -> Result<(), Error> {
    let credentials = |what: String| Error::Credentials { what };
    match access {
        Some(access) if objects::is_s3(location) => {
            access
                .check()
                .map_err(|error| credentials(error.to_string()))?;
            let place = Location::parse(location);
            place.map(drop).map_err(|error| Error::Unsupported {
                location: "s3://…".to_owned(),
                reason: error.reason,
            })
        }
        Some(_) => Err(credentials("a folder has none".to_owned())),
        None if objects::is_s3(location) => {
            Err(credentials("an object store needs a key".to_owned()))
        }
        None => folder(location).map(drop),
    }
}

/// The folder that `location` names.
pub(crate) fn folder(location: &str) -> Result<PathBuf, Error> {
    if let Some(path) = location.strip_prefix('/') {
        return absolute(location, &format!("/{path}"));
    }
    let Some((scheme, rest)) = location.split_once("://") else {
        let reason = "a relative path means another folder to each process";
        return Err(Error::Unsupported {
            location: location.to_owned(),
            reason,
        });
    };
    if !scheme.eq_ignore_ascii_case("file") {
        // What follows the scheme may hold a key or a signature.
        let location = format!("{scheme}://…");
        return Err(Error::Unsupported {
            location,
            reason: "this version writes to local folders and to S3",
        });
    }
    let unsupported = |reason| Error::Unsupported {
        location: location.to_owned(),
        reason,
    };
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(unsupported(
            "a file:// URL names no other host: file:///folder",
        ));
    }
    let path = percent_decoded(path)
        .ok_or_else(|| unsupported("its percent-encoding is not valid UTF-8"))?;
    absolute(location, &path)
}

fn absolute(location: &str, path: &str) -> Result<PathBuf, Error> {
    let unsupported = |reason| {
        Err(Error::Unsupported {
            location: location.escape_debug().to_string(),
            reason,
        })
    };
    if path.contains('\0') {
        return unsupported("a path cannot hold a zero byte");
    }
    if path.split('/').any(|part| part == "..") {
        return unsupported("`..` is not allowed in it");
    }
    if path.trim_matches('/').is_empty() {
        return unsupported("it is the root of the file system");
    }
    Ok(PathBuf::from(path))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => 16 * hex_digit(bytes.next()?)? + hex_digit(bytes.next()?)?,
            b'?' | b'#' => return None,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_file_urls() {
        for (location, path) in [
            ("/data/out", "/data/out"),
            ("file:///data/my%20out/%C3%A9", "/data/my out/é"),
            ("FILE://localhost/data", "/data"),
            ("/data/100%25", "/data/100%25"),
        ] {
            assert_eq!(folder(location).unwrap(), PathBuf::from(path), "{location}");
        }
    }

    #[test]
    fn everything_else_says_what_is_supported() {
        let locations = [
            "out",
            "",
            "gs://key:secret@bucket/x",
            "file://host/x",
            "file:///%ff",
            "file:///a?b",
            "/a/../b",
            "/",
            "/a\0",
        ];
        for location in locations {
            let text = folder(location).unwrap_err().to_string();
            assert!(
                text.contains("give an absolute folder path, a file:// URL or s3://bucket/prefix"),
                "{text}"
            );
            assert!(!text.contains("secret") && !text.contains('\0'), "{text}");
        }
    }
}
