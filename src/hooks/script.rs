//! The text of hooks: ours, and ours within somebody's shell script.
//!
//! The block goes right behind the first line. There it is reached whatever the script
//! does later (`exit`, `exec`, `set -e`), there is no exit code before it that it could
//! change, and it itself ends with success. Appended at the end it would be reached only
//! by scripts that get there, which a reader of shell scripts cannot tell.

use std::ops::Range;

use super::Hook;

const BEGIN: &[u8] = b"# >>> git-ci >>>";
const END: &[u8] = b"# <<< git-ci <<<";
const INTERPRETER: &[u8] = b"#!/bin/sh\n";
const MADE: &[u8] = b"# Made by `git ci hook install`; `git ci hook remove` takes it away.\n";

/// Shells that read the block alike.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox"];

/// What is left of a hook without our block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// It was ours.
    Nothing,
    /// Somebody's script, as it was.
    Rest(Vec<u8>),
}

/// The line for people to add where we must not.
pub(super) fn line(hook: Hook) -> String {
    if hook.is_gate() {
        return format!("git-ci {} || exit 1", hook.call());
    }
    format!("git-ci {} \"$@\" || :", hook.call())
}

/// A whole hook.
pub(super) fn own(hook: Hook, program: Option<&str>) -> String {
    let block = block(hook, program, false);
    [INTERPRETER, MADE, block.as_bytes()]
        .map(String::from_utf8_lossy)
        .concat()
}

/// Our block. `shared` where the rest of the script may want the hook's input as well.
fn block(hook: Hook, program: Option<&str>, shared: bool) -> String {
    let (begin, end) = (String::from_utf8_lossy(BEGIN), String::from_utf8_lossy(END));
    // Graphical clients run hooks with a short PATH; an upgrade may move the program.
    let find = match program {
        Some(program) => format!(
            "git_ci={}\n[ -x \"$git_ci\" ] || git_ci=git-ci\n",
            shell_words::quote(program)
        ),
        None => "git_ci=git-ci\n".to_owned(),
    };
    let call = hook.call();
    if hook.is_gate() {
        // What is not there keeps nobody from committing.
        return format!(
            "{begin}\n{find}if command -v \"$git_ci\" >/dev/null 2>&1; then\n  \
             \"$git_ci\" {call} </dev/null || exit 1\n\
             else\n  echo 'git-ci is not found: nothing is tested' >&2\nfi\n\
             unset git_ci\n{end}\n"
        );
    }
    let call = format!("command -v \"$git_ci\" >/dev/null 2>&1 && \"$git_ci\" {call} \"$@\"");
    let body = match (hook.reads_input(), shared) {
        (false, _) => format!("{find}{call} </dev/null >/dev/null || :\nunset git_ci\n"),
        (true, false) => format!("{find}{call} >/dev/null || :\nunset git_ci\n"),
        (true, true) => format!(
            "{find}git_ci_input=$(cat)\n\
             printf '%s\\n' \"$git_ci_input\" 2>/dev/null | {{ {call} >/dev/null; }} || :\n\
             if [ -n \"$git_ci_input\" ]; then exec <<GIT_CI_INPUT\n\
             $git_ci_input\n\
             GIT_CI_INPUT\n\
             else exec </dev/null; fi\n\
             unset git_ci git_ci_input\n"
        ),
    };
    format!("{begin}\n{body}{end}\n")
}

/// Where the block is, its line feeds included.
fn find_block(script: &[u8]) -> Option<Range<usize>> {
    let mut start = None;
    let mut at = 0;
    for line in script.split_inclusive(|&byte| byte == b'\n') {
        let next = at + line.len();
        match (start, line.trim_ascii_end()) {
            (None, BEGIN) => start = Some(at),
            (Some(start), END) => return Some(start..next),
            _ => {}
        }
        at = next;
    }
    None
}

/// Whether our block is in it.
pub(super) fn has_block(script: &[u8]) -> bool {
    find_block(script).is_some()
}

/// Whether there is nothing in it but what we wrote.
pub(super) fn is_own(script: &[u8]) -> bool {
    has_block(script) && without_block(script) == Removed::Nothing
}

/// `script` with our block, new or in the place of the one that is there.
pub(super) fn with_block(script: &[u8], hook: Hook, program: Option<&str>) -> Vec<u8> {
    let place = find_block(script).unwrap_or_else(|| {
        let first = script.iter().position(|&byte| byte == b'\n');
        let behind = first.map_or(script.len(), |at| at + 1);
        behind..behind
    });
    let block = block(hook, program, !is_own(script));
    [
        &script[..place.start],
        block.as_bytes(),
        &script[place.end..],
    ]
    .concat()
}

/// `script` without our block.
pub(super) fn without_block(script: &[u8]) -> Removed {
    let Some(block) = find_block(script) else {
        return Removed::Rest(script.to_vec());
    };
    let rest = [&script[..block.start], &script[block.end..]].concat();
    match rest
        .strip_prefix(INTERPRETER)
        .and_then(|rest| rest.strip_prefix(MADE))
    {
        Some(b"") => Removed::Nothing,
        // Ours, to which somebody added.
        Some(added) => Removed::Rest([INTERPRETER, added].concat()),
        None => Removed::Rest(rest),
    }
}

/// Whether somebody wrote the call into it.
pub(super) fn calls(text: &[u8], hook: Hook) -> bool {
    let call = match hook {
        // With options of their own.
        Hook::PreCommit => "run --staged".to_owned(),
        hook => hook.call(),
    };
    text.split(|&byte| byte == b'\n').any(|line| {
        !line.trim_ascii_start().starts_with(b"#")
            && line.windows(call.len()).any(|part| part == call.as_bytes())
    })
}

/// Why the block cannot go into `script`: it completes "FILE …".
pub(super) fn obstacle(script: &[u8]) -> Option<&'static str> {
    let Some(end) = script.iter().position(|&byte| byte == b'\n') else {
        return Some("has no line to put anything behind");
    };
    let first = &script[..end];
    if !is_shell(first) {
        return Some("is no shell script");
    }
    if script.contains(&0) {
        return Some("is not only text");
    }
    if script.windows(BEGIN.len()).any(|part| part == BEGIN) {
        return Some("has a broken block of git-ci");
    }
    // Programs that hide in a shell script, and scripts that count their own lines.
    let reads_itself = script.split(|&byte| byte == b'\n').any(|line| {
        let line = String::from_utf8_lossy(line);
        let words = ["exec", "tail", "head", "sed", "awk", "perl", "python"];
        (line.contains("$0") || line.contains("${0}"))
            && line
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| words.contains(&word))
    });
    reads_itself.then_some("reads itself, so that a line more may break it")
}

/// Whether a first line asks for a shell.
fn is_shell(first: &[u8]) -> bool {
    let Ok(first) = std::str::from_utf8(first) else {
        return false;
    };
    let Some(command) = first.strip_prefix("#!") else {
        return false;
    };
    // A carriage return would be a part of the interpreter's name.
    if command.contains('\r') {
        return false;
    }
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let mut words = command.split_ascii_whitespace().map(base);
    let mut name = words.next().unwrap_or_default();
    if name == "env" {
        name = words
            .find(|word| !word.starts_with('-') && !word.contains('='))
            .unwrap_or_default();
    }
    SHELLS.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_and_goes_without_a_trace() {
        for script in [
            "#!/bin/sh\n",
            "#!/bin/sh\necho hi",
            "#!/usr/bin/env bash\nset -e\r\n\n\nexit 3\n\n",
        ] {
            for hook in Hook::ALL {
                let script = script.as_bytes();
                let with = with_block(script, hook, Some("/opt/it's here/git-ci"));
                assert!(has_block(&with) && !is_own(&with) && calls(&with, hook));
                assert_eq!(with_block(&with, hook, Some("/opt/it's here/git-ci")), with);
                let moved = with_block(&with, hook, None);
                assert_ne!(moved, with);
                assert_eq!(without_block(&with), Removed::Rest(script.to_vec()));
                assert_eq!(without_block(&moved), Removed::Rest(script.to_vec()));
            }
        }
    }

    #[test]
    fn what_was_added_to_ours_stays() {
        let own = own(Hook::PostCommit, None);
        assert_eq!(without_block(own.as_bytes()), Removed::Nothing);
        assert_eq!(
            without_block(format!("{own}echo mine\n").as_bytes()),
            Removed::Rest(b"#!/bin/sh\necho mine\n".to_vec())
        );
    }

    #[test]
    fn only_shell_scripts_take_a_block() {
        for (script, takes) in [
            ("#!/bin/sh\n", true),
            ("#! /bin/bash -e\n", true),
            ("#!/usr/bin/env -S bash -eu\n", true),
            ("#!/usr/bin/busybox sh\n", true),
            ("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n", true),
            ("#!/usr/bin/env python3\n", false),
            ("#!/usr/bin/perl\n", false),
            ("#!/bin/sh\r\n", false),
            ("#!/bin/sh", false),
            ("echo no interpreter\n", false),
            ("\x7fELF\0\n", false),
            ("", false),
            ("#!/bin/sh\n''':'\nexec python3 \"$0\" \"$@\"\n'''\n", false),
            ("#!/bin/sh\ntail -n +4 \"$0\" | sh\n", false),
            ("#!/bin/sh\n# >>> git-ci >>>\n", false),
        ] {
            assert_eq!(obstacle(script.as_bytes()).is_none(), takes, "{script:?}");
        }
    }

    #[test]
    fn a_call_in_a_comment_is_none() {
        let hook = Hook::PostCommit;
        assert!(calls(line(hook).as_bytes(), hook));
        assert!(calls(b"  run: git ci notify --hook post-commit", hook));
        assert!(!calls(b"# git-ci notify --hook post-commit", hook));
        assert!(!calls(line(Hook::PostMerge).as_bytes(), hook));
    }
}
