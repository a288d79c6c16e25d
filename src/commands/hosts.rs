//! `git ci hosts`: the other machines, and whether they can be used.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::model::{JSON_FORMAT, printable_line};
use crate::private;
use crate::process;
use crate::runner::wire::About;
use crate::runner::{HostError, HostSpec, Probe, probe};
use crate::settings::{HostSettings, Settings};
use crate::worktree::Holder;

use super::ui::fleet::{Specs, drain_mark};
use super::ui::lines::{HostLine, HostTask, Line};
use super::ui::output;

/// Less free space than this is worth a word, in bytes.
const LITTLE: u64 = 512 << 20;

/// A clock that is further off than this is worth a word, in milliseconds.
const SKEW: u64 = 5000;

/// More of what runs on a host than this is not shown.
const SHOWN: usize = 64;

/// How long a check waits for a host at most.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// List the machines that tasks are sent to, and look whether they can be used.
///
/// A host is named in git's configuration, never in the repository's files:
/// `git config ci-host.NAME.address user@host`. Without options this lists what is
/// configured; `--check` connects to each host at the same time. Exits with 128 where one
/// of them cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_long_help = include_str!("hosts.txt"))]
pub(super) struct Args {
    /// Connect to each host: is it reachable, which versions has it, how much space,
    /// what runs there now?
    #[arg(long)]
    check: bool,

    /// Print JSON: one host a line.
    #[arg(long)]
    json: bool,

    /// Send no more tasks to this host; what runs there ends in peace.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["check", "json"])]
    drain: Option<String>,

    /// Send tasks to this host again.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["check", "json", "drain"])]
    undrain: Option<String>,
}

/// Lists, checks or drains.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    if let Some(name) = &args.drain {
        known(&settings, name)?;
        let mark = drain_mark(&repo, name);
        let made = repo
            .make_ci_dir()
            .and_then(|ci_dir| private::dir_in(&ci_dir, "drained"));
        made.and_then(|_| private::replace(&mark, b""))
            .map_err(|error| {
                Failure::failed_to(format!("leave a mark at {}", mark.display()), error)
            })?;
        output::note(&format!(
            "{name} gets no more tasks; `git ci hosts --undrain {name}` undoes this"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.undrain {
        let host = known(&settings, name)?;
        let mark = drain_mark(&repo, name);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::failed_to(
                    format!("remove the mark {}", mark.display()),
                    error,
                ));
            }
            _ => {}
        }
        if host.drain {
            return Err(
                Failure::usage(format!("{name} is drained by the configuration"))
                    .hint(format!("git config --unset ci-host.{name}.drain")),
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    if settings.hosts.is_empty() && !args.json {
        output::note(
            "no hosts are configured; `git config ci-host.NAME.address user@host` names one",
        );
        return Ok(ExitCode::SUCCESS);
    }
    let specs = Specs::new(&repo)?;
    let specs: Vec<_> = hosts(&settings, &specs).collect();
    let found = if args.check {
        check(&specs)?
    } else {
        specs.iter().map(|_| None).collect()
    };
    let mut text = if args.json {
        Line::Hosts {
            format: JSON_FORMAT,
            checked: args.check,
        }
        .render()
    } else {
        String::new()
    };
    for ((host, spec), found) in specs.iter().zip(&found) {
        match found {
            _ if args.json => text += &Line::Host(json(host, spec, found.as_ref())).render(),
            None => {
                line(&mut text, host, spec, state(host, spec));
                text.push('\n');
            }
            Some(Ok(found)) => describe(&mut text, host, spec, found),
            Some(Err(error)) => complain(&mut text, host, spec, error),
        }
    }
    output::print(&text)?;
    Ok(if !found.iter().any(|one| matches!(one, Some(Err(_)))) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FailureKind::Fatal.exit_code())
    })
}

/// What a check of one host comes to; `None` without one.
type Found = Option<Result<Probe, HostError>>;

/// Connects to all hosts at the same time.
fn check(specs: &[(&HostSettings, HostSpec)]) -> Result<Vec<Found>, Failure> {
    process::take_along_what_was_started()
        .map_err(|error| Failure::failed_to("watch for signals", error))?;
    std::thread::scope(|scope| {
        let started: Vec<_> = specs
            .iter()
            .map(|(_, spec)| {
                std::thread::Builder::new()
                    .spawn_scoped(scope, || probe(spec))
                    .map_err(|error| Failure::failed_to("start a thread for each host", error))
            })
            .collect();
        let panicked = |_| Failure::new(crate::error::FailureKind::Bug, "a panic");
        let joined = started.into_iter();
        joined
            .map(|thread| thread?.join().map(Some).map_err(panicked))
            .collect()
    })
}

fn hosts<'s>(
    settings: &'s Settings,
    specs: &'s Specs,
) -> impl Iterator<Item = (&'s HostSettings, HostSpec)> {
    let numbered = settings.hosts.iter().enumerate();
    numbered.map(|(index, host)| {
        let mut spec = specs.of(host, index + 1);
        // A cluster may let a run wait for hours, but nobody who only asks.
        spec.timeout = spec.timeout.min(CHECK_TIMEOUT);
        (host, spec)
    })
}

fn known<'s>(settings: &'s Settings, name: &str) -> Result<&'s HostSettings, Failure> {
    let mut hosts = settings.hosts.iter();
    hosts
        .find(|host| host.name.as_str() == name)
        .ok_or_else(|| {
            let names: Vec<_> = settings
                .hosts
                .iter()
                .map(|host| host.name.as_str())
                .collect();
            let failure = Failure::usage(format!("there is no host {name}"));
            if names.is_empty() {
                failure.hint("`git config ci-host.NAME.address user@host` names one")
            } else {
                failure.hint(format!("the hosts are {}", names.join(", ")))
            }
        })
}

fn state(host: &HostSettings, spec: &HostSpec) -> &'static str {
    if host.drain || spec.drain.exists() {
        "drained"
    } else {
        "ready"
    }
}

fn line(text: &mut String, host: &HostSettings, spec: &HostSpec, state: &str) {
    let transport = spec.transport.describe();
    let transport = printable_line(transport.as_bytes());
    let slots = host.slots;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{:<12} {state:<8} {transport}  slots={slots}",
        host.name
    );
    let labels = labels(host);
    if !labels.is_empty() {
        let _ = write!(text, " labels={}", labels.join(","));
    }
}

/// The labels of a host besides its name.
fn labels(host: &HostSettings) -> Vec<&str> {
    let labels = host.labels.iter().map(String::as_str);
    labels
        .filter(|label| *label != host.name.as_str())
        .collect()
}

fn json<'a>(
    host: &'a HostSettings,
    spec: &HostSpec,
    found: Option<&'a Result<Probe, HostError>>,
) -> HostLine<'a> {
    let error = found.and_then(|found| found.as_ref().err());
    let found = found.and_then(|found| found.as_ref().ok());
    let about = found.map(|found| &found.about);
    let hint = error.and_then(|error| error.hint(host.name.as_str(), &spec.transport));
    HostLine {
        name: &host.name,
        drained: state(host, spec) == "drained",
        transport: spec.transport.describe(),
        slots: host.slots,
        labels: labels(host),
        usable: found.map(|_| true).or(error.map(|_| false)),
        version: about.map(|about| short(&about.version)),
        platform: about.map(|about| short(&about.platform)),
        git: about.map(|about| short(&about.git)),
        free_bytes: about.map(|about| about.free),
        skew_ms: found.map(|found| found.skew),
        took_ms: found.map(|found| found.took.as_millis() as u64),
        running: found.map(|found| {
            let running = found.about.running.iter().take(SHOWN);
            let task = |(slot, holder): &'a (u32, Holder)| HostTask {
                slot: *slot,
                commit: holder.commit,
                job: &holder.job,
                elapsed_ms: since(found, holder).as_millis() as u64,
            };
            running.map(task).collect()
        }),
        error: error.map(HostError::line),
        hint,
    }
}

/// How long a task has been running on a host, by its own clock.
fn since(found: &Probe, holder: &Holder) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = (now.unwrap_or_default().as_secs() as i64).saturating_add(found.skew / 1000);
    let since = i64::try_from(holder.since).unwrap_or(i64::MAX);
    Duration::from_secs(now.saturating_sub(since).max(0) as u64)
}

fn describe(text: &mut String, host: &HostSettings, spec: &HostSpec, found: &Probe) {
    let About {
        version,
        platform,
        git,
        free,
        running,
        ..
    } = &found.about;
    line(
        text,
        host,
        spec,
        match state(host, spec) {
            "ready" => "ok",
            other => other,
        },
    );
    let _ = writeln!(
        text,
        "  git-ci {}, git {}, {}, {} free, {} ms",
        short(version),
        short(git),
        short(platform),
        size(*free),
        found.took.as_millis()
    );
    for (slot, holder) in running.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "             slot {slot} runs {} on {} since {}",
            holder.job,
            holder.commit.short(),
            age(since(found, holder)),
        );
    }
    if *free < LITTLE {
        let _ = writeln!(
            text,
            "             little space: free some, or let ci-host.{}.root be elsewhere",
            host.name
        );
    }
    if found.skew.unsigned_abs() > SKEW {
        let (seconds, how) = (
            found.skew.unsigned_abs() / 1000,
            if found.skew > 0 { "ahead" } else { "behind" },
        );
        let _ = writeln!(
            text,
            "             its clock is {seconds} s {how}: tools that compare times may be misled; \
             let it ask a time server"
        );
    }
}

fn complain(text: &mut String, host: &HostSettings, spec: &HostSpec, error: &HostError) {
    line(text, host, spec, "away");
    let _ = writeln!(text, "  failed to {}", error.line());
    if let Some(hint) = error.hint(host.name.as_str(), &spec.transport) {
        let hint = printable_line(hint.as_bytes()).into_owned();
        let _ = writeln!(text, "             hint: {hint}");
    }
}

/// What a host says of itself, safe to show.
fn short(said: &str) -> String {
    let cut: String = said.chars().take(40).collect();
    printable_line(cut.as_bytes()).into_owned()
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..10_240 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib >> 10),
    }
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
