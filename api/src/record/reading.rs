//! Reading the resources of a record, one frame in memory.

use axum::body::Bytes;
use futures::Stream;
use records::SegmentReader;

use super::Record;

/// A resource and its place at the source.
pub(crate) struct Resource {
    pub(crate) full_url: String,
    pub(crate) text: Bytes,
}

impl Record {
    /// The resources from number `from` to before number `to`, one frame in memory.
    pub(crate) fn read(
        self,
        from: usize,
        to: usize,
    ) -> impl Stream<Item = Result<Resource, records::Error>> + Send + 'static {
        let to = to.min(self.rows.len());
        let reading = Reading {
            next: from.min(to),
            to,
            record: self,
            open: None,
        };
        futures::stream::try_unfold(reading, async |mut reading| {
            let resource = reading.next().await?;
            Ok(resource.map(|resource| (resource, reading)))
        })
    }
}

struct Reading {
    record: Record,
    next: usize,
    to: usize,
    open: Option<Open>,
}

/// The object that is being read, and its last frame.
struct Open {
    number: u32,
    reader: SegmentReader,
    frame: Option<(u32, Bytes)>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Resource>, records::Error> {
        if self.next >= self.to {
            return Ok(None);
        }
        let at = self.record.rows[self.next];
        self.next += 1;
        let object = &self.record.objects[at.object as usize];
        let open = match self.open.take().filter(|open| open.number == at.object) {
            Some(open) => open,
            None => Open {
                number: at.object,
                reader: SegmentReader::open(&self.record.store, &object.key).await?,
                frame: None,
            },
        };
        let open = self.open.insert(open);
        let text = open.text(at.row).await?;
        let row = open.reader.footer().row(at.row);
        Ok(Some(Resource {
            full_url: format!("{}/{}/{}", object.base, row.resource_type, row.id),
            text,
        }))
    }
}

impl Open {
    async fn text(&mut self, row: u32) -> Result<Bytes, records::Error> {
        let invalid = || records::Error::Invalid {
            what: "the index names a row that the batch has not",
        };
        if row >= self.reader.footer().row_count() {
            return Err(invalid());
        }
        let location = self.reader.footer().location(row).ok_or_else(invalid)?;
        let frame = match self
            .frame
            .take()
            .filter(|(number, _)| *number == location.frame)
        {
            Some((_, text)) => text,
            None => self.reader.read_frame(location.frame as usize).await?,
        };
        let (start, end) = (
            location.offset as usize,
            location.offset as usize + location.length as usize,
        );
        let text = (end <= frame.len()).then(|| frame.slice(start..end));
        self.frame = Some((location.frame, frame));
        text.ok_or_else(invalid)
    }
}
