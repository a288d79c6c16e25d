//! What is in a worktree before git moves it, and what git must not find there.
//!
//! git keeps a file where the index says that it is what the commit has, and looks no
//! closer. It does not see permissions beside one bit, other names of a file, attributes, or
//! that somebody was there and put the same bytes back. And it believes attributes that
//! a job left. So one walk before the move takes away what git would keep wrongly; git
//! then writes it anew.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::files::{Tree, is_special};
use super::index::{EXECUTABLE, FILE, Image, LINK, SUBMODULE, second_and_size, stamp};
use super::kept::Kept;
use super::past::Past;
use super::scan::{Found, scan};
use super::submodules::Modules;
use super::unmoved::At;
use crate::model::{Clean, Oid};

/// How long it counts what a walk after a job found. The next task follows at once; before a
/// later one somebody may have looked around in the idle worktree, and left something.
pub(super) const WALK_COUNTS: Duration = Duration::from_millis(500);

/// Files that say how others are checked out. One that is not tracked counts for git, also
/// where it is ignored and so stays.
pub(super) const COUNT_FOR_GIT: [&[u8]; 3] = [b".gitattributes", b".gitmodules", b".lfsconfig"];

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

/// What a move by git left in a worktree that it leaves to git the next time, too.
pub(super) struct Left {
    pub(super) image: Image,
    /// The index that says so.
    pub(super) kept: Option<Kept>,
    /// Its submodules.
    modules: Modules,
    /// Where a submodule was left.
    pub(super) at: Option<At>,
    pub(super) walked: Option<(Instant, Found)>,
}

impl Left {
    /// What the image says.
    pub(super) fn new(image: Image) -> Self {
        Self {
            image,
            kept: None,
            modules: Modules::default(),
            at: None,
            walked: None,
        }
    }

    /// The same with what is to be known of a worktree by whoever has it next.
    pub(super) fn with(self, kept: Option<Kept>, modules: Modules) -> Self {
        Self {
            kept,
            modules,
            ..self
        }
    }

    /// The same of a submodule.
    pub(super) fn at(self, at: At) -> Self {
        Self {
            at: Some(at),
            ..self
        }
    }

    /// A commit of a submodule that the user does not have any more.
    pub(super) fn missing(&self) -> Option<Oid> {
        self.modules.missing()
    }

    /// Takes out what is known of submodules.
    pub(super) fn take_modules(&mut self) -> Modules {
        std::mem::take(&mut self.modules)
    }

    /// Walks over the worktree after a job; returns how many tracked files it changed or
    /// removed. `files` is the worktree, `slot` the one of the slot, and `read` gives a blob.
    pub(super) fn look(
        &mut self,
        files: &mut Tree,
        slot: &mut Tree,
        read: impl Fn(gix::ObjectId) -> Option<Vec<u8>>,
    ) -> io::Result<u64> {
        let at = Instant::now();
        let found = scan(files, &self.image)?;
        let mut changed = 0;
        for &i in &found.suspects {
            let mode = self.image.mode(i);
            let blob = match mode {
                FILE | EXECUTABLE | LINK => read(self.image.id(i)),
                _ => continue,
            };
            let (path, known) = (self.image.path(i), self.image.stamp(i));
            changed += u64::from(files.is_changed(path, mode, blob.as_deref(), known));
        }
        self.walked = Some((at, found));
        // The job's git may have noted files there that somebody else made, and another
        // process would take them for ours.
        if let Some(kept) = &mut self.kept {
            kept.put_back(slot)?;
        }
        Ok(changed + self.modules.look(slot))
    }
}
