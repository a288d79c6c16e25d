//! The commits that notes are in: who makes them, what they say, and how ours are known.

use gix::ObjectId;
use gix::objs::CommitRefIter;
use jiff::Timestamp;

use super::error::NotesError;
use crate::git::Repo;
use crate::git::command::GitError;
use crate::git::reading::Objects;

/// The message of every notes commit.
const MESSAGE: &str = "Notes added by 'git ci'\n";

/// Who writes notes commits.
pub(super) struct Identity {
    /// `Name <address>`, in whatever encoding git had it.
    who: Vec<u8>,
    /// The offset of the time zone, such as `+0200`.
    zone: Vec<u8>,
    /// Seconds since the epoch, where the caller fixed the date.
    pinned: Option<Vec<u8>>,
}

impl Identity {
    /// git's own answer for the user and the repository: their variables count here.
    pub(super) fn ask(repo: &Repo) -> Result<Self, NotesError> {
        let mut command = repo.git().as_the_user();
        command.arg("--git-dir").arg(repo.git_dir());
        let said = repo
            .git()
            .output(command.args(["var", "GIT_COMMITTER_IDENT"]));
        let said = said.map_err(|error| match error {
            GitError::Failed { message, .. } => NotesError::Identity {
                // Before it, git prints a page of advice.
                message: message.lines().last().unwrap_or_default().to_owned(),
            },
            other => other.into(),
        })?;
        let mut words = said.stdout.trim_ascii_end().rsplitn(3, |&c| c == b' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (zone, time, who) = (next(), next(), next());
        let pinned = std::env::var_os("GIT_COMMITTER_DATE").map(|_| time);
        Ok(Self { who, zone, pinned })
    }

    pub(super) fn name_and_address(&self) -> [String; 2] {
        let who = String::from_utf8_lossy(&self.who);
        let (name, address) = who.split_once(" <").unwrap_or((&who, ""));
        [name.to_owned(), address.trim_end_matches('>').to_owned()]
    }

    /// The notes commit, as git-commit-tree(1) would write it.
    pub(super) fn commit(&self, tree: ObjectId, parent: Option<ObjectId>) -> Vec<u8> {
        let now = Timestamp::now().as_second().to_string().into_bytes();
        let time = self.pinned.as_ref().unwrap_or(&now);
        let mut data = format!("tree {tree}\n").into_bytes();
        if let Some(parent) = parent {
            data.extend(format!("parent {parent}\n").into_bytes());
        }
        for role in ["author", "committer"] {
            data.extend(role.as_bytes());
            for word in [&self.who, time, &self.zone] {
                data.push(b' ');
                data.extend(word);
            }
            data.push(b'\n');
        }
        data.push(b'\n');
        data.extend(MESSAGE.as_bytes());
        data
    }
}

/// Whether a commit has the message of those that git-ci makes.
pub(super) fn is_ours(objects: &Objects, commit: ObjectId) -> bool {
    let found = objects.find_object(commit);
    found.is_ok_and(|found| found.kind.is_commit() && found.data.ends_with(MESSAGE.as_bytes()))
}

/// The parents of a commit; none where it is no commit, or cannot be read.
pub(super) fn parents(objects: &Objects, commit: ObjectId) -> Vec<ObjectId> {
    let Ok(found) = objects.find_object(commit) else {
        return Vec::new();
    };
    CommitRefIter::from_bytes(&found.data, commit.kind())
        .parent_ids()
        .collect()
}
