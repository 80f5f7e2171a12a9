//! Publications: created create-only under their number, so that each number
//! means one thing for good, whoever wrote it.

use std::ops::RangeInclusive;

use futures::{StreamExt, TryStreamExt, stream};
use model::{ObjectKey, PUBLICATION_VERSION, Publication};
use object_store::path::Path;
use serde::Deserialize;

use crate::files::Created;
use crate::{Error, FileDestination};

/// The folder of [`ObjectKey::Publication`].
const FOLDER: &str = "_chartlift/publications";
/// Publications read at once.
const READS: usize = 8;

/// What came of an attempt to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The number was free, and is this publication's now.
    Created,
    /// The number was taken: this stands there, and counts. It may be the same,
    /// from an attempt that did not learn of its success.
    Stands(Box<Publication>),
}

/// Of a publication of any version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl FileDestination {
    /// Creates the publication under its number, or says what stands there. An
    /// error leaves open which: only asking again tells.
    pub async fn publish(&self, publication: &Publication) -> Result<Published, Error> {
        if publication.destination_id != self.id {
            return Err(Error::ForeignOwner {
                owner: publication.destination_id,
            });
        }
        let object = ObjectKey::Publication {
            number: publication.number,
        }
        .to_string();
        let bytes = serde_json::to_vec(publication).expect("text and numbers serialise");
        match self
            .create(&Path::from(object.as_str()), bytes.into())
            .await?
        {
            Created::Yes => Ok(Published::Created),
            Created::Taken => {
                let standing = self.publication(publication.number).await?;
                standing
                    .map(|standing| Published::Stands(Box::new(standing)))
                    .ok_or(Error::NotFound { object })
            }
        }
    }

    /// Publication `number`, if there is one.
    pub async fn publication(&self, number: u64) -> Result<Option<Publication>, Error> {
        let object = ObjectKey::Publication { number }.to_string();
        let Some(bytes) = self.read(&Path::from(object.as_str())).await? else {
            return Ok(None);
        };
        // What serde says of a text may repeat it; where it stands is enough.
        let corrupt = |error: serde_json::Error| Error::Corrupt {
            object: object.clone(),
            what: format!(
                "it is not a publication (line {}, column {})",
                error.line(),
                error.column()
            ),
        };
        let Version { version } = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if version > PUBLICATION_VERSION {
            return Err(Error::Newer { object, version });
        }
        let publication: Publication = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if publication.destination_id != self.id {
            return Err(Error::ForeignOwner {
                owner: publication.destination_id,
            });
        }
        if publication.number != number {
            let what = format!("it says that it is number {}", publication.number);
            return Err(Error::Corrupt { object, what });
        }
        Ok(Some(publication))
    }

    /// The numbers from `from` on that are taken, ascending. A listing: it says
    /// what is there, never what comes next.
    pub async fn publication_numbers(&self, from: u64) -> Result<Vec<u64>, Error> {
        let number = |path: &Path| {
            let digits = path.filename()?.strip_suffix(".json")?;
            let number = digits.parse().ok().filter(|number| *number >= from)?;
            (ObjectKey::Publication { number }.to_string() == path.as_ref()).then_some(number)
        };
        Ok(self
            .list(FOLDER)
            .await?
            .iter()
            .filter_map(|meta| number(&meta.location))
            .collect())
    }

    /// The publications from `from` on, ascending. See [`gaps`].
    pub async fn publications(&self, from: u64) -> Result<Vec<Publication>, Error> {
        let numbers = self.publication_numbers(from).await?;
        let read = |number| async move {
            let object = ObjectKey::Publication { number }.to_string();
            self.publication(number)
                .await?
                .ok_or(Error::NotFound { object })
        };
        stream::iter(numbers)
            .map(read)
            .buffered(READS)
            .try_collect()
            .await
    }
}

/// The numbers missing from a feed that should begin at `from`, given those that
/// are taken, ascending.
///
/// ```
/// # use chartlift_destination::gaps;
/// assert_eq!(gaps(1, &[1, 2, 5]), [3..=4]);
/// ```
#[must_use]
pub fn gaps(from: u64, numbers: &[u64]) -> Vec<RangeInclusive<u64>> {
    let mut next = from;
    let mut missing = Vec::new();
    for number in numbers.iter().copied().filter(|number| *number >= from) {
        if number > next {
            missing.push(next..=number - 1);
        }
        next = number.saturating_add(1);
    }
    missing
}
