//! Adopting: what stands in a publication slot counts, whoever put it there.

use db::PublicationCommit;
use destination::FileDestination;
use model::Publication;

use crate::Context;
use crate::failure::Failure;

/// Opens the destination, which must carry its name.
pub(crate) async fn open(
    context: &Context,
    row: &db::Destination,
) -> Result<FileDestination, Failure> {
    let files = context.destinations.open(row.id, &row.location).await?;
    files.confirm_owner().await?;
    Ok(files)
}

/// Takes over every publication that stands beyond the last adopted one: of a
/// run whose last transaction was cut off, or of a zombie. Returns the number of
/// the last.
pub(crate) async fn adopt_all(
    context: &Context,
    files: &FileDestination,
    mut last: u64,
) -> Result<u64, Failure> {
    while let Some(publication) = files.publication(last + 1).await? {
        adopt(context, files, &publication).await?;
        last += 1;
    }
    Ok(last)
}

/// Takes over one publication.
pub(crate) async fn adopt(
    context: &Context,
    files: &FileDestination,
    publication: &Publication,
) -> Result<(), Failure> {
    tracing::info!(
        destination.id = %publication.destination_id,
        export.id = %publication.export_id,
        publication.number = publication.number,
        "a publication that stands is taken over"
    );
    refuse_unknown_batches(context, publication).await?;
    if !publication.burnt {
        files.write_manifest(publication).await?;
    }
    let commit = PublicationCommit::<()> {
        publication,
        step: None,
    };
    Ok(context.db.commit_publication(&commit).await?)
}

/// A publication of batches that this database does not have was made by a newer
/// one: taking it over would raise watermarks beyond the logs.
async fn refuse_unknown_batches(
    context: &Context,
    publication: &Publication,
) -> Result<(), Failure> {
    for span in &publication.spans {
        let head = match context.db.log_head(span.connection_id).await {
            Ok(head) => head.head_seq,
            Err(db::Error::NotFound { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        if span.to > head {
            let number = publication.number;
            let what = format!(
                "publication {number} at {} has batches of {} that this database does not know: it was restored from \
                 an older copy; stop the workers and run `chartlift recover`",
                publication.destination_id, span.connection_id
            );
            return Err(Failure::last("database_restored", what));
        }
    }
    Ok(())
}
