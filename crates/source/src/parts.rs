//! The parts of a page, found in one walk over its text. What the walk refuses
//! [`salvage`](crate::salvage::salvage) reads part by part.

use bytes::Bytes;
use model::{
    Found, RawResource, RejectReason, Walk, check_sound, compact, content_hash, read_head,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a page is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// `resourceType`.
    pub(crate) resource_type: Option<String>,
    /// `type`.
    pub(crate) kind: Option<String>,
    pub(crate) links: Vec<Link>,
    /// The resources of its entries.
    pub(crate) resources: Vec<Entry>,
}

/// The resource of an entry; or why there is none, and what is there.
pub(crate) type Entry = Result<RawResource, (RejectReason, Bytes)>;

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Link {
    pub(crate) relation: Option<String>,
    pub(crate) url: Option<String>,
}

/// The members of a Bundle that count, as they are written.
#[derive(Default)]
struct Members<'a> {
    resource_type: Option<&'a str>,
    kind: Option<&'a str>,
    links: Option<&'a str>,
    resources: Option<Vec<Entry>>,
}

/// Reads a page that is JSON as a whole; `None` where it is not, or is unusual. The
/// resources share the page's memory, or that of one compact copy.
pub(crate) fn parts(body: &Bytes) -> Option<Parts> {
    walked(body, |walk, body| {
        let mut members = Members::default();
        walk.object(|walk, name| members.take(walk, name, body))?;
        members.read()
    })
}

/// Reads a resource that is a text of its own.
pub(crate) fn resource(text: &Bytes) -> Entry {
    if let Some(found) = walked(text, |walk, text| Some(entry(walk.resource()?, text))) {
        return found;
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Err((RejectReason::Encoding, Bytes::new()));
    };
    match serde_json::from_str::<&RawValue>(text.strip_prefix('\u{FEFF}').unwrap_or(text)) {
        Ok(raw) => judge(Bytes::copy_from_slice(&compact(raw.get().as_bytes()))),
        Err(_) => Err((RejectReason::Syntax, Bytes::new())),
    }
}

/// Walks over the whole of `body`; once more without its whitespace where there is any.
fn walked<T>(body: &Bytes, mut read: impl FnMut(&mut Walk<'_>, &Bytes) -> Option<T>) -> Option<T> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let text = text.trim_end_matches([' ', '\n', '\r', '\t']);
    let mut walk = Walk::new(text);
    let found = read(&mut walk, body);
    if walk.is_at_end() {
        return found;
    }
    if !walk.is_at_space() {
        return None;
    }
    let body = Bytes::from(compact(text.as_bytes()).into_owned());
    let mut walk = Walk::new(std::str::from_utf8(&body).ok()?);
    let found = read(&mut walk, &body)?;
    walk.is_at_end().then_some(found)
}

impl<'a> Members<'a> {
    /// Comes past a member; none may be there twice.
    fn take(&mut self, walk: &mut Walk<'a>, name: &str, body: &Bytes) -> Option<()> {
        let slot = match name {
            "resourceType" => &mut self.resource_type,
            "type" => &mut self.kind,
            "link" => &mut self.links,
            "entry" if self.resources.is_none() => {
                self.resources = Some(entries(walk, body)?);
                return Some(());
            }
            "entry" => return None,
            // It could be the name of one of these.
            _ if name.contains('\\') => return None,
            _ => return walk.skip(),
        };
        slot.replace(walk.value()?).is_none().then_some(())
    }

    fn read(self) -> Option<Parts> {
        Some(Parts {
            resource_type: read_or_none(self.resource_type)?,
            kind: read_or_none(self.kind)?,
            links: read_or_none(self.links)?.unwrap_or_default(),
            resources: self.resources.unwrap_or_default(),
        })
    }
}

/// The value of a member; nothing where it is `null` or not there.
fn read_or_none<'a, T: Deserialize<'a>>(text: Option<&'a str>) -> Option<Option<T>> {
    text.map_or(Some(None), |text| serde_json::from_str(text).ok())
}

fn entries(walk: &mut Walk<'_>, body: &Bytes) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    if walk.peek() == Some(b'n') {
        walk.skip()?;
        return Some(found);
    }
    walk.array(|walk| {
        let mut resource = None;
        walk.object(|walk, name| match name {
            "resource" => {
                let here = match walk.peek() {
                    Some(b'n') => walk.skip().map(|()| missing()),
                    _ => walk.resource().map(|found| entry(found, body)),
                };
                resource.replace(here?).is_none().then_some(())
            }
            _ if name.contains('\\') => None,
            _ => walk.skip(),
        })?;
        found.push(resource.unwrap_or_else(missing));
        Some(())
    })?;
    Some(found)
}

fn missing() -> Entry {
    Err((RejectReason::Missing, Bytes::new()))
}

fn entry(found: Found<'_>, body: &Bytes) -> Entry {
    let text = body.slice_ref(found.text.as_bytes());
    match found.plain {
        Some((head, hash)) => Ok(RawResource { head, hash, text }),
        None => judge(text),
    }
}

/// A resource of compact JSON text, if it can be passed on.
pub(crate) fn judge(text: Bytes) -> Entry {
    match read_head(&text).and_then(|head| check_sound(&text).map(|()| head)) {
        Ok(head) => Ok(RawResource {
            head,
            hash: content_hash(&text),
            text,
        }),
        Err(reason) => Err((reason, text)),
    }
}
