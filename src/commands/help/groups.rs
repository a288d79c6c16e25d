//! Which commands there are, by what somebody wants to do, as `git help` groups its own.

use super::{PAGES, visible};

/// Every command that people may know about, in the order in which they are met.
const GROUPS: [(&str, &[&str]); 5] = [
    ("start", &["init", "run"]),
    (
        "look at results",
        &[
            "status",
            "log",
            "show",
            "logs",
            "artifacts",
            "blame",
            "flaky",
            "stats",
            "wait",
            "shell",
            "forget",
        ],
    ),
    ("run all the time", &["watch", "hook", "cancel"]),
    ("use other machines", &["hosts"]),
    (
        "care",
        &[
            "config",
            "doctor",
            "gc",
            "help",
            "version",
            "completions",
            "notify",
        ],
    ),
];

/// The list for `git ci -h`.
pub(super) fn list(command: &clap::Command) -> String {
    let about = |name: &str| {
        let mut found = visible(command).filter(|sub| sub.get_name() == name);
        let about = found.next().and_then(clap::Command::get_about);
        about.map(ToString::to_string).unwrap_or_default()
    };
    let width = visible(command).map(|sub| sub.get_name().len()).max();
    let mut text = String::from("Commands:\n");
    for (title, names) in GROUPS {
        text += &format!("\n{title}\n");
        for name in names {
            text += &format!(
                "  {name:<width$}  {}\n",
                about(name),
                width = width.unwrap_or(0)
            );
        }
    }
    text += "\nMore pages:\n";
    for (name, _, about) in PAGES {
        text += &format!("  {name:<width$}  {about}\n", width = width.unwrap_or(0));
    }
    text + "\n`git ci help COMMAND` opens its manual page, and `git ci help PAGE` one of these."
}

/// Every name in the order of the groups.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    GROUPS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect()
}
