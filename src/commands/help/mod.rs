//! Manual pages and completion scripts, made from the definitions of the commands.
//!
//! They are committed, so that installing needs nothing but `install`; a test compares
//! what is committed with what is made here. Nothing in them depends on the day or the
//! machine. `git ci --help` opens git-ci(1), so that page is the help of the program.

mod completions;
mod examples;
mod groups;
#[cfg(test)]
mod json_page;
mod man;

use clap::CommandFactory as _;

pub(super) use completions::{Shell, script};

/// The pages beside those of the commands: what `git ci help` calls them, their section, and
/// what they are about. Section 5 is for formats, as in git.
const PAGES: [(&str, u8, &str); 5] = [
    ("note", 5, "how results are written in git notes"),
    ("jobs", 5, "the jobs file, and what a job is given and says"),
    ("json", 5, "what is printed for other programs"),
    ("agents", 7, "git-ci for scripts and coding agents"),
    ("trace", 7, "how to follow what git-ci does"),
];

/// Every generated file: its path in the source tree, and its text.
pub fn generated() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (name, text) in man::pages(&command()) {
        files.push((format!("man/{name}"), text));
    }
    for shell in Shell::ALL {
        files.push((format!("completions/{}", shell.file()), script(shell)));
    }
    files
}

/// The whole command line, with everything in it that clap works out by itself.
fn command() -> clap::Command {
    let mut command = definition();
    command.build();
    command
}

/// The whole command line as it is parsed: with examples, and with its commands in groups.
pub(super) fn definition() -> clap::Command {
    let mut command = super::Cli::command();
    let list = groups::list(&command);
    let names: Vec<_> = visible(&command)
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        let text = examples::text(&name);
        command = command.mut_subcommand(&name, |sub| {
            let more = sub.get_after_long_help().map(ToString::to_string);
            sub.after_long_help(match more {
                Some(more) => format!("{}\n\n{text}", more.trim_end()),
                None => text,
            })
        });
    }
    command
        .help_template(
            "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\nOptions:\n{options}",
        )
        .after_help(list)
}

/// What `git ci -h` prints.
pub(super) fn short() -> String {
    command().render_help().to_string()
}

/// What `git ci COMMAND --help` prints; `None` where there is no such command.
pub(super) fn long(name: &str) -> Option<String> {
    let whole = command();
    let mut found = visible(&whole).filter(|sub| sub.get_name() == name);
    Some(found.next()?.clone().render_long_help().to_string())
}

/// The manual page of a format, as roff; `None` where there is no such format.
pub(super) fn format(name: &str) -> Option<String> {
    man::format(name)
}

/// The names of the commands and formats.
pub(super) fn names() -> Vec<String> {
    let whole = command();
    let commands = visible(&whole).map(|sub| sub.get_name().to_owned());
    let formats = PAGES.iter().map(|(name, ..)| (*name).to_owned());
    commands.chain(formats).collect()
}

/// The subcommands that people may know about.
fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}
