//! What is in a worktree before git moves it, and what git must not find there.
//!
//! git keeps a file where the index says that it is what the commit has, and looks no
//! closer. It does not see permissions beside one bit, other names of a file, attributes, or
//! that somebody was there and put the same bytes back. And it believes attributes that
//! a job left. So one walk before the move takes away what git would keep wrongly; git
//! then writes it anew.

use std::collections::HashMap;
use std::io;

use rustix::fs::FileType;

use super::files::{Tree, is_special};
use super::index::{EXECUTABLE, FILE, Image, SUBMODULE, second_and_size, stamp};
use super::left::{COUNT_FOR_GIT, Left, WALK_COUNTS};
use super::past::Past;
use super::scan::scan;
use crate::model::Clean;

/// What was there.
pub(super) struct Before {
    image: Image,
    /// The second and size of files that are not as the image says; `None` where no
    /// file is.
    actual: HashMap<usize, Option<(i64, u64)>>,
    /// What is not tracked.
    untracked: Vec<Vec<u8>>,
}

impl Before {
    /// Of a worktree without files.
    pub(super) fn nothing(hash: gix::hash::Kind) -> Self {
        Self {
            image: Image::empty(hash),
            actual: HashMap::new(),
            untracked: Vec::new(),
        }
    }

    /// Walks over the worktree, unless that has just been done, and takes away what git
    /// must not keep. What `clean` is about to remove is noted in `past`.
    pub(super) fn look(
        files: &mut Tree,
        left: Left,
        clean: Clean,
        past: &mut Past,
    ) -> io::Result<Self> {
        let found = match left.walked {
            Some((at, found)) if at.elapsed() < WALK_COUNTS => found,
            _ => scan(files, &left.image)?,
        };
        let mut before = Self {
            image: left.image,
            actual: HashMap::new(),
            untracked: Vec::new(),
        };
        for path in found.untracked {
            let Some(stat) = files.status(&path) else {
                continue;
            };
            let name = path.rsplit(|&byte| byte == b'/').next();
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let in_the_way = !is_dir && before.image.has_below(&path)
                || is_special(&stat) && name == Some(b".gitignore");
            if in_the_way || COUNT_FOR_GIT.iter().any(|special| Some(*special) == name) {
                files.remove_all(&path)?;
                continue;
            }
            if clean != Clean::None {
                past.leaves(&path, &stat);
                if is_special(&stat) {
                    files.remove_all(&path)?;
                    continue;
                }
            }
            before.untracked.push(path);
        }
        if clean != Clean::None {
            for path in &found.nested {
                files.remove_all(path)?;
            }
        }
        for i in found.suspects {
            before.suspect(files, i)?;
        }
        for i in found.unusual {
            before.take_away(files, i)?;
        }
        Ok(before)
    }

    /// Decides about a file that is not provably as it was left.
    fn suspect(&mut self, files: &mut Tree, i: usize) -> io::Result<()> {
        let (path, mode) = (self.image.path(i), self.image.mode(i));
        let is_file = mode == FILE || mode == EXECUTABLE;
        let stat = files.status(path);
        let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if is_file
            && !matches!(
                kind,
                None | Some(FileType::RegularFile | FileType::Directory)
            )
        {
            // git may open it before it replaces it, and wait.
            files.remove_all(path)?;
        }
        let stat = stat.filter(|_| kind == Some(FileType::RegularFile));
        let stamp = stat.map(|stat| stamp(&stat));
        self.actual
            .insert(i, stamp.map(|stamp| second_and_size(&stamp)));
        // Where something else is git sees it.
        if let Some(stamp) = stamp
            && is_file
            && files.is_touched(path, &stamp, self.image.stamp(i))
        {
            self.take_away(files, i)?;
        }
        Ok(())
    }

    fn take_away(&self, files: &mut Tree, i: usize) -> io::Result<()> {
        if self.image.mode(i) == FILE || self.image.mode(i) == EXECUTABLE {
            files.remove_all(self.image.path(i))?;
        }
        Ok(())
    }

    /// What is tracked.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// What is not tracked, and what `clean` has left of it.
    pub(super) fn caches(&self) -> &[Vec<u8>] {
        &self.untracked
    }

    /// Whether the file of entry `at` of `image`, what is there now, is the one that was there.
    pub(super) fn has_kept(&self, image: &Image, at: usize) -> bool {
        let old = self.image.find(image.path(at));
        old.is_ok_and(|i| image.stamp(at) == self.image.stamp(i))
    }

    /// Whether something that was not tracked may be inside a directory of the tree now.
    pub(super) fn is_mixed_into(&self, image: &Image) -> bool {
        self.untracked.iter().any(|path| image.has_below(path))
    }

    /// The entries of `image`, what is there now, that were not there before, or not so. What was
    /// there instead is noted in `past`.
    pub(super) fn written(&self, image: &Image, past: &mut Past) -> Vec<usize> {
        for i in 0..self.image.len() {
            let path = self.image.path(i);
            let stays = image.find(path);
            if stays.is_ok_and(|at| image.stamp(at) == self.image.stamp(i)) {
                continue;
            }
            if self.image.mode(i) == SUBMODULE && stays.is_ok_and(|at| image.mode(at) == SUBMODULE)
            {
                // It looks at its own files.
                continue;
            }
            let known = || matches!(self.image.mode(i), FILE | EXECUTABLE);
            match self.actual.get(&i) {
                Some(Some(content)) => past.left(path, *content),
                None if known() => past.left(path, second_and_size(self.image.stamp(i))),
                _ => past.lost(path),
            }
        }
        let is_new = |at: &usize| !self.has_kept(image, *at);
        (0..image.len()).filter(is_new).collect()
    }
}
