//! A resource that a walk comes past: its head, and what its content hash leaves out.

use std::ops::Range;

use crate::hash::{ContentHash, hash_without};
use crate::resource::{Head, is_resource_type};
use crate::walk::Walk;

/// A resource that a walk has come past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its text: compact JSON.
    pub text: &'a str,
    /// Its head and content hash, where it can be passed on. None: there is something
    /// unusual about it, and `read_head` and `check_sound` must judge.
    pub plain: Option<(Head, ContentHash)>,
}

/// What has been seen of a resource.
struct Seen<'a> {
    resource_type: Option<&'a str>,
    id: Option<&'a str>,
    version_id: Option<&'a str>,
    last_updated: Option<&'a str>,
    /// What the content hash leaves out: members of `meta`, or all of it.
    cuts: [Range<usize>; 2],
}

impl<'a> Walk<'a> {
    /// Comes past a value that should be a resource.
    pub fn resource(&mut self) -> Option<Found<'a>> {
        let start = self.at;
        let mut seen = Seen {
            resource_type: None,
            id: None,
            version_id: None,
            last_updated: None,
            cuts: [start..start, start..start],
        };
        self.is_unusual = false;
        if self.peek() == Some(b'{') {
            self.object(|walk, key| seen.member(walk, key))?;
        } else {
            self.skip()?;
        }
        let head = seen.head().filter(|_| !self.is_unusual);
        Some(Found {
            text: self.text.get(start..self.at)?,
            plain: head.map(|head| {
                let text = &self.text.as_bytes()[..self.at];
                (head, hash_without(text, start, seen.cuts))
            }),
        })
    }

    /// Comes past a string without escapes; any other value is unusual here.
    fn plain_string(&mut self) -> Option<Option<&'a str>> {
        if self.peek() == Some(b'"') {
            let escapes = self.escapes;
            let text = self.string()?;
            if self.escapes == escapes {
                return Some(Some(text));
            }
        } else {
            self.skip()?;
        }
        self.is_unusual = true;
        Some(None)
    }

    /// Where the member begins whose key is `key` and before whose value the walk stands.
    fn member_start(&self, key: &str) -> usize {
        self.at - key.len() - "\"\":".len()
    }
}

impl<'a> Seen<'a> {
    /// Comes past the value of a member of the resource.
    fn member(&mut self, walk: &mut Walk<'a>, key: &'a str) -> Option<()> {
        match key {
            "resourceType" => self.resource_type = walk.plain_string()?,
            "id" => self.id = walk.plain_string()?,
            "meta" => self.meta(walk, key)?,
            _ => walk.skip()?,
        }
        Some(())
    }

    fn meta(&mut self, walk: &mut Walk<'a>, key: &'a str) -> Option<()> {
        let start = walk.member_start(key);
        if walk.peek() != Some(b'{') {
            walk.is_unusual = true;
            return walk.skip();
        }
        let mut has_kept = false;
        walk.object(|walk, key| {
            let start = walk.member_start(key);
            let (text, cut) = match key {
                "versionId" => (&mut self.version_id, 0),
                "lastUpdated" => (&mut self.last_updated, 1),
                _ => {
                    has_kept = true;
                    return walk.skip();
                }
            };
            *text = walk.plain_string()?;
            // With the comma before it, or the one behind where none is before it.
            self.cuts[cut] = if has_kept {
                start - 1..walk.at
            } else {
                start..walk.at + 1
            };
            Some(())
        })?;
        if !has_kept {
            let end = walk.at;
            let whole = match (walk.text.as_bytes()[start - 1], walk.peek()) {
                (b',', _) => start - 1..end,
                (_, Some(b',')) => start..end + 1,
                _ => start..end,
            };
            self.cuts = [whole.clone(), whole.end..whole.end];
        }
        Some(())
    }

    fn head(&self) -> Option<Head> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Head {
            resource_type: own(self.resource_type.filter(|name| is_resource_type(name)))?,
            id: own(self.id.filter(|id| !id.is_empty()))?,
            version_id: own(self.version_id),
            last_updated: own(self.last_updated),
        })
    }
}
