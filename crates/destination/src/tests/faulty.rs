//! A mock of a store with one fault each.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It takes every create for an overwrite, as some do.
    Overwrites,
    /// Its key has no right to read.
    KeepsToItself,
    /// Its key has no right to delete.
    KeepsAll,
    /// It lists nothing.
    ListsNothing,
    /// Its clock is an hour slow.
    IsSlow,
}

#[derive(Debug)]
pub(super) struct Faulty(pub(super) Arc<dyn ObjectStore>, pub(super) Fault);

fn denied() -> object_store::Error {
    object_store::Error::PermissionDenied {
        path: "object".to_owned(),
        source: "mock".into(),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.1, self.0)
    }
}

impl ObjectStore for Faulty {
    fn put_opts<'s, 'l, 'f>(
        &'s self,
        location: &'l Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> BoxFuture<'f, Result<PutResult>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        if self.1 == Fault::Overwrites {
            options.mode = PutMode::Overwrite;
        }
        self.0.put_opts(location, payload, options)
    }

    fn put_multipart_opts<'s, 'l, 'f>(
        &'s self,
        location: &'l Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        self.0.put_multipart_opts(location, options)
    }

    fn get_opts<'s, 'l, 'f>(
        &'s self,
        location: &'l Path,
        options: GetOptions,
    ) -> BoxFuture<'f, Result<GetResult>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        if self.1 == Fault::KeepsToItself && !options.head {
            return Box::pin(async { Err(denied()) });
        }
        let got = self.0.get_opts(location, options);
        if self.1 != Fault::IsSlow {
            return got;
        }
        Box::pin(async {
            let mut got = got.await?;
            got.meta.last_modified -= std::time::Duration::from_secs(3600);
            Ok(got)
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.1 == Fault::KeepsAll {
            return locations.map(|_| Err(denied())).boxed();
        }
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.1 == Fault::ListsNothing {
            return futures::stream::empty().boxed();
        }
        self.0.list(prefix)
    }

    fn list_with_delimiter<'s, 'p, 'f>(
        &'s self,
        prefix: Option<&'p Path>,
    ) -> BoxFuture<'f, Result<ListResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        self.0.list_with_delimiter(prefix)
    }

    fn copy_opts<'s, 'a, 'b, 'f>(
        &'s self,
        from: &'a Path,
        to: &'b Path,
        options: CopyOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        's: 'f,
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.0.copy_opts(from, to, options)
    }
}
