//! Events in, decisions out: no process, no clock.

use std::time::{Duration, Instant};

use crate::model::{CommandLine, DefId, Job, LogId, Need, Oid};

use super::*;

const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

fn commit(n: u8) -> Arc<Commit> {
    let id = Oid::from_bytes(&[n; 20]).unwrap();
    Arc::new(Commit {
        id,
        tree: id,
        subject: format!("commit {n}"),
        time: i64::from(n),
        snapshot: None,
    })
}

fn job(name: &str) -> PlannedJob {
    let run = CommandLine::Shell(name.to_owned());
    PlannedJob::unrecorded(Job::new(name.parse().unwrap(), run))
}

fn wanted(n: u8, jobs: &[&str]) -> Wanted {
    Wanted {
        commit: commit(n),
        jobs: jobs.iter().map(|name| job(name)).collect(),
        urgent: false,
        decided: None,
    }
}

fn urgent(n: u8, jobs: &[&str]) -> Wanted {
    Wanted {
        urgent: true,
        ..wanted(n, jobs)
    }
}

fn result(job: &str, status: Status) -> Option<TaskResult> {
    Some(TaskResult {
        job: job.parse().unwrap(),
        status,
        why: None,
        allowed: false,
        reused: false,
        duration_ms: None,
        log: "0123456789abcdef".parse::<LogId>().unwrap(),
    })
}

/// A table, and a clock that only the test moves.
struct Table {
    tasks: Tasks,
    now: Instant,
}

impl Table {
    fn new(on_error: OnError) -> Self {
        Self {
            tasks: Tasks::new(on_error),
            now: Instant::now(),
        }
    }

    /// Wants these, and queues what is new of them.
    fn want(&mut self, list: Vec<Wanted>) -> Changes {
        self.want_or(list, Superseded::End)
    }

    fn want_or(&mut self, list: Vec<Wanted>, superseded: Superseded) -> Changes {
        let mut changes = self.tasks.want(list, 0, superseded);
        for new in changes.new.drain(..) {
            let id = self.tasks.next_id();
            let task = new.job.task(id, &new.commit, Reason::Unrecorded);
            self.tasks.queue(&new, task);
            assert!(self.tasks.unblock(&new.commit.id).is_empty());
        }
        changes
    }

    fn take(&mut self) -> Option<TaskId> {
        self.take_near(None, 1)
    }

    fn take_near(&mut self, near: Option<usize>, window: usize) -> Option<TaskId> {
        let entry = self.tasks.take(None, near, window, |_| true)?;
        Some(entry.task.id)
    }

    /// Takes the next task and starts it.
    fn start(&mut self) -> TaskId {
        let id = self.take().unwrap();
        self.tasks.start(id, self.now);
        id
    }

    fn name(&self, id: TaskId) -> String {
        let task = &self.tasks.get(id).unwrap().task;
        format!("{}{}", task.job.name, task.commit.id.as_bytes()[0])
    }

    /// Takes all that waits, one after the other.
    fn order(&mut self) -> Vec<String> {
        let mut order = Vec::new();
        while let Some(id) = self.take() {
            order.push(self.name(id));
        }
        order
    }

    fn end(&mut self, id: TaskId, job: &str, status: Status) -> Option<CommitDone> {
        self.tasks
            .store(id, matches!(status, Status::Pass | Status::Flaky));
        self.tasks.end(id, result(job, status), true, self.now)
    }

    fn pass(&mut self, id: TaskId) -> Option<CommitDone> {
        let job = self.tasks.get(id).unwrap().task.job.name.to_string();
        self.end(id, &job, Status::Pass)
    }

    fn after(&mut self, seconds: u64) -> Vec<TaskId> {
        self.now += Duration::from_secs(seconds);
        self.tasks.due(self.now)
    }

    fn again(&mut self, id: TaskId) -> TaskId {
        let new = self.tasks.next_id();
        let task = Task {
            id: new,
            ..self.tasks.get(id).unwrap().task.clone()
        };
        self.tasks.renew(id, task, false);
        new
    }
}

#[test]
fn what_is_wanted_is_handed_out_in_its_order_and_what_is_urgent_first() {
    let mut table = Table::new(OnError::End);
    table.want(vec![
        wanted(1, &["a", "b"]),
        urgent(2, &["a", "b"]),
        wanted(3, &["a"]),
    ]);
    assert_eq!(table.tasks.queued(), 5);
    assert_eq!(table.order(), ["a2", "b2", "a1", "b1", "a3"]);
    assert!(!table.tasks.is_over(), "workers have them");
}

#[test]
fn a_worker_gets_the_nearest_to_its_last_commit_of_the_first_few() {
    let mut table = Table::new(OnError::End);
    table.want((1..=9).map(|n| wanted(n, &["a"])).collect());
    let mut take = |near, window| {
        let id = table.take_near(near, window).unwrap();
        table.name(id)
    };
    assert_eq!(take(Some(7), 4), "a4");
    assert_eq!(take(Some(3), 4), "a3");
    assert_eq!(take(None, 4), "a1");
    assert_eq!(take(Some(0), 4), "a2");
}

#[test]
fn what_does_not_fit_stays() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a", "b"])]);
    let fits = |entry: &Entry| entry.task.job.name.as_str() == "b";
    let id = table
        .tasks
        .take(None, None, 1, fits)
        .map(|entry| entry.task.id);
    assert_eq!(table.name(id.unwrap()), "b1");
    assert!(table.tasks.take(None, None, 1, fits).is_none());
    assert_eq!(table.tasks.queued(), 1);
}

#[test]
fn what_comes_next_is_told_ahead_those_behind_first() {
    let mut table = Table::new(OnError::End);
    table.want((1..=6).map(|n| wanted(n, &["a", "b"])).collect());
    let ahead: Vec<_> = table.tasks.ahead(2, 4);
    let ahead: Vec<_> = ahead.iter().map(|id| id.as_bytes()[0]).collect();
    assert_eq!(ahead, [4, 5, 6, 1]);
}

#[test]
fn a_new_list_drops_what_waits_ends_what_runs_and_keeps_the_rest() {
    let mut table = Table::new(OnError::End);
    table.want(vec![
        wanted(1, &["a"]),
        wanted(2, &["a"]),
        wanted(3, &["a"]),
    ]);
    let [one, two] = [table.start(), table.start()];
    let changes = table.want(vec![wanted(4, &["a"]), wanted(2, &["a"])]);
    assert_eq!(changes.terminate, [one]);
    assert!(table.tasks.get(one).unwrap().is_abandoned());
    assert!(!table.tasks.get(two).unwrap().is_abandoned());
    assert_eq!(table.order(), ["a4"]);
    // Its verdict, should it come to one, is nobody's.
    assert!(table.pass(one).is_none());
    assert!(table.tasks.get(one).is_none());
    assert_eq!(table.pass(two).unwrap().commit.id, commit(2).id);
}

#[test]
fn a_list_that_lets_superseded_tasks_finish_ends_none() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a"])]);
    let one = table.start();
    let changes = table.want_or(vec![wanted(2, &["a"])], Superseded::Finish);
    assert_eq!(changes.terminate, []);
    // It is wanted again: the same task, not a second.
    let changes = table.want_or(vec![wanted(1, &["a"])], Superseded::Finish);
    assert!(changes.done.is_empty());
    assert_eq!(table.tasks.queued(), 0);
    assert!(table.pass(one).is_some());
}

#[test]
fn a_task_that_was_told_to_end_and_is_wanted_again_is_a_new_one() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a"])]);
    let one = table.start();
    assert_eq!(table.want(Vec::new()).terminate, [one]);
    table.want(vec![wanted(1, &["a"])]);
    let two = table.start();
    assert_ne!(one, two);
    assert!(table.tasks.end(one, None, false, table.now).is_none());
    assert!(table.pass(two).is_some());
}

#[test]
fn what_has_ended_is_not_done_again_while_it_is_wanted() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a", "b"])]);
    let a = table.start();
    assert!(table.pass(a).is_none(), "b is left");
    table.want(vec![wanted(1, &["a", "b"])]);
    let b = table.start();
    assert_eq!(table.name(b), "b1");
    let done = table.pass(b).unwrap();
    let results: Vec<_> = done.tasks.iter().map(|task| task.job.as_str()).collect();
    assert_eq!(results, ["a", "b"]);
    // Said once; but what was not wanted for a while begins again.
    assert!(table.want(vec![wanted(1, &["a"])]).done.is_empty());
    table.want(Vec::new());
    table.want(vec![wanted(1, &["a"])]);
    assert_eq!(table.order(), ["a1"]);
}

#[test]
fn a_commit_is_done_by_a_list_that_wants_less_of_it() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a", "b"])]);
    let a = table.start();
    table.pass(a);
    let changes = table.want(vec![wanted(1, &["a"])]);
    assert_eq!(changes.done.len(), 1);
    assert_eq!(changes.done[0].tasks.len(), 1);
}

#[test]
fn an_error_is_tried_again_after_its_pauses_and_then_given_up() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    table.want(vec![wanted(1, &["a"])]);
    let mut id = table.start();
    for pause in [1, 10] {
        assert!(table.end(id, "a", Status::Error).is_none());
        assert_eq!(table.take(), None);
        assert_eq!(
            table.tasks.next_due(),
            Some(table.now + Duration::from_secs(pause))
        );
        assert_eq!(table.after(pause - 1), []);
        assert_eq!(table.after(1), [id]);
        let again = table.again(id);
        assert_ne!(again, id);
        id = table.start();
        assert_eq!(id, again);
    }
    let done = table.end(id, "a", Status::Error).unwrap();
    assert_eq!((done.is_left, table.tasks.gave_up()), (false, 1));
    assert!(table.tasks.is_over());
}

#[test]
fn a_verdict_that_is_not_stored_is_none() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    table.want(vec![wanted(1, &["a"])]);
    let id = table.start();
    table.tasks.store(id, false);
    let passed = result("a", Status::Pass);
    assert!(table.tasks.end(id, passed, false, table.now).is_none());
    assert_eq!(table.after(1), [id]);
}

#[test]
fn an_error_that_is_wanted_no_more_is_not_tried_again() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    table.want(vec![wanted(1, &["a"])]);
    let id = table.start();
    table.end(id, "a", Status::Error);
    table.want(Vec::new());
    assert_eq!(table.tasks.next_due(), None);
    assert_eq!(table.after(60), []);
}

#[test]
fn an_error_may_be_left_for_the_next_time_or_be_an_end() {
    for (on_error, is_left, gave_up) in [(OnError::Leave, true, 1), (OnError::End, false, 0)] {
        let mut table = Table::new(on_error);
        table.want(vec![wanted(1, &["a"])]);
        let id = table.start();
        let done = table.end(id, "a", Status::Error).unwrap();
        assert_eq!(done.is_left, is_left);
        assert_eq!(table.tasks.gave_up(), gave_up);
        table.want(vec![wanted(1, &["a"])]);
        assert_eq!(table.take(), None);
    }
}

#[test]
fn what_another_run_works_on_waits_and_keeps_its_place() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a"]), wanted(2, &["a"])]);
    let interval = Duration::from_secs(1);
    let one = table.take().unwrap();
    let begun = table.now;
    assert_eq!(table.tasks.contend(one, table.now, interval), begun);
    assert_eq!(table.after(1), []);
    assert_eq!(table.take(), Some(one));
    // Since when it waits is known over all its tries.
    assert_eq!(table.tasks.contend(one, table.now, interval), begun);
    table.after(1);
    assert_eq!(table.order(), ["a1", "a2"]);
}

#[test]
fn a_task_whose_machine_is_lost_goes_elsewhere_and_not_for_ever() {
    let mut table = Table::new(OnError::End);
    table.want(vec![wanted(1, &["a"]), wanted(2, &["a"])]);
    let id = table.start();
    for machine in [1, 2] {
        assert!(table.tasks.lost(id, machine, 2));
        assert_eq!(table.tasks.get(id).unwrap().lost_by, Some(machine));
        // A new list changes nothing about that.
        table.want(vec![wanted(1, &["a"]), wanted(2, &["a"])]);
        assert_eq!(table.take(), Some(id));
    }
    assert!(!table.tasks.lost(id, 3, 2));
}

#[test]
fn cancelling_ends_what_runs_and_what_waits_but_no_verdict() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    table.want(vec![
        wanted(1, &["a", "b"]),
        wanted(2, &["a", "b"]),
        wanted(3, &["a"]),
    ]);
    let [stored, running] = [table.start(), table.start()];
    table.tasks.store(stored, false);
    let assigned = table.take().unwrap();
    let cancelled = table.tasks.cancel(None, None);
    assert_eq!(cancelled.terminate, [running, assigned]);
    assert_eq!(
        (cancelled.running, cancelled.waiting, cancelled.queued),
        (1, 3, 2)
    );
    let done: Vec<_> = cancelled.done.iter().map(|done| done.commit.id).collect();
    assert_eq!(done, [commit(2).id, commit(3).id]);
    assert!(
        table
            .tasks
            .is_cancelled(&commit(1).id, &"b".parse().unwrap())
    );
    assert!(
        !table
            .tasks
            .is_cancelled(&commit(1).id, &"a".parse().unwrap())
    );
    let done = table.pass(stored).unwrap();
    assert_eq!(done.cancelled.len(), 1);
    // Nobody comes back to it while it is wanted.
    table.want(vec![wanted(1, &["a", "b"]), wanted(2, &["a"])]);
    assert_eq!(table.take(), None);
}

#[test]
fn cancelling_means_the_commit_and_the_job_that_are_named() {
    let mut table = Table::new(OnError::End);
    let list = || vec![wanted(1, &["a", "b"]), wanted(2, &["a", "b"])];
    table.want(list());
    let b = "b".parse().unwrap();
    table.tasks.cancel(Some(commit(1).id), None);
    table.tasks.cancel(None, Some(&b));
    assert_eq!(table.order(), ["a2"]);
    assert_eq!(table.tasks.cancel(Some(commit(9).id), None).waiting, 0);
}

#[test]
fn clearing_leaves_what_workers_have() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    table.want(vec![wanted(1, &["a", "b", "c"]), wanted(2, &["a", "b"])]);
    let [errored, running, contended] = [table.start(), table.start(), table.take().unwrap()];
    table.end(errored, "a", Status::Error);
    table.tasks.contend(contended, table.now, PAUSES[0]);
    // The ERROR was counted when it was one.
    assert_eq!(table.tasks.clear(), 3);
    assert!(!table.tasks.is_over());
    table.tasks.end(running, None, false, table.now);
    assert!(table.tasks.is_over());
}

#[test]
fn what_runs_and_what_waits_is_told() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    let changes = table
        .tasks
        .want(vec![wanted(1, &["a"])], 3, Superseded::End);
    assert_eq!((changes.new.len(), table.tasks.more()), (1, 3));
    table.want(vec![wanted(1, &["a", "b"]), urgent(2, &["a"])]);
    let id = table.start();
    assert_eq!(table.name(id), "a2");
    let running: Vec<_> = table.tasks.running().map(|(task, _)| task.id).collect();
    assert_eq!(running, [id]);
    let waiting = table.tasks.waiting();
    let waiting: Vec<_> = waiting.iter().map(|task| task.job.name.as_str()).collect();
    assert_eq!(waiting, ["a", "b"]);
}

/// `build`, `lint`, and `test` and `pack`, which need `build`; `ship` needs `pack`.
fn project(n: u8) -> Wanted {
    let of = |name: &str, needs: &[(&str, DefId)]| {
        let run = CommandLine::Shell(name.to_owned());
        let mut job = Job::new(name.parse().unwrap(), run);
        let needs = needs.iter().map(|(name, def)| Need {
            job: name.parse().unwrap(),
            def: *def,
        });
        job.needs = needs.collect();
        PlannedJob::unrecorded(job)
    };
    let build = of("build", &[]);
    let pack = of("pack", &[("build", build.def)]);
    let ship = of("ship", &[("pack", pack.def)]);
    let test = of("test", &[("build", build.def)]);
    Wanted {
        jobs: [ship, test, pack, of("lint", &[]), build].into(),
        ..wanted(n, &[])
    }
}

/// Hands the next task that `worker` gets to it, with its chain.
fn hand_to(table: &mut Table, worker: usize) -> Option<TaskId> {
    let entry = table.tasks.take(Some(worker), None, 1, |_| true)?;
    let id = entry.task.id;
    table.tasks.bind(id, worker, |_| true);
    table.tasks.start(id, table.now);
    Some(id)
}

#[test]
fn jobs_wait_for_what_they_need_and_go_where_that_was() {
    let mut table = Table::new(OnError::End);
    table.want(vec![project(1), project(2)]);
    assert_eq!((table.tasks.queued(), table.tasks.to_come()), (4, 10));
    let lint = hand_to(&mut table, 0).unwrap();
    let build = hand_to(&mut table, 1).unwrap();
    assert_eq!([lint, build].map(|id| table.name(id)), ["lint1", "build1"]);
    assert!(table.pass(build).is_none());
    assert!(table.tasks.unblock(&commit(1).id).is_empty());
    // Another worker gets none of the chain, and the one that has it gets nothing else before.
    let next = hand_to(&mut table, 2).unwrap();
    assert_eq!(table.name(next), "lint2");
    let test = hand_to(&mut table, 1).unwrap();
    assert_eq!(table.name(test), "test1");
    table.end(test, "test", Status::Fail);
    assert!(table.tasks.unblock(&commit(1).id).is_empty());
    let pack = hand_to(&mut table, 1).unwrap();
    assert_eq!(table.name(pack), "pack1");
    // Its worker goes: anybody may have the rest.
    table.tasks.unbind(1);
    table.end(pack, "pack", Status::Flaky);
    assert!(table.tasks.unblock(&commit(1).id).is_empty());
    let ship = hand_to(&mut table, 0).unwrap();
    assert_eq!(table.name(ship), "ship1");
    assert!(table.pass(lint).is_none());
    let done = table.pass(ship).unwrap();
    assert_eq!((done.jobs.len(), done.tasks.len()), (5, 5));
}

#[test]
fn what_needs_a_job_that_did_not_pass_is_not_run() {
    let mut table = Table::new(OnError::Retry(&PAUSES));
    table.want(vec![project(1)]);
    let (lint, build) = (table.start(), table.start());
    table.pass(lint);
    // Without a verdict it is tried again, and what needs it waits.
    table.end(build, "build", Status::Error);
    assert!(table.tasks.unblock(&commit(1).id).is_empty());
    assert_eq!(table.after(1), [build]);
    let build = table.again(build);
    assert_eq!(table.take(), Some(build));
    table.end(build, "build", Status::Skip);
    let mut unmet = table.tasks.unblock(&commit(1).id);
    let mut told = Vec::new();
    let mut done = None;
    while let Some((id, need)) = unmet.pop() {
        told.push(format!("{} {need}", table.name(id)));
        assert!(done.is_none());
        done = table.tasks.end_blocked(id);
        unmet = table.tasks.unblock(&commit(1).id);
    }
    told.sort();
    assert_eq!(told, ["pack1 build", "ship1 pack", "test1 build"]);
    assert_eq!(done.unwrap().tasks.len(), 2);
    assert!(table.tasks.is_over());
}

#[test]
fn what_is_cancelled_takes_with_it_what_needs_it() {
    let mut table = Table::new(OnError::End);
    table.want(vec![project(1)]);
    assert_eq!(table.tasks.clear(), 5);
    assert!(table.tasks.is_over());
    table.want(vec![project(2)]);
    let cancelled = table.tasks.cancel(None, Some(&"build".parse().unwrap()));
    assert_eq!(
        (cancelled.queued, cancelled.touched),
        (1, vec![commit(2).id])
    );
    assert_eq!(table.tasks.unblock(&commit(2).id).len(), 2);
}
