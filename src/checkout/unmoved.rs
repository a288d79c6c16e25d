//! Whether a submodule is as the last move left it, at the commit that it is to be at: then
//! git has nothing to do there.
//!
//! Most submodules never move, and no job touches most of them, but git would take its time
//! for each before each task. As on the fast way, wherever that is not certain git does it.

use rustix::fs::FileType;

use super::Goal;
use super::admin::state_line;
use super::files::{Holds, Tree, is_special, umask};
use super::filtered::Rules;
use super::ignored::ignores;
use super::index::SUBMODULE;
use super::left::{COUNT_FOR_GIT, Left, WALK_COUNTS};
use super::scan::scan;
use crate::model::Clean;

/// Whether the submodule that `goal` is about is as `left` says, and as it is to be.
/// Its git directory is what it has to be then.
pub(super) fn is_unmoved(goal: &Goal<'_>, left: &mut Left) -> bool {
    look(goal, left).is_some_and(|unmoved| unmoved)
}

/// `None` where that cannot be found out.
fn look(goal: &Goal<'_>, left: &mut Left) -> Option<bool> {
    let at = left.at.as_ref()?;
    let same = at.commit == *goal.commit
        && at.seen == goal.template.ground()
        && at.ground.slow.is_none()
        && at.ground.unchanged()
        && (0..left.image.len()).all(|i| left.image.mode(i) != SUBMODULE);
    if !same {
        return Some(false);
    }
    let mut admin = goal.location.find(goal.repo.common_dir())?;
    let objects = goal.repo.objects();
    let read = |id| Some(objects.find_blob(id).ok()?.data.clone());
    let rules = Rules::read(&at.ground, &left.image, read);
    let conversion = format!("{} {:o}", rules.identity, umask());
    if rules.filters
        || rules.identity != Rules::PLAIN
        || state_line(&admin, "conversion ") != Some(conversion)
        || admin.was_interrupted()
    {
        return Some(false);
    }
    admin.renew(goal.template).ok()?;
    admin.set_head(goal.commit).ok()?;
    let mut slot = Tree::open(goal.location.slot_path()).ok()?;
    left.kept.as_mut()?.put_back(&mut slot).ok()?;
    let mut files = slot.below(goal.location.below()).ok()?;
    let found = match left.walked.take() {
        Some((at, found)) if at.elapsed() < WALK_COUNTS => found,
        _ => scan(&files, &left.image).ok()?,
    };
    if !found.unusual.is_empty() || !found.nested.is_empty() {
        return Some(false);
    }
    for i in found.suspects {
        let (path, mode) = (left.image.path(i), left.image.mode(i));
        let blob = read(left.image.id(i))?;
        match files.compare(path, mode, &blob, umask(), left.image.stamp(i)) {
            Holds::AsWritten(stamp) => left.image.refresh(i, &stamp),
            _ => return Some(false),
        }
    }
    for path in &found.untracked {
        let stat = files.status(path)?;
        let name = path.rsplit(|&byte| byte == b'/').next();
        if is_special(&stat) || COUNT_FOR_GIT.iter().any(|special| Some(*special) == name) {
            return Some(false);
        }
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let stays = match goal.clean {
            Clean::None => true,
            Clean::Untracked => ignores(goal.repo, &at.ground, &mut files, path, is_dir).ok()?,
            Clean::All => false,
        };
        if !stays {
            return Some(false);
        }
    }
    Some(true)
}
