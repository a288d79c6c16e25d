//! Keeping the object store small: results are small objects, and there may be many.

use std::fs;
use std::process::Stdio;

use super::Repo;

/// git looks into one of the 256 directories of loose objects, and multiplies.
const SAMPLE_DIR: &str = "objects/17";

/// `gc.auto`, unless the configuration says otherwise.
const GC_AUTO: usize = 6700;

/// `gc.autoPackLimit`, likewise.
const PACK_LIMIT: usize = 50;

/// Lets git tidy up, if there is so much to tidy that it would after a commit of the
/// user's, too: many loose objects, which jobs and checkouts may leave, or many packs,
/// of which large ones of ours may be some. Whether it may, how, and in the background or
/// not is the user's configuration of `gc.auto`, `maintenance.auto` and `gc.autoDetach`.
///
/// Costs a look into two directories where there is nothing to do. Whatever goes wrong is
/// git's to say at the next occasion: results are stored already.
pub fn auto_gc(repo: &Repo) {
    let limit = |key: &str, default: usize| {
        let value = repo.config(key).and_then(|value| value.trim().parse().ok());
        value.unwrap_or(default)
    };
    let auto = limit("gc.auto", GC_AUTO);
    if auto == 0 {
        return;
    }
    let loose = fs::read_dir(repo.common_dir().join(SAMPLE_DIR));
    let many_loose = loose.map_or(0, Iterator::count) > auto / 256;
    let pack_limit = limit("gc.autopacklimit", PACK_LIMIT);
    if !many_loose && (pack_limit == 0 || packs(repo) <= pack_limit) {
        return;
    }
    let mut command = repo.git_command();
    command.args(["maintenance", "run", "--auto", "--quiet"]);
    // It may go on for long in the background; nothing of it is ours to wait for.
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// How many packs a gc would put together.
fn packs(repo: &Repo) -> usize {
    let files = fs::read_dir(repo.common_dir().join("objects/pack"));
    let paths = files
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path());
    let packs = paths.filter(|path| path.extension().is_some_and(|last| last == "pack"));
    packs
        .filter(|path| !path.with_extension("keep").exists())
        .count()
}
