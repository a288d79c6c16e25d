//! The manual pages: git-ci(1), the overview, one for each subcommand, in section 5 one for
//! each format, and git-ci-trace(7).

use clap_mangen::Man;

use super::{PAGES, visible};
use crate::settings::KEYS;

/// The overview, with gaps for what is known from the code.
const OVERVIEW: &str = include_str!("overview.roff");

/// The format of notes, with gaps for what a test or a shell reads.
const NOTE: &str = include_str!("note.roff");

/// The format of the jobs file.
const JOBS: &str = include_str!("jobs.roff");

/// The format of JSON, as a test makes it from the types that are printed.
const JSON: &str = include_str!("../../../man/git-ci-json.5");

/// For scripts and agents.
const AGENTS: &str = include_str!("agents.roff");

/// How to follow what happens.
const TRACE: &str = include_str!("trace.roff");

/// Lines of a note, and what each of them means.
const VECTORS: &str = include_str!("vectors.txt");

/// A program that reads notes.
const READER: &str = include_str!("records.sh");

/// What every subcommand's page ends with.
const ENDING: &str = "\
.SH EXIT STATUS
.TP
\\fB0\\fR
All is well.
.TP
\\fB1\\fR
A job failed, or something is wrong.
.TP
\\fB125\\fR
No verdict.
.TP
\\fB128\\fR
The configuration, the repository or the machine rules it out.
.TP
\\fB129\\fR
Wrong usage.
.P
More in \\fBgit-ci\\fR(1).
.SH SEE ALSO
";

/// Every page with its file name, but for that of JSON, which is made elsewhere.
pub(super) fn pages(command: &clap::Command) -> Vec<(String, String)> {
    let mut pages = vec![("git-ci.1".to_owned(), overview(command))];
    for sub in visible(command) {
        let name = format!("git-ci-{}", sub.get_name());
        pages.push((format!("{name}.1"), page(command, sub, &name)));
    }
    pages.push(("git-ci-note.5".to_owned(), note()));
    pages.push(("git-ci-jobs.5".to_owned(), jobs()));
    pages.push(("git-ci-agents.7".to_owned(), agents()));
    pages.push(("git-ci-trace.7".to_owned(), trace()));
    pages
}

/// The page of a format.
pub(super) fn format(name: &str) -> Option<String> {
    match name {
        "note" => Some(note()),
        "jobs" => Some(jobs()),
        "json" => Some(JSON.to_owned()),
        "agents" => Some(agents()),
        "trace" => Some(trace()),
        _ => None,
    }
}

fn agents() -> String {
    AGENTS.replace("@VERSION@", &version())
}

fn trace() -> String {
    TRACE.replace("@VERSION@", &version())
}

fn note() -> String {
    NOTE.replace("@VERSION@", &version())
        .replace("@VECTORS@\n", &verbatim(VECTORS))
        .replace("@READER@\n", &verbatim(READER))
}

fn jobs() -> String {
    JOBS.replace("@VERSION@", &version())
}

/// Lines that stand in a page as they are, indented, and can be copied from there: some
/// characters are typographic ones otherwise.
fn verbatim(text: &str) -> String {
    let line = |line: &str| match line {
        "" => "\n".to_owned(),
        line => {
            let line = escape(line).replace('^', "\\(ha").replace('~', "\\(ti");
            format!("    {}\n", line.replace('`', "\\(ga"))
        }
    };
    text.lines().map(line).collect()
}

fn overview(command: &clap::Command) -> String {
    let mut commands = String::new();
    for sub in visible(command) {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let name = escape(&format!("git-ci-{}", sub.get_name()));
        commands += &format!(".TP\n\\fB{name}\\fR(1)\n{}.\n", code(&escape(&about)));
    }
    let mut keys = String::new();
    for key in KEYS {
        keys += &format!(
            ".TP\n\\fB{}\\fR\n{}; by default {}.\n",
            escape(key.name),
            code(&escape(&capital(key.meaning))),
            code(&escape(key.default)),
        );
    }
    OVERVIEW
        .replace("@VERSION@", &version())
        .replace("@COMMANDS@\n", &commands)
        .replace("@KEYS@\n", &keys)
        .replace("@PAGES@\n", &references(command, ""))
}

fn page(command: &clap::Command, sub: &clap::Command, name: &str) -> String {
    let man = Man::new(sub.clone());
    // clap leaves a missing date out, and the version would stand in its place.
    let title = format!(
        ".TH {} 1 \"\" \"{}\" \"git-ci Manual\"\n",
        name.to_uppercase(),
        version()
    );
    let mut text = title.into_bytes();
    // Writing to memory cannot fail.
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    if sub.has_subcommands() {
        let _ = man.render_subcommands_section(&mut text);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let tidy: Vec<_> = text.lines().map(str::trim_end).collect();
    // Before a list of values: two line breaks around an empty line are one too many.
    let text = tidy.join("\n").replace("\n.br\n\n.br\n", "\n.br\n");
    let mut examples = String::from(".SH EXAMPLES\n");
    for (line, why) in super::examples::of(sub.get_name()) {
        examples += &format!(
            ".TP\n\\fB{}\\fR\n{}.\n",
            escape(line),
            code(&escape(&capital(why)))
        );
    }
    let text = format!("{text}\n{examples}{ENDING}\\fBgit\\-ci\\fR(1),\n");
    code(&text) + &references(command, sub.get_name())
}

pub(super) fn version() -> String {
    format!("git-ci {}", env!("CARGO_PKG_VERSION"))
}

/// The pages of all subcommands but one, and of the formats, as a list.
fn references(command: &clap::Command, but: &str) -> String {
    let others = visible(command).map(clap::Command::get_name);
    let pages: Vec<_> = others
        .filter(|name| *name != but)
        .map(|name| format!("\\fB{}\\fR(1)", escape(&format!("git-ci-{name}"))))
        .collect();
    let formats = PAGES.map(|(name, section, _)| {
        format!("\\fB{}\\fR({section})", escape(&format!("git-ci-{name}")))
    });
    format!("{},\n.P\n{}\n", pages.join(",\n"), formats.join(",\n"))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    first + chars.as_str()
}

/// Text as roff takes it.
pub(super) fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
}

/// What stands between backticks in bold, which is how manuals show what is typed.
pub(super) fn code(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let parts: Vec<_> = line.split('`').collect();
        // An odd one out is a backtick.
        let paired = parts.len() % 2 == 1;
        for (index, part) in parts.iter().enumerate() {
            match (index, paired) {
                (0, _) => {}
                (_, false) => out.push('`'),
                (index, _) => out += if index % 2 == 1 { "\\fB" } else { "\\fR" },
            }
            out += part;
        }
    }
    out
}
