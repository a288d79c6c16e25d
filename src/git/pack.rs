//! Thin packs for a host that has a part of the history already.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Child, Stdio};

use gix::ObjectId;

use super::Repo;
use crate::model::Oid;

impl Repo {
    /// Whether an object is here.
    pub fn has(&self, id: &Oid) -> bool {
        ObjectId::try_from(id.as_bytes()).is_ok_and(|id| self.objects().has_object(id))
    }

    /// `sha1` or `sha256`.
    pub fn object_format(&self) -> &str {
        self.config("extensions.objectformat").unwrap_or("sha1")
    }

    /// Where this repository's history is cut off.
    ///
    /// # Errors
    /// Those of reading git's list of it.
    pub fn shallow_commits(&self) -> io::Result<Vec<Oid>> {
        if !self.is_shallow() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(self.common_dir().join("shallow"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Starts to make a pack of what `want` reaches and `have` does not; it comes from
    /// the standard output of what is returned.
    ///
    /// # Errors
    /// Those of starting a program and of talking to it.
    pub fn make_pack(&self, want: &[Oid], have: &[Oid]) -> io::Result<Child> {
        let mut revs = String::new();
        for id in want {
            // Writing to a String cannot fail.
            let _ = writeln!(revs, "{id}");
        }
        for id in have {
            let _ = writeln!(revs, "^{id}");
        }
        let mut child = self
            .git_command()
            .args(["pack-objects", "--revs", "--thin", "--stdout", "-q"])
            .args(["--delta-base-offset", "--threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // It reads all of it before it writes anything.
            stdin.write_all(revs.as_bytes())?;
        }
        Ok(child)
    }
}
