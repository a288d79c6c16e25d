//! Whether a path is ignored, decided in process as git decides it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use gix::ignore::Search;
use gix::ignore::search::Ignore;

use super::files::Tree;
use super::rules::CheckoutRules;
use crate::git::Repo;

/// Whether the rules of the worktree as it is now ignore `path`, or a directory above it.
///
/// # Errors
/// Where rules cannot be read.
pub(super) fn ignores(
    repo: &Repo,
    ground: &CheckoutRules,
    files: &mut Tree,
    path: &[u8],
    is_dir: bool,
) -> io::Result<bool> {
    let parse = Ignore {
        support_precious: false,
    };
    let excludes = ground.excludes.clone();
    let mut search = Search::from_git_dir(repo.common_dir(), excludes, &mut Vec::new(), parse)?;
    let mut end = 0;
    loop {
        // The rules of the directory that ends here count for what is below it.
        let file = [&path[..end], b".gitignore"].concat();
        if let Some(rules) = files.read(&file) {
            let file = Path::new(OsStr::from_bytes(&file));
            search
                .add_patterns_buffer(&rules, file, Some(Path::new("")), parse)
                .map_err(io::Error::other)?;
        }
        let slash = path[end..].iter().position(|&byte| byte == b'/');
        let (part, is_dir) = match slash {
            Some(slash) => (&path[..end + slash], true),
            None => (path, is_dir),
        };
        let ignored = search
            .pattern_matching_relative_path(
                gix::bstr::BStr::new(part),
                Some(is_dir),
                gix::glob::pattern::Case::Sensitive,
            )
            .is_some_and(|found| !found.pattern.is_negative());
        match slash {
            _ if ignored => return Ok(true),
            None => return Ok(false),
            Some(slash) => end += slash + 1,
        }
    }
}
