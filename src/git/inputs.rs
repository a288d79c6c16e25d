//! Which part of a tree a job reads: the entries that its patterns select, as one hash.
//!
//! A directory of which everything is selected stands for itself by its tree, and nothing below
//! it is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice as _};

use super::patterns::Patterns;
use super::reading::Objects;
use super::repo::Repo;
use crate::model::{InputId, Inputs, Oid};

/// So many directories are kept in mind.
const MOST_KEPT: usize = 100_000;

/// So much is kept of the trees themselves, in bytes.
const TREES: usize = 8 << 20;

/// Selects entries of trees.
#[derive(Debug)]
struct Selection {
    lists: Vec<Patterns>,
    /// What is selected below directories, by their paths and trees.
    kept: HashMap<(BString, ObjectId), Option<InputId>>,
}

impl Selection {
    /// What is selected of the directory `path`, of which `above` matched last.
    fn select(
        &mut self,
        objects: &Objects,
        path: &BStr,
        tree: ObjectId,
        above: &[Option<usize>],
    ) -> Option<Option<InputId>> {
        let key = (path.to_owned(), tree);
        if let Some(known) = self.kept.get(&key) {
            return Some(*known);
        }
        let found = objects.find_tree(tree).ok()?;
        let mut selected: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for entry in found.iter() {
            let entry = entry.ok()?;
            let (name, mode) = (entry.filename(), entry.mode());
            let mut below = path.to_owned();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            let is_dir = mode.is_tree();
            let lists = self.lists.iter().zip(above);
            let last: Vec<_> = lists
                .map(|(list, above)| list.last(*above, below.as_bstr(), is_dir))
                .collect();
            let pairs = || self.lists.iter().zip(&last);
            let is_mixed = |(list, last): (&Patterns, &Option<usize>)| {
                is_dir && list.is_mixed_below(*last, below.as_bstr())
            };
            let is_whole = pairs().any(|one| one.0.selects(*one.1) && !is_mixed(one));
            let is_part = !is_whole && pairs().any(is_mixed);
            let what = if is_whole {
                let mut what = format!("{:o} ", mode.value()).into_bytes();
                what.extend_from_slice(entry.object_id().as_bytes());
                what
            } else if is_part {
                let part = self.select(objects, below.as_bstr(), entry.object_id(), &last)?;
                let Some(part) = part else { continue };
                format!("part {part}").into_bytes()
            } else {
                continue;
            };
            selected.push((name.to_vec(), what));
        }
        let id = (!selected.is_empty()).then(|| InputId::of_entries(&selected));
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(key, id);
        Some(id)
    }
}

/// Reads trees for all jobs of a process that read only parts of them.
pub struct InputReader {
    inner: Mutex<Inner>,
}

struct Inner {
    objects: Objects,
    selections: HashMap<Vec<Vec<String>>, Selection>,
}

impl std::fmt::Debug for InputReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputReader").finish_non_exhaustive()
    }
}

impl InputReader {
    /// A reader of this repository's trees.
    pub fn new(repo: &Repo) -> Arc<Self> {
        let mut objects = repo.objects();
        // Several jobs read the same trees, one after the other.
        objects.object_cache_size(TREES);
        let inner = Inner {
            objects,
            selections: HashMap::new(),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of what these lists of patterns select of a tree, each list for itself; `None`
    /// where a tree cannot be read.
    pub fn input(&self, lists: &[Vec<String>], tree: &Oid) -> Option<InputId> {
        let selected = self.selected(lists, tree)?;
        Some(selected.unwrap_or_else(|| InputId::of_entries(&[])))
    }

    /// Whether a pattern selects anything of a tree; also where that cannot be read.
    pub fn matches(&self, pattern: &str, tree: &Oid) -> bool {
        let found = self.selected(&[vec![pattern.to_owned()]], tree);
        found.is_none_or(|found| found.is_some())
    }

    fn selected(&self, lists: &[Vec<String>], tree: &Oid) -> Option<Option<InputId>> {
        let inner = &mut *self.inner();
        if !inner.selections.contains_key(lists) {
            let selection = Selection {
                lists: lists.iter().map(|list| Patterns::new(list)).collect(),
                kept: HashMap::new(),
            };
            inner.selections.insert(lists.to_vec(), selection);
        }
        let selection = inner.selections.get_mut(lists)?;
        let above = vec![None; selection.lists.len()];
        let tree = ObjectId::try_from(tree.as_bytes()).ok()?;
        selection.select(&inner.objects, b"".as_bstr(), tree, &above)
    }
}

/// What one job reads.
#[derive(Debug)]
pub struct JobInputs {
    reader: Arc<InputReader>,
    lists: Vec<Vec<String>>,
    /// What was found of whole trees.
    known: Mutex<HashMap<Oid, Option<InputId>>>,
}

impl JobInputs {
    /// What these lists of patterns select, each for itself.
    pub fn new(reader: &Arc<InputReader>, lists: Vec<Vec<String>>) -> Self {
        let reader = Arc::clone(reader);
        Self {
            reader,
            lists,
            known: Mutex::default(),
        }
    }
}

impl Inputs for JobInputs {
    fn of(&self, tree: &Oid) -> Option<InputId> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KEPT {
            known.clear();
        }
        *known
            .entry(*tree)
            .or_insert_with(|| self.reader.input(&self.lists, tree))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Git;

    /// A repository, and the trees that these files make, one after the other.
    fn trees(versions: &[&[(&str, &str)]]) -> (tempfile::TempDir, Repo, Vec<Oid>) {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::find().unwrap();
        let path = dir.path();
        let run = |args: &[&str]| {
            let mut command = git.command();
            command.current_dir(path).args(args);
            git.read(&mut command).unwrap()
        };
        run(&["init", "-q", "."]);
        let trees = versions.iter().map(|files| {
            for entry in std::fs::read_dir(path).unwrap() {
                let entry = entry.unwrap().path();
                if entry.ends_with(".git") {
                    continue;
                }
                if entry.is_dir() {
                    std::fs::remove_dir_all(entry).unwrap();
                } else {
                    std::fs::remove_file(entry).unwrap();
                }
            }
            for (name, text) in *files {
                let file = path.join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
            run(&["add", "-A"]);
            run(&["write-tree"]).parse().unwrap()
        });
        let trees = trees.collect();
        let repo = Repo::open_common(&path.join(".git")).unwrap();
        (dir, repo, trees)
    }

    fn lists(lists: &[&[&str]]) -> Vec<Vec<String>> {
        let text = |one: &&str| (*one).to_owned();
        lists
            .iter()
            .map(|list| list.iter().map(text).collect())
            .collect()
    }

    #[test]
    fn what_is_selected_counts_and_nothing_else_does() {
        let base = [
            ("src/a/x.rs", "1"),
            ("src/b.rs", "1"),
            ("docs/d.md", "1"),
            ("top.rs", "1"),
        ];
        let with = |name: &'static str, text: &'static str| {
            let mut files = base.to_vec();
            files.retain(|(other, _)| *other != name);
            files.push((name, text));
            files
        };
        let changes = [
            "src/a/x.rs",
            "src/b.rs",
            "docs/d.md",
            "top.rs",
            "src/a/new.rs",
            "other/new.md",
        ];
        let mut versions = vec![base.to_vec()];
        versions.extend(changes.map(|name| with(name, "2")));
        let versions: Vec<_> = versions.iter().map(Vec::as_slice).collect();
        let (_dir, repo, trees) = trees(&versions);
        let reader = InputReader::new(&repo);
        for (patterns, counts) in [
            (&[&["src/**"][..]][..], "yynnyn"),
            (&[&["src"]], "yynnyn"),
            (&[&["/src/"]], "yynnyn"),
            (&[&["src/*"]], "yynnyn"),
            (&[&["src/*.rs"]], "nynnnn"),
            (&[&["*.rs"]], "yynyyn"),
            (&[&["/*.rs"]], "nnnynn"),
            (&[&["**/*.md"]], "nnynny"),
            (&[&["src", "!src/a"]], "nynnnn"),
            (&[&["src", "!*.rs"]], "nnnnnn"),
            (&[&["*", "!docs"]], "yynyyy"),
            (&[&["src", "!src/a", "src/a/new.rs"]], "nynnyn"),
            (&[&["src/a"], &["docs"]], "ynynyn"),
            (&[&["nothing/here"]], "nnnnnn"),
        ] {
            let lists = lists(patterns);
            let base = reader.input(&lists, &trees[0]).unwrap();
            let differs = |tree: &Oid| reader.input(&lists, tree).unwrap() != base;
            let found = trees[1..]
                .iter()
                .map(differs)
                .map(|differs| if differs { 'y' } else { 'n' });
            assert_eq!(found.collect::<String>(), counts, "{patterns:?}");
        }
        assert!(reader.matches("src/a", &trees[0]) && !reader.matches("srcs", &trees[0]));
    }

    #[test]
    fn what_was_removed_is_not_what_was_never_there_elsewhere() {
        let (_dir, repo, trees) = trees(&[
            &[("a/x", "1"), ("b/x", "1")],
            &[("a/x", "1")],
            &[("b/x", "1")],
        ]);
        let reader = InputReader::new(&repo);
        let lists = lists(&[&["*/x"]]);
        let ids = trees.iter().map(|tree| reader.input(&lists, tree).unwrap());
        let ids: std::collections::HashSet<_> = ids.collect();
        assert_eq!(ids.len(), 3);
        assert_eq!(reader.input(&lists, &"1".repeat(40).parse().unwrap()), None);
    }
}
