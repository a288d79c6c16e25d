//! Why a checkout was left to git, which takes longer than one in process.

use std::io;

use crate::model::printable_line;

/// A reason. Paths and keys are escaped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Slow {
    /// Nothing is known of the worktree yet.
    #[error("this process has not used the worktree yet")]
    FirstUse,
    /// The clock has gone back.
    #[error("the clock has gone back since the worktree was used")]
    Clock,
    /// Configuration, or a file that it names, may be others than before.
    #[error("the configuration has changed, or is too young to tell")]
    Changed,
    /// Its git directory is not the one that was left.
    #[error("the git directory of the worktree was replaced")]
    Replaced,
    /// Objects may have to be fetched.
    #[error("this is a partial clone")]
    Partial,
    /// A setting that git alone knows how to follow.
    #[error("{0} is set")]
    Setting(String),
    /// Configuration that is in no file, so that no change of it can be seen.
    #[error("there is configuration that is in no file")]
    Elsewhere,
    /// Filters, line ends or attributes from outside the tree.
    #[error("filters, line ends or attributes from outside the tree change files")]
    Conversion,
    /// Attributes of the tree.
    #[error("attributes in {0} change files")]
    Attributes(String),
    /// An entry of the tree that is no file.
    #[error("{0} is a submodule")]
    Submodule(String),
    /// An entry of the tree that git refuses on some systems, or not, as configured.
    #[error("{0} has a name that git takes a second look at")]
    Name(String),
    /// A tree that names an entry twice.
    #[error("a tree has {0} twice")]
    Twice(String),
    /// The index holds something else than files and links.
    #[error("the index holds more than files and links")]
    Index,
    /// An object is missing or damaged.
    #[error("an object cannot be read")]
    Object,
    /// A directory of a job has become one of the tree.
    #[error("what is not tracked is mixed into directories of the tree")]
    Mixed,
    /// Nobody wants it any more.
    #[error("the checkout was interrupted")]
    Interrupted,
    /// Something on the way failed.
    #[error("a file could not be read or written: {0}")]
    Io(#[from] io::Error),
}

impl Slow {
    /// The same reason will be there for the next commit, unless somebody changes something.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Partial
                | Self::Setting(_)
                | Self::Elsewhere
                | Self::Conversion
                | Self::Attributes(_)
                | Self::Submodule(_)
                | Self::Name(_)
                | Self::Twice(_)
        )
    }

    pub(super) fn attributes(path: &[u8]) -> Self {
        Self::Attributes(printable_line(path).into_owned())
    }

    pub(super) fn submodule(path: &[u8]) -> Self {
        Self::Submodule(printable_line(path).into_owned())
    }

    pub(super) fn name(path: &[u8]) -> Self {
        Self::Name(printable_line(path).into_owned())
    }
}
