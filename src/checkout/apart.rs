//! Files that are new have to look new: to `make`, and to caches that compare whole
//! seconds and sizes. See [`past`](super::past) for what is told apart, and from what.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use gix::ObjectId;

use super::files::Tree;
use super::index::{Image, LINK, second_and_size};
use super::links;
use super::past::{Past, wait_for_second_after};

/// How often a file is given another second before something else must be wrong.
const RENEWALS: u32 = 3;

/// How many files that are not tracked are looked at for one that is new.
const LOOKED_AT: usize = 20_000;

/// What is not tracked in a worktree, and in the one that it is in as a submodule, if it is.
#[derive(Clone, Copy)]
pub(super) struct Caches<'a> {
    pub(super) paths: &'a [Vec<u8>],
    pub(super) outer: Option<(&'a Path, &'a Caches<'a>)>,
}

impl<'a> Caches<'a> {
    /// Those of a worktree that is in no other.
    pub(super) fn of(paths: &'a [Vec<u8>]) -> Self {
        Self { paths, outer: None }
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.outer.is_none_or(|(_, outer)| outer.is_empty())
    }

    /// Whether any of them may have been written in `second` or later.
    fn has_new(&self, files: &mut Tree, second: i64) -> bool {
        let mut budget = LOOKED_AT;
        let is_new = |path: &Vec<u8>| files.written_since(path, second, &mut budget);
        if self.paths.iter().any(is_new) {
            return true;
        }
        self.outer.is_some_and(|(path, outer)| {
            let files = Tree::open(path);
            files.map_or(true, |mut files| outer.has_new(&mut files, second))
        })
    }
}

/// Makes sure that no cache takes what a move wrote, or what a link leads to now, for what
/// was there before: it gets the present time, and a second that it did not have yet.
///
/// `written` are the entries of `image` that the move wrote, `caches` is all that is not
/// tracked: without it there are no caches. `read` gives a blob. Returns whether
/// files got another time, which `image` has then.
///
/// # Errors
/// Where a file cannot be given another time, or gets the same again and again.
pub(super) fn tell_apart(
    files: &mut Tree,
    image: &mut Image,
    written: &[usize],
    caches: Caches<'_>,
    past: &Past,
    read: &dyn Fn(ObjectId) -> Option<Vec<u8>>,
) -> io::Result<bool> {
    if caches.is_empty() {
        return Ok(false);
    }
    let target = |at: usize| read(image.id(at));
    let (mut again, mut led_to) = (BTreeSet::new(), BTreeSet::new());
    for &i in written {
        if image.mode(i) == LINK {
            led_to.extend(links::led_to(image, image.path(i), &target));
        } else if past.repeats(image.path(i), second_and_size(image.stamp(i))) {
            again.insert(i);
        }
    }
    let mut renewed = renew(files, image, &led_to)?;
    again.append(&mut led_to);
    for _ in 0..RENEWALS {
        let seconds = again.iter().map(|&i| second_and_size(image.stamp(i)).0);
        let Some((first, last)) = seconds.clone().min().zip(seconds.max()) else {
            return Ok(renewed);
        };
        if !past.is_early(first) && !caches.has_new(files, first) {
            return Ok(renewed);
        }
        wait_for_second_after(last);
        renewed |= renew(files, image, &again)?;
        again.retain(|&i| past.repeats(image.path(i), second_and_size(image.stamp(i))));
    }
    Err(io::Error::other(
        "the clock of the file system stands still",
    ))
}

/// Gives files the present time.
fn renew(files: &mut Tree, image: &mut Image, entries: &BTreeSet<usize>) -> io::Result<bool> {
    for &i in entries {
        let stamp = files.renew(image.path(i))?;
        image.refresh(i, &stamp);
    }
    Ok(!entries.is_empty())
}
