//! The notes: whether they can be read, and whether something will overwrite them.

use crate::git::{NotesError, Repo, audit_notes};
use crate::settings::{NOTES_REF, Settings};

use super::{Findings, quote, with_causes};

pub(super) fn check(repo: &Repo, findings: &mut Findings) {
    let settings = Settings::of(repo).ok();
    let notes_ref = settings
        .as_ref()
        .map_or(NOTES_REF, |settings| &settings.notes_ref);
    let count = notes(repo, notes_ref, findings);
    display(repo, notes_ref, findings);
    if count > 0 && covers(repo, "notes.rewriteref", notes_ref) {
        let message = format!(
            "notes.rewriteRef copies {notes_ref} to amended and rebased commits; records of \
             another content are ignored there"
        );
        findings.info("rewrite", message, &[]);
    }
    fetching(repo, notes_ref, findings);
}

/// Reads all notes; how many records there are.
fn notes(repo: &Repo, notes_ref: &str, findings: &mut Findings) -> usize {
    let census = match audit_notes(repo, notes_ref) {
        Ok(census) => census.unwrap_or_default(),
        Err(error) => {
            let fix = match &error {
                NotesError::Ref(_) => format!("git update-ref -d {}", quote(notes_ref)),
                _ => "git fsck".to_owned(),
            };
            findings.error("notes", with_causes(&error), &[&fix]);
            return 0;
        }
    };
    if census.other_versions > 0 {
        let message = format!(
            "records in {notes_ref} of other versions of git-ci: {}; they are ignored",
            census.other_versions
        );
        findings.info("notes", message, &["git ci --version"]);
    }
    if census.foreign > 0 {
        let message = format!(
            "lines in {notes_ref} that are no records: {}; they are kept and ignored",
            census.foreign
        );
        findings.info("notes", message, &[]);
    }
    census.records
}

fn display(repo: &Repo, notes_ref: &str, findings: &mut Findings) {
    if !covers(repo, "notes.displayref", notes_ref) {
        let message = "`git log` shows results only with --notes=ci";
        let fix = format!("git config notes.displayRef {}", quote(notes_ref));
        findings.info("display", message, &[&fix]);
    }
}

/// Whether one of the values of `key`, which may be patterns, means `name`.
fn covers(repo: &Repo, key: &str, name: &str) -> bool {
    let mut entries = repo.config_entries();
    let values = entries
        .find(|(entry, _)| *entry == key)
        .map(|(_, values)| values);
    values
        .into_iter()
        .flatten()
        .any(|value| matches(value, name))
}

/// Whether a pattern with at most one star, as refspecs have them, matches `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
        None => pattern == name,
    }
}

/// Refspecs by which a fetch deletes or overwrites local results.
fn fetching(repo: &Repo, notes_ref: &str, findings: &mut Findings) {
    let on = |key: &str| {
        let value = repo.config(key)?;
        Some(matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "yes" | "on" | "1"
        ))
    };
    for (key, specs) in repo.config_entries() {
        let remote = key
            .strip_prefix("remote.")
            .and_then(|rest| rest.strip_suffix(".fetch"));
        let Some(remote) = remote else { continue };
        // `^refs/notes/ci` keeps a fetch from it, and pruning, too.
        let excluded = specs.iter().filter_map(|spec| spec.strip_prefix('^'));
        if excluded.into_iter().any(|spec| matches(spec, notes_ref)) {
            continue;
        }
        let prune = on(&format!("remote.{remote}.prune")).or_else(|| on("fetch.prune"));
        let prune = prune == Some(true);
        for spec in specs {
            let (forced, plain) = match spec.strip_prefix('+') {
                Some(plain) => (true, plain),
                None => (false, spec.as_str()),
            };
            let target = plain.split_once(':').map_or("", |(_, target)| target);
            if !matches(target, notes_ref) || !(forced || prune) {
                continue;
            }
            let does = if prune {
                "deletes or overwrites"
            } else {
                "overwrites"
            };
            let message = format!(
                "`git fetch {remote}` {does} the results of this repository: remote.{remote}.fetch \
                 is {spec}"
            );
            let fix = format!(
                "git config --add {} {}",
                quote(key),
                quote(format!("^{notes_ref}"))
            );
            findings.error("fetch", message, &[&fix]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_refspecs() {
        for (pattern, yes) in [
            ("refs/notes/*", true),
            ("refs/*", true),
            ("refs/notes/ci", true),
            ("refs/notes/ci*i", false),
            ("refs/notes/commits", false),
            ("", false),
        ] {
            assert_eq!(matches(pattern, "refs/notes/ci"), yes, "{pattern}");
        }
    }
}
