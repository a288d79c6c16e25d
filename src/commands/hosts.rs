//! `git ci hosts`: the other machines, and whether they can be used.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::error::Failure;
use crate::git::Repo;
use crate::model::printable_line;
use crate::runner::wire::About;
use crate::runner::{HostError, HostSpec, Probe, probe};
use crate::settings::{HostSettings, Settings};

use super::output;
use super::places::{Specs, drain_mark};

/// Less free space than this is worth a word, in bytes.
const LITTLE: u64 = 512 << 20;

/// A clock that is further off than this is worth a word, in milliseconds.
const SKEW: u64 = 5000;

/// How long a check waits for a host at most.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// List the machines that tasks are sent to, and look whether they can be used.
///
/// A host is named in git's configuration, never in the repository's files:
/// `git config ci-host.NAME.address user@host`. Without options this lists what is
/// configured; `--check` connects to each host at the same time.
#[derive(Debug, clap::Args)]
#[command(after_long_help = include_str!("hosts.txt"))]
pub(super) struct Args {
    /// Connect to each host: is it reachable, which versions has it, how much space,
    /// what runs there now?
    #[arg(long)]
    check: bool,

    /// Send no more tasks to this host; what runs there ends in peace.
    #[arg(long, value_name = "NAME", conflicts_with = "check")]
    drain: Option<String>,

    /// Send tasks to this host again.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["check", "drain"])]
    undrain: Option<String>,
}

/// Lists, checks or drains.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    if let Some(name) = &args.drain {
        known(&settings, name)?;
        let mark = drain_mark(&repo, name);
        let made = mark.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&mark, "")).map_err(|error| {
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
    if settings.hosts.is_empty() {
        output::note(
            "no hosts are configured; `git config ci-host.NAME.address user@host` names one",
        );
        return Ok(ExitCode::SUCCESS);
    }
    let specs = Specs::new(&repo)?;
    let mut text = String::new();
    let mut usable = true;
    if args.check {
        let specs: Vec<_> = hosts(&settings, &specs).collect();
        let found: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = specs
                .iter()
                .map(|(_, spec)| scope.spawn(|| probe(spec)))
                .collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined.collect()
        });
        for ((host, spec), found) in specs.into_iter().zip(found) {
            match found {
                Ok(Ok(found)) => describe(&mut text, host, &spec, &found),
                Ok(Err(error)) => {
                    usable = false;
                    complain(&mut text, host, &spec, &error);
                }
                Err(_) => return Err(Failure::new(crate::error::FailureKind::Bug, "a panic")),
            }
        }
    } else {
        for (host, spec) in hosts(&settings, &specs) {
            line(&mut text, host, &spec, state(host, &spec));
            text.push('\n');
        }
    }
    output::print(&text)?;
    Ok(match usable {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(3),
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
        spec.patience = spec.patience.min(CHECK_PATIENCE);
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
            match names.is_empty() {
                true => failure.hint("`git config ci-host.NAME.address user@host` names one"),
                false => failure.hint(format!("the hosts are {}", names.join(", "))),
            }
        })
}

fn state(host: &HostSettings, spec: &HostSpec) -> &'static str {
    match host.drain || spec.drain.exists() {
        true => "drained",
        false => "ready",
    }
}

fn line(text: &mut String, host: &HostSettings, spec: &HostSpec, state: &str) {
    let way = spec.way.describe();
    let way = printable_line(way.as_bytes());
    let slots = host.slots;
    // Writing to a String cannot fail.
    let _ = write!(text, "{:<12} {state:<8} {way}  slots={slots}", host.name);
    let labels: Vec<_> = host
        .labels
        .iter()
        .filter(|label| *label != host.name.as_str())
        .map(String::as_str)
        .collect();
    if !labels.is_empty() {
        let _ = write!(text, " labels={}", labels.join(","));
    }
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
    for (slot, holder) in running.iter().take(64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let host_now = now.unwrap_or_default().as_secs() as i64 + found.skew / 1000;
        let since = host_now.saturating_sub(holder.since as i64).max(0);
        let _ = writeln!(
            text,
            "             slot {slot} runs {} on {} since {}",
            holder.job,
            holder.commit.short(),
            age(Duration::from_secs(since as u64)),
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
            match found.skew > 0 {
                true => "ahead",
                false => "behind",
            },
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
    if let Some(hint) = error.hint(host.name.as_str(), &spec.way) {
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
