//! Keeping the object store small: results are small objects, and there may be many.

use super::Repo;

/// git looks into one of the 256 directories of loose objects, and multiplies.
const SAMPLE_DIR: &str = "objects/17";

/// `gc.auto`, unless the configuration says otherwise.
const GC_AUTO: usize = 6700;

/// Lets git tidy up, if there is so much to tidy that it would after a commit of the
/// user's, too. Whether it may, how, and in the background or not is the user's
/// configuration of `gc.auto`, `maintenance.auto` and `gc.autoDetach`.
///
/// Costs one look into a directory where there is nothing to do. Whatever goes wrong is
/// git's to say at the next occasion: results are stored already.
pub fn care(repo: &Repo) {
    let loose = std::fs::read_dir(repo.common_dir().join(SAMPLE_DIR));
    let limit = repo
        .config("gc.auto")
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(GC_AUTO);
    if limit == 0 || loose.map_or(0, Iterator::count) <= limit / 256 {
        return;
    }
    let mut command = repo.git_command();
    command.args(["maintenance", "run", "--auto", "--quiet"]);
    // It may go on for long in the background; nothing of it is ours to wait for.
    let _ = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
}
