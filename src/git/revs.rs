//! From what the user typed to commits, in order. git itself reads revisions and walks
//! history: it knows every notation, shallow history, and the order of commits whose
//! clocks were wrong. Commits are those that were recorded, whatever replaces them.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use super::history::History;
use super::refs::RefError;
use super::refs::{RefReader, Wanted};
use super::{GitError, Repo};
use crate::model::{Commit, Oid, printable_line};
use crate::private;

/// Refs that hold results and bookkeeping of ours, or work that is no history: `--all`
/// means none of them.
const NO_HISTORY: [&str; 4] = ["refs/notes/*", "refs/ci/*", "refs/stash", "refs/prefetch/*"];

/// Why there are no commits to speak of.
#[derive(Debug, thiserror::Error)]
pub enum RevError {
    /// Not a revision, but something that starts like an option.
    #[error("read {0:?} as a revision: it looks like an option")]
    Option(String),
    /// git does not know the revision.
    #[error("find the commits of {rev}: {message}")]
    Unknown {
        /// What was typed, escaped.
        rev: String,
        /// What git said.
        message: String,
    },
    /// The branch that `HEAD` is on has no commit.
    #[error("find a commit: HEAD is on a branch that has none yet")]
    Unborn,
    /// git printed something else than it was asked for.
    #[error("read the commits that git lists: {0:?} is not one")]
    Output(String),
    /// The refs cannot be read here either.
    #[error("read the refs")]
    Refs(#[source] RefError),
    /// git does not run.
    #[error(transparent)]
    Git(GitError),
}

/// The order of the commits of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Children before their parents.
    Newest,
    /// Parents before their children.
    Oldest,
}

/// Which commits are meant.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Revisions and ranges, as they were typed.
    pub args: Vec<OsString>,
    /// Every commit that any ref reaches; results, bookkeeping and the stash are no history.
    pub all: bool,
    /// Every commit that a local branch reaches.
    pub branches: bool,
    /// Follow only the first parent of a merge.
    pub first_parent: bool,
    /// The order within each range.
    pub order: Order,
}

/// The commits of a selection.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// Each once.
    pub commits: Vec<Commit>,
    /// What should be among them and cannot be read, for people.
    pub left_out: Vec<String>,
}

/// The commits of a selection, each once.
///
/// A revision stands for one commit and a range for its commits, one after the other in
/// the order of the arguments. Where something is excluded (`^A`) or all refs are meant,
/// the arguments make one set, as they do for git-rev-list(1).
///
/// A ref that leads nowhere ends git's walk over all refs. Then they are walked here, and
/// what cannot be read is left out.
///
/// # Errors
/// Where git does not know a revision, or does not run.
pub fn select(repo: &Repo, selection: &Selection) -> Result<Selected, RevError> {
    let mut args = selection.args.iter();
    if let Some(option) = args.find(|arg| arg.as_bytes().starts_with(b"-")) {
        return Err(RevError::Option(printable_line(option.as_bytes()).into()));
    }
    let mut args = selection.args.iter();
    if let Some(arg) = args.find(|arg| arg.as_bytes().contains(&0)) {
        return Err(RevError::Unknown {
            rev: printable_line(arg.as_bytes()).into_owned(),
            message: "it holds a NUL byte".to_owned(),
        });
    }
    let mut commits = Commits::default();
    let excluded = selection.args.iter().any(|arg| is_excluded(arg));
    if selection.all || selection.branches || excluded {
        let mut command = walk(repo, selection);
        if selection.all {
            command.args(NO_HISTORY.map(|glob| format!("--exclude={glob}")));
            command.arg("--all");
        }
        if selection.branches {
            command.arg("--branches");
        }
        return match commits.read(repo, &mut command, &selection.args) {
            Ok(()) => Ok(commits.selected()),
            Err(RevError::Unknown { .. }) if selection.args.is_empty() => {
                walk_here(repo, selection)
            }
            Err(error) => Err(error),
        };
    }
    for group in selection.args.chunk_by(|a, b| is_range(a) == is_range(b)) {
        if is_range(&group[0]) {
            for range in group {
                let args = std::slice::from_ref(range);
                commits.read(repo, &mut walk(repo, selection), args)?;
            }
        } else {
            let single: Vec<_> = group.iter().map(|rev| commit_of(rev)).collect();
            let mut command = rev_list(repo);
            command.arg("--no-walk=unsorted");
            commits.read(repo, &mut command, &single)?;
        }
    }
    Ok(commits.selected())
}

/// The commits that refs reach, as far as they can be read.
fn walk_here(repo: &Repo, selection: &Selection) -> Result<Selected, RevError> {
    let dir: &[u8] = if selection.all {
        b"refs/"
    } else {
        b"refs/heads/"
    };
    let refs = RefReader::new(repo).read(&Wanted {
        dirs: vec![dir.to_vec()],
        head: selection.all,
    });
    let mut history = History::new(repo);
    let (mut tips, mut left_out) = (Vec::new(), Vec::new());
    for (name, id) in refs.map_err(RevError::Refs)? {
        let none = |glob: &&str| name.starts_with(glob.trim_end_matches('*'));
        if NO_HISTORY.iter().any(none) {
            continue;
        }
        match history.peel(&id) {
            Ok(tip) => tips.extend(tip),
            Err(error) => left_out.push(format!("{}: failed to {error}", name.short())),
        }
    }
    let graph = history.unseen(&tips, &[]);
    for (id, error) in &graph.unreadable {
        left_out.push(format!("what is behind {}: failed to {error}", id.short()));
    }
    let mut wanted: HashSet<_> = tips.into_iter().collect();
    let mut commits = Vec::new();
    for one in &graph.commits {
        let parents = if selection.first_parent {
            1
        } else {
            usize::MAX
        };
        if wanted.contains(&one.id) {
            wanted.extend(one.parents.iter().take(parents));
            // Read a moment ago.
            commits.extend(history.commit(&one.id).ok());
        }
    }
    if selection.order == Order::Oldest {
        commits.reverse();
    }
    Ok(Selected { commits, left_out })
}

/// The one commit that `rev` names.
///
/// # Errors
/// As [`select`].
pub fn resolve(repo: &Repo, rev: impl AsRef<OsStr>) -> Result<Commit, RevError> {
    let rev = rev.as_ref();
    let selection = Selection {
        args: vec![rev.to_owned()],
        all: false,
        branches: false,
        first_parent: false,
        order: Order::Newest,
    };
    let unknown = || RevError::Unknown {
        rev: printable_line(rev.as_bytes()).into_owned(),
        message: "one commit is needed here".to_owned(),
    };
    if is_range(rev) || is_excluded(rev) {
        return Err(unknown());
    }
    let mut found = select(repo, &selection)?.commits;
    found.pop().ok_or_else(unknown)
}

/// What a bisect that is under way in this work tree began on, as people call it, and the
/// commit that it is at.
pub fn bisect_start(repo: &Repo) -> Option<(String, Commit)> {
    /// A name is not longer.
    const MOST: u64 = 4096;
    let start = private::read(&repo.git_dir().join("BISECT_START"), MOST).ok()?;
    // The name of a branch or, where `HEAD` was detached, an id.
    let start = start.trim_ascii_end();
    let branch = [b"refs/heads/", start].concat();
    let rev = match resolve(repo, OsStr::from_bytes(&branch)) {
        Ok(commit) => commit,
        Err(_) => resolve(repo, OsStr::from_bytes(start)).ok()?,
    };
    Some((printable_line(start).into_owned(), rev))
}

/// The last `count` commits that `HEAD` reaches, newest first.
///
/// # Errors
/// Where `HEAD` has no commit, or git does not run.
pub fn last(repo: &Repo, count: usize) -> Result<Vec<Commit>, RevError> {
    // No topological order: that would have to walk all of history first.
    let mut commits = Commits::default();
    let mut command = rev_list(repo);
    command.arg(format!("--max-count={count}"));
    commits.read(repo, &mut command, &["HEAD".into()])?;
    Ok(commits.list)
}

/// The last `count` commits before one, along first parents, newest first.
///
/// # Errors
/// Where git does not run.
pub fn before(repo: &Repo, commit: &Oid, count: usize) -> Result<Vec<Commit>, RevError> {
    let mut commits = Commits::default();
    let mut command = rev_list(repo);
    command.args(["--first-parent", "--skip=1"]);
    command.arg(format!("--max-count={count}"));
    commits.read(repo, &mut command, &[commit.to_string().into()])?;
    Ok(commits.list)
}

/// Those of `commits` that change something at `paths`, which are as git-log(1) reads them
/// here; of merges none, nor commits that are not there.
///
/// # Errors
/// Where git cannot make sense of a path, or does not run.
pub fn touching(
    repo: &Repo,
    commits: impl Iterator<Item = Oid>,
    paths: &[OsString],
) -> Result<HashSet<Oid>, RevError> {
    let mut input = String::new();
    for commit in commits {
        input += &format!("{commit}\n");
    }
    let mut command = repo.git().as_the_user();
    command.args(["diff-tree", "--stdin", "--root", "-r", "-s", "--"]);
    command.args(paths);
    let output = repo.git().output_with_input(&mut command, input.as_bytes());
    let text = String::from_utf8_lossy(&output.map_err(RevError::Git)?.stdout).into_owned();
    let read = |line: &str| {
        let id = line.parse().ok();
        id.ok_or_else(|| RevError::Output(printable_line(line.as_bytes()).into_owned()))
    };
    text.lines().map(read).collect()
}

/// The files that differ between two commits, of those that `patterns` select.
///
/// # Errors
/// Where git does not run, or one of the commits is not there.
pub fn changed(
    repo: &Repo,
    from: &Oid,
    to: &Oid,
    patterns: &[String],
) -> Result<Vec<Vec<u8>>, RevError> {
    let mut command = repo.git_command();
    command.args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"]);
    command.args([from.to_string(), to.to_string(), "--".to_owned()]);
    command.args(patterns);
    let output = repo.git().output(&mut command).map_err(RevError::Git)?;
    let names = output.stdout.split(|&byte| byte == 0);
    let names = names.filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// The upstream of the branch that `HEAD` is on, as git abbreviates it; `None` where
/// there is no such branch or it has none.
pub fn upstream(repo: &Repo) -> Option<String> {
    let mut command = repo.git().as_the_user();
    command.args(["rev-parse", "--abbrev-ref", "@{upstream}"]);
    repo.git().read(&mut command).ok()
}

/// The names of local branches, remote branches and tags.
pub fn names(repo: &Repo) -> Vec<String> {
    let mut command = repo.git().as_the_user();
    command.args(["for-each-ref", "--format=%(refname:short)"]);
    command.args(["refs/heads", "refs/remotes", "refs/tags"]);
    let listed = repo.git().read(&mut command).unwrap_or_default();
    listed.lines().map(str::to_owned).collect()
}

/// The time that `--since=DATE` means to git, in seconds since the epoch.
///
/// # Errors
/// Where git does not run or answers something else.
pub fn since(repo: &Repo, date: &str) -> Result<i64, RevError> {
    let mut command = repo.git().as_the_user();
    command.arg("rev-parse").arg(format!("--since={date}"));
    let said = repo.git().read(&mut command).map_err(RevError::Git)?;
    let seconds = said.strip_prefix("--max-age=").and_then(|s| s.parse().ok());
    seconds.ok_or_else(|| RevError::Output(printable_line(said.as_bytes()).into_owned()))
}

/// Who made a commit, and when. All of it is raw: escape it before it is shown.
#[derive(Debug, Clone)]
pub struct Details {
    /// The author's name.
    pub author: String,
    /// The author's address.
    pub email: String,
    /// The author's date, in the form that `log.date` asks for.
    pub date: String,
    /// The same in ISO 8601.
    pub iso_date: String,
}

/// Who made a commit, and when.
///
/// # Errors
/// Where there is no such commit, or git does not run.
pub fn details(repo: &Repo, commit: &Oid) -> Result<Details, RevError> {
    let mut command = repo.git().as_the_user();
    command
        .args(["-c", "log.showSignature=false", "log", "--no-walk", "-1"])
        .args(["--format=%an%x00%ae%x00%ad%x00%aI", "--encoding=UTF-8"])
        .arg("--no-color")
        .arg(commit.to_string());
    let output = repo.git().output(&mut command).map_err(RevError::Git)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut parts = text.trim_end_matches('\n').splitn(4, '\0');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    Ok(Details {
        author: next(),
        email: next(),
        date: next(),
        iso_date: next(),
    })
}

/// Whether an argument stands for several commits: gitrevisions(7), "Specifying ranges".
pub fn is_range(arg: impl AsRef<OsStr>) -> bool {
    // The notation is ASCII, whatever the names are.
    let arg = arg.as_ref().to_string_lossy();
    // What follows these is text to search for, which may hold anything.
    let plain = arg.split_once("^{/").map_or(&*arg, |(before, _)| before);
    if plain.starts_with(":/") {
        return false;
    }
    let parents = |mark: &str| {
        let rest = plain.rsplit_once(mark).map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_digit()))
    };
    plain.contains("..") || plain.ends_with("^!") || plain.ends_with("^@") || parents("^-")
}

fn is_excluded(arg: &OsStr) -> bool {
    arg.as_bytes().starts_with(b"^")
}

/// What makes git insist on a commit: a tree would be listed as nothing at all.
fn commit_of(rev: &OsStr) -> OsString {
    let mut commit = rev.to_owned();
    if !rev.as_bytes().starts_with(b":/") {
        commit.push("^{commit}");
    }
    commit
}

fn rev_list(repo: &Repo) -> Command {
    let mut command = repo.git().as_the_user();
    // Before each commit's line git prints another one, "TIME commit ID": the time as it
    // sorts by it, and a number whatever the commit says (`%ct` may be empty).
    command.args(["rev-list", "--timestamp", "--format=%T %s"]);
    command.arg("--encoding=UTF-8");
    command
}

fn walk(repo: &Repo, selection: &Selection) -> Command {
    let mut command = rev_list(repo);
    // By time, a commit with a wrong clock may come before its children, or a range
    // hold what it excludes.
    command.arg("--topo-order");
    if selection.first_parent {
        command.arg("--first-parent");
    }
    if selection.order == Order::Oldest {
        command.arg("--reverse");
    }
    command
}

/// Commits in the order in which they were named first.
#[derive(Default)]
struct Commits {
    list: Vec<Commit>,
    seen: HashSet<Oid>,
}

impl Commits {
    fn selected(self) -> Selected {
        Selected {
            commits: self.list,
            left_out: Vec::new(),
        }
    }

    fn read(
        &mut self,
        repo: &Repo,
        command: &mut Command,
        revs: &[OsString],
    ) -> Result<(), RevError> {
        // On standard input there is no limit to their number, and an empty line ends nothing.
        let lines = revs.iter().flat_map(|rev| [rev.as_bytes(), b"\n"]);
        let input: Vec<u8> = lines.flatten().copied().collect();
        let output = repo
            .git()
            .output_with_input(command.arg("--stdin"), &input)
            .map_err(|error| unknown(repo, revs, error))?;
        let mut lines = output.stdout.split(|&c| c == b'\n');
        while let Some(head) = lines.next().filter(|head| !head.is_empty()) {
            let line = lines.next().unwrap_or_default();
            let commit = parse(head, line);
            let commit =
                commit.ok_or_else(|| RevError::Output(printable_line(head).into_owned()))?;
            if self.seen.insert(commit.id) {
                self.list.push(commit);
            }
        }
        Ok(())
    }
}

/// A commit from the two lines that git prints of it.
fn parse(head: &[u8], line: &[u8]) -> Option<Commit> {
    let head = std::str::from_utf8(head).ok()?;
    let (time, id) = head.split_once(" commit ")?;
    let line = String::from_utf8_lossy(line);
    let (tree, subject) = line.split_once(' ')?;
    let time: u64 = time.parse().ok()?;
    Some(Commit {
        id: id.parse().ok()?,
        tree: tree.parse().ok()?,
        time: i64::try_from(time).unwrap_or(i64::MAX),
        snapshot: None,
        subject: subject.to_owned(),
    })
}

/// Makes git's complaint about one of `revs` ours.
fn unknown(repo: &Repo, revs: &[OsString], error: GitError) -> RevError {
    let GitError::Failed { message, .. } = error else {
        return RevError::Git(error);
    };
    let head = revs.iter().any(|rev| rev.as_bytes().starts_with(b"HEAD"));
    if head && !has_commit(repo) {
        return RevError::Unborn;
    }
    let mut shown = revs.iter().map(|rev| printable_line(rev.as_bytes()));
    let named = shown.find(|rev| message.contains(&**rev));
    let first = revs.first().map(|rev| printable_line(rev.as_bytes()));
    let rev = named.or(first).unwrap_or_default();
    RevError::Unknown {
        rev: rev.strip_suffix("^{commit}").unwrap_or(&rev).to_owned(),
        message: message.replace("^{commit}", ""),
    }
}

fn has_commit(repo: &Repo) -> bool {
    let mut command = repo.git().as_the_user();
    command.args(["rev-parse", "-q", "--verify", "HEAD"]);
    repo.git().output(&mut command).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_from_single_revisions() {
        for range in [
            "a..b", "a...b", "..b", "a..", "main^!", "main^@", "main^-", "main^-2",
        ] {
            assert!(is_range(range), "{range}");
        }
        for single in [
            "main",
            "HEAD~2",
            "v1.0^{commit}",
            ":/fix a..b",
            "HEAD^{/a..b}",
            "@{-1}",
        ] {
            assert!(!is_range(single), "{single}");
        }
    }
}
