//! Files that a program makes of blobs: those that an attribute gives a `filter`.
//!
//! What such a program said yesterday is no proof of what it says today: the objects that
//! it looks for may have arrived, it may have been told to leave pointers, it may be another
//! program. So these files are made anew for each task, and no others. git-lfs says by
//! the pointer what a file holds: its files are made anew only where they are pointers.

use gix::ObjectId;
use sha2::{Digest as _, Sha256};

use super::before::Before;
use super::files::Tree;
use super::git_in::GitIn;
use super::index::Image;
use super::rules::CheckoutRules;
use crate::git::GitError;
use crate::git::attributes::keeps_blobs;
use crate::git::conversion::Conversion;

/// No pointer is longer.
const LONGEST_POINTER: u64 = 1024;

/// How pointers begin.
const POINTER: [&[u8]; 2] = [
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
];

/// What a tree says about how its blobs become files, with what surrounds it.
pub(super) struct Rules {
    /// [`PLAIN`](Self::PLAIN) where blobs are files, byte by byte; otherwise all that
    /// decides, as a hash.
    pub(super) identity: String,
    /// Some files may be made by programs.
    pub(super) filters: bool,
    /// Some large files are meant to be left as pointers.
    pub(super) wants_pointers: bool,
}

impl Rules {
    /// The identity of those that make files which are their blobs.
    pub(super) const PLAIN: &str = "plain";

    /// Those of the index `image`; `read` gives a blob.
    pub(super) fn read(
        ground: &CheckoutRules,
        image: &Image,
        read: impl Fn(ObjectId) -> Option<Vec<u8>>,
    ) -> Self {
        let conversion = &ground.conversion;
        let mut plain = conversion.keeps_blobs();
        let mut rules = Self {
            identity: String::new(),
            filters: conversion.has_attributes_of_its_own(),
            wants_pointers: conversion.wants_pointers(),
        };
        let mut hash = Sha256::new();
        hash.update(conversion.identity());
        for i in 0..image.len() {
            let path = image.path(i);
            let attributes = path == b".gitattributes" || path.ends_with(b"/.gitattributes");
            if !attributes && path != b".lfsconfig" {
                continue;
            }
            let text = read(image.id(i)).unwrap_or_default();
            if attributes {
                plain &= keeps_blobs(&text);
                rules.filters |= contains(&text, b"filter");
            } else {
                let text = text.to_ascii_lowercase();
                rules.wants_pointers |= contains(&text, b"fetchexclude");
                rules.wants_pointers |= contains(&text, b"fetchinclude");
            }
            hash.update(path);
            hash.update([0]);
            hash.update(image.id(i).as_bytes());
        }
        rules.identity = if plain {
            Self::PLAIN.to_owned()
        } else {
            faster_hex::hex_string(&hash.finalize())
        };
        rules
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The entries of an index whose attributes name a filter, and which.
pub(super) struct Filtered(Vec<(usize, String)>);

impl Filtered {
    /// Those of `image`, which is git's own index where it runs.
    ///
    /// # Errors
    /// Those of git.
    pub(super) fn find(git: &GitIn<'_>, image: &Image) -> Result<Self, GitError> {
        let mut paths = Vec::new();
        for i in 0..image.len() {
            paths.extend_from_slice(image.path(i));
            paths.push(0);
        }
        let said = git.ask(
            &["check-attr", "--cached", "-z", "--stdin", "filter"],
            &paths,
        )?;
        let mut fields = said.stdout.split(|&byte| byte == 0);
        let mut found = Vec::new();
        while let (Some(path), Some(_), Some(value)) = (fields.next(), fields.next(), fields.next())
        {
            if matches!(value, b"unspecified" | b"unset" | b"set") {
                continue;
            }
            if let Ok(i) = image.find(path) {
                found.push((i, String::from_utf8_lossy(value).into_owned()));
            }
        }
        Ok(Self(found))
    }

    /// The files that were there `before` and have to be made anew.
    pub(super) fn stale(
        &self,
        files: &mut Tree,
        image: &Image,
        before: &Before,
        conversion: &Conversion,
    ) -> Vec<usize> {
        let is_stale = |(i, filter): &&(usize, String)| {
            let made = conversion.filters().any(|name| name == filter);
            let path = image.path(*i);
            made && before.has_kept(image, *i)
                && (!conversion.is_lfs(filter) || is_pointer(files, path))
        };
        let stale = self.0.iter().filter(is_stale);
        stale.map(|(i, _)| *i).collect()
    }

    /// The path of a large file of which only the pointer is there.
    pub(super) fn pointer(&self, files: &mut Tree, image: &Image) -> Option<Vec<u8>> {
        let mut paths = self
            .0
            .iter()
            .filter(|(_, filter)| filter == "lfs")
            .map(|(i, _)| image.path(*i));
        paths
            .find(|path| is_pointer(files, path))
            .map(<[u8]>::to_vec)
    }
}

/// Whether the file at `path` is a pointer of git-lfs.
fn is_pointer(files: &mut Tree, path: &[u8]) -> bool {
    let small = files.status(path);
    small.is_some_and(|stat| (1..=LONGEST_POINTER as i64).contains(&stat.st_size))
        && files
            .read(path)
            .is_some_and(|text| POINTER.iter().any(|start| text.starts_with(start)))
}
