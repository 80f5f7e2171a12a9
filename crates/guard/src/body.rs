//! Reading an answer whole, within a limit that counts what decompression gives.

use bytes::Bytes;
use reqwest::Response;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than the limit; the rest was not read.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The connection failed; the URL is left out of the text.
    #[error("the answer broke off")]
    Http(#[source] reqwest::Error),
}

/// The whole body, decompressed.
///
/// # Errors
/// [`BodyError`].
pub async fn whole(mut response: Response, limit: usize) -> Result<Bytes, BodyError> {
    let announced = response
        .content_length()
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > limit {
        return Err(BodyError::TooLarge { limit });
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| BodyError::Http(error.without_url()))?
    {
        if chunk.len() > limit - body.len() {
            return Err(BodyError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}
