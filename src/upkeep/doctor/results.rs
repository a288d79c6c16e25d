//! The notes: whether they can be read, and whether something will overwrite them.

use crate::git::{Repo, has_reflog, obstacle};
use crate::model::Oid;
use crate::notes::{Audit, NotesError, Remedy, Unread, audit_notes, find_remedy, notes_tip};
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
    let Audit { census, unread } = match audit_notes(repo, notes_ref) {
        Ok(audit) => audit,
        Err(error) => {
            damaged(repo, notes_ref, &error, findings);
            return 0;
        }
    };
    if census.records > 0
        && let Remedy::TreeOf(tip) = find_remedy(repo, notes_ref)
    {
        let message = format!(
            "the notes in {notes_ref} are whole, but objects of their history are missing: \
             `git gc` and `git push` fail; this begins a new history with the same notes"
        );
        let mut fix = vec![set_to_tree(notes_ref, &tip, tip)];
        fix.extend(forget_log(repo, notes_ref));
        let fix: Vec<_> = fix.iter().map(String::as_str).collect();
        findings.error("notes", message, &fix);
    }
    let too_large = unread.iter().filter(|(_, why)| *why == Unread::TooLarge);
    for (commit, _) in too_large {
        let message = format!("the note of {commit} is too large to be read or added to");
        let short = notes_ref.strip_prefix("refs/notes/").unwrap_or(notes_ref);
        let fix = format!("git notes --ref={} remove {commit}", quote(short));
        findings.warning("notes", message, &[&fix]);
    }
    let away = unread.iter().filter(|(_, why)| *why == Unread::Away);
    let away = away.count();
    if away > 0 {
        let message = format!("{away} notes are not here, and could not be fetched");
        findings.warning("notes", message, &["git fetch"]);
    }
    if let Some(obstacle) = obstacle(repo, notes_ref) {
        let fix = obstacle.commands();
        let fix: Vec<_> = fix.iter().map(String::as_str).collect();
        let message = format!("{obstacle} keeps {notes_ref} from being written");
        findings.error("notes", message, &fix);
    }
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

/// Notes that cannot be read: where they were whole for the last time.
fn damaged(repo: &Repo, notes_ref: &str, error: &NotesError, findings: &mut Findings) {
    let why = with_causes(error);
    let name = quote(notes_ref);
    let mut fix = Vec::new();
    let bad = match notes_tip(repo, notes_ref) {
        Ok(tip) => tip.map(|tip| tip.to_string()),
        Err(_) => {
            // git moves no ref whose value it cannot read.
            let path = repo.common_dir().join(notes_ref);
            if path.exists() {
                fix.push(format!("rm {}", quote(path)));
            }
            None
        }
    };
    let bad = bad.unwrap_or_default();
    let message = match find_remedy(repo, notes_ref) {
        Remedy::Tip(good) => {
            fix.push(format!("git update-ref {name} {good} {bad}"));
            fix.extend(forget_log(repo, notes_ref));
            format!("{why}; the last notes that are whole are those of {good}")
        }
        Remedy::TreeOf(good) => {
            fix.push(set_to_tree(notes_ref, &good, &bad));
            fix.extend(forget_log(repo, notes_ref));
            format!(
                "{why}; the last notes that are whole are those of {good}, but objects of \
                 their history are missing: this begins a new one"
            )
        }
        Remedy::None | Remedy::NotNeeded => {
            fix.push(format!("git update-ref -d {name} {bad}"));
            format!("{why}; no notes that are whole are left here: this begins anew")
        }
    };
    let fix: Vec<_> = fix.iter().map(|command| command.trim_end()).collect();
    findings.error("notes", message, &fix);
}

/// The command that empties the ref's log, which names what is missing: a gc ends there.
fn forget_log(repo: &Repo, notes_ref: &str) -> Option<String> {
    let command = format!("git reflog expire --expire=now {}", quote(notes_ref));
    has_reflog(repo, notes_ref).then_some(command)
}

/// The command that sets the notes to a new commit without history, with a tree of `of`.
fn set_to_tree(notes_ref: &str, of: &Oid, bad: impl std::fmt::Display) -> String {
    let commit = format!("git commit-tree {of}^{{tree}} -m 'Notes added by git ci'");
    format!("git update-ref {} $({commit}) {bad}", quote(notes_ref))
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
