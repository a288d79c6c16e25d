//! The thread that keeps a host's connection.
//!
//! It connects while there is work, reads what the host says, and lets nobody have the
//! host's tasks before the host cannot be running them any more: that is certain when
//! the hub said that it has ended them, and else when `lease` is over.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::model::printable_line;

use super::super::outbox::Outbox;
use super::super::protocol::send;
use super::super::wire::{FromHost, ToHost};
use super::super::{Presence, Tell};
use super::conn::{Conn, TaskUpdate};
use super::open::{Opened, open};
use super::process::Process;
use super::{HostError, HostSpec, packer};

/// The first and the longest time that a host is left out after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How often to look whether a host is still drained.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);

/// How often a quiet connection is looked at: to let go of it, or to end it.
const TICK: Duration = Duration::from_millis(250);

/// A host and its state.
pub(super) struct Inner {
    pub(super) spec: HostSpec,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    closed: bool,
    /// There is work.
    wanted: bool,
    presence: Presence,
    tells: Vec<Tell>,
    conn: Option<Arc<Conn>>,
    /// The connection that is being made, or is made.
    process: Option<Arc<Process>>,
    failures: u32,
    /// Why there is no connection.
    reason: String,
}

impl Inner {
    pub(super) fn new(spec: HostSpec) -> Self {
        Self {
            spec,
            state: Mutex::new(State {
                closed: false,
                wanted: false,
                presence: Presence::Away {
                    reason: None,
                    failures: 0,
                },
                tells: Vec::new(),
                conn: None,
                process: None,
                failures: 0,
                reason: "there is no connection".to_owned(),
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is work.
    pub(super) fn wake(&self) {
        let mut state = self.state();
        if !state.wanted {
            state.wanted = true;
            self.changed.notify_all();
        }
    }

    /// Nobody needs the host any more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        match (&state.conn, &state.process) {
            (Some(conn), _) => {
                conn.send(ToHost::Bye);
            }
            // Still on its way: there is nothing to be polite about.
            (None, Some(process)) => {
                process.signal(Signal::TERM);
                // It may not care, and whoever connects waits for it.
                let ended = Arc::clone(process);
                let ending = thread::Builder::new().spawn(move || ended.end());
                if ending.is_err() {
                    process.end();
                }
            }
            (None, None) => {}
        }
        self.changed.notify_all();
    }

    pub(super) fn attend(&self, tell: Tell) -> Presence {
        let mut state = self.state();
        state.tells.push(tell);
        state.presence.clone()
    }

    /// The connection, or why there is none.
    pub(super) fn connection(&self) -> Result<Arc<Conn>, String> {
        let state = self.state();
        state.conn.clone().ok_or_else(|| state.reason.clone())
    }

    /// Waits until something changes, at most for `timeout`; `false` once closed.
    fn rest(&self, timeout: Duration, until: impl Fn(&State) -> bool) -> bool {
        let start = Instant::now();
        let mut state = self.state();
        while !state.closed && !until(&state) {
            let Some(left) = timeout.checked_sub(start.elapsed()) else {
                break;
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        !state.closed
    }

    fn drained(&self) -> bool {
        self.spec.drain.exists()
    }

    fn closed(&self) -> bool {
        self.state().closed
    }

    fn set_presence(&self, state: &mut State, presence: Presence) {
        if state.presence != presence {
            for tell in &state.tells {
                tell(presence.clone());
            }
            state.presence = presence;
        }
    }

    /// Says that there is no connection.
    fn away(&self, error: Option<&HostError>) {
        let mut state = self.state();
        state.conn = None;
        let mut reason = None;
        if let Some(error) = error {
            state.failures += 1;
            state.reason = error.line();
            let hint = error.hint(self.spec.name.as_str(), &self.spec.transport);
            let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
            reason = Some(format!("{}{hint}", state.reason));
        }
        let failures = state.failures;
        self.set_presence(&mut state, Presence::Away { reason, failures });
    }
}

/// Keeps the host's connection until it is closed.
pub(super) fn keep(inner: &Inner) {
    let forever = Duration::from_secs(u64::from(u32::MAX));
    loop {
        if !inner.rest(forever, |state| state.wanted) {
            return;
        }
        if inner.drained() {
            let reason = HostError::Drained.line();
            let mut state = inner.state();
            let news = state.reason != reason;
            state.reason.clone_from(&reason);
            let presence = Presence::Away {
                reason: news.then_some(reason),
                failures: u32::MAX,
            };
            if news {
                inner.set_presence(&mut state, presence);
            }
            drop(state);
            if !inner.rest(DRAIN_INTERVAL, |_| false) {
                return;
            }
            continue;
        }
        inner.state().wanted = false;
        match connect_and_serve(inner) {
            Ok(()) => inner.state().failures = 0,
            Err(_) => {
                let failures = inner.state().failures;
                let pause = BACKOFF.0 * 2u32.saturating_pow(failures.saturating_sub(1).min(10));
                if !inner.rest(pause.min(BACKOFF.1), |_| false) {
                    return;
                }
            }
        }
    }
}

/// One connection from its beginning to its end; an error where that was not our wish.
fn connect_and_serve(inner: &Inner) -> Result<(), HostError> {
    let opened = open(&inner.spec, |process| {
        let mut state = inner.state();
        state.process = Some(Arc::clone(process));
        if state.closed {
            process.signal(Signal::TERM);
        }
    });
    let served = match opened {
        Ok(opened) => serve(inner, opened),
        Err(error) => {
            inner.away(Some(&error));
            Err(error)
        }
    };
    let process = inner.state().process.take();
    if let Some(process) = process {
        process.end();
    }
    served
}

fn serve(inner: &Inner, opened: Opened) -> Result<(), HostError> {
    let spec = &inner.spec;
    let mut heard = Instant::now();
    let out = Arc::new(Outbox::new());
    let (mut to, written) = (opened.to, Arc::clone(&out));
    let writing = thread::Builder::new()
        .name("to-host".into())
        .spawn(move || {
            // A broken channel is noticed by who reads from it.
            while let Some(frame) = written.next() {
                if send(&mut to, &frame).is_err() {
                    break;
                }
            }
            written.break_off();
        });
    writing.map_err(HostError::Start)?;
    let (packs, orders) = mpsc::channel();
    let told = opened.about.have.iter().take(512).copied();
    let have: Vec<_> = told.filter(|id| spec.repo.has(id)).collect();
    let conn = Arc::new(Conn::new(out, packs, &have));
    let (repo, packing) = (Arc::clone(&spec.repo), Arc::clone(&conn));
    let packer = thread::Builder::new()
        .name("packer".into())
        .spawn(move || packer::pack(&repo, &packing, have, &orders));
    if let Err(error) = packer {
        conn.hang_up();
        return Err(HostError::Start(error));
    }
    {
        let mut state = inner.state();
        state.conn = Some(Arc::clone(&conn));
        // Said while it was being made, and so no longer news.
        state.wanted = false;
        inner.set_presence(&mut state, Presence::Here);
    }
    let mut reading = Reading {
        inner,
        conn: &conn,
        from: opened.from,
        decoder: opened.decoder,
    };
    let ended = reading.read(&mut heard);
    if conn.books().worked {
        inner.state().failures = 0;
    }
    match &ended {
        Ok(()) => inner.away(None),
        Err(error) => inner.away(Some(error)),
    }
    conn.hang_up();
    let reason = match &ended {
        Ok(()) => "it is being left".to_owned(),
        Err(error) => error.line(),
    };
    if !matches!(ended, Err(HostError::Trouble { .. })) {
        // It may still be running them.
        let until = heard + spec.lease;
        while !conn.books().tasks.is_empty()
            && inner.rest(
                until.saturating_duration_since(Instant::now()).min(TICK),
                |_| false,
            )
            && Instant::now() < until
        {}
    }
    conn.lose_all(&reason);
    ended
}

struct Reading<'a> {
    inner: &'a Inner,
    conn: &'a Conn,
    from: super::process::Inlet,
    decoder: super::super::protocol::Decoder,
}

impl Reading<'_> {
    /// Reads until the connection ends; `heard` is when there was the last sign of life.
    fn read(&mut self, heard: &mut Instant) -> Result<(), HostError> {
        let spec = &self.inner.spec;
        loop {
            loop {
                let frame = self.decoder.next_frame::<FromHost>();
                match frame.map_err(|error| HostError::Protocol(error.to_string()))? {
                    Some(frame) => self.frame(frame, heard)?,
                    None => break,
                }
            }
            if let Some(why) = &self.conn.books().over {
                return Err(HostError::Protocol(why.clone()));
            }
            let lapses = *heard + spec.lease;
            if Instant::now() >= lapses {
                return Err(HostError::Silence(spec.lease));
            }
            if self.may_go() {
                self.conn.send(ToHost::Bye);
                return Ok(());
            }
            match self.from.fill(lapses.min(Instant::now() + TICK)) {
                Ok(None) => {}
                Ok(Some(0)) | Err(_) if self.inner.closed() => return Ok(()),
                Ok(Some(0)) | Err(_) => {
                    std::thread::sleep(Duration::from_millis(50));
                    let process = self.inner.state().process.clone();
                    let stderr = process.map_or_else(String::new, |process| process.stderr());
                    return Err(HostError::Ended(stderr));
                }
                Ok(Some(_)) => self.decoder.feed(&std::mem::take(&mut self.from.bytes)),
            }
        }
    }

    /// Whether nobody needs the connection any more.
    fn may_go(&self) -> bool {
        if self.inner.closed() {
            return true;
        }
        let drained = self.inner.drained();
        if drained {
            // What runs here may end; nothing more comes.
            let presence = Presence::Away {
                reason: None,
                failures: u32::MAX,
            };
            self.inner.set_presence(&mut self.inner.state(), presence);
        }
        let books = self.conn.books();
        let idle = books.active.elapsed();
        let unused = books.tasks.is_empty();
        drop(books);
        let released = self.inner.spec.release.is_some_and(|after| idle >= after);
        unused && (released || drained)
    }

    fn frame(&mut self, frame: FromHost, heard: &mut Instant) -> Result<(), HostError> {
        match frame {
            FromHost::Beat { beat } => {
                *heard = Instant::now();
                self.conn.out.urge(ToHost::Ack { beat });
            }
            FromHost::Taken { .. } => self.conn.arrived(),
            FromHost::Waiting { task, try_, reason } => {
                self.conn.tell((task, try_), TaskUpdate::Waiting(reason));
            }
            FromHost::Note {
                task,
                try_,
                message,
            } => {
                self.conn.tell((task, try_), TaskUpdate::Note(message));
            }
            FromHost::Started { task, try_, slot } => {
                self.conn.tell((task, try_), TaskUpdate::Started { slot });
            }
            FromHost::Output {
                task,
                try_,
                at,
                bytes,
            } => {
                self.conn
                    .tell((task, try_), TaskUpdate::Output { at, bytes });
            }
            FromHost::Artifact { task, try_, part } => {
                self.conn.tell((task, try_), TaskUpdate::Artifact(part));
            }
            FromHost::Done {
                task,
                try_,
                result,
                observed,
            } => {
                self.conn
                    .tell((task, try_), TaskUpdate::Done(result, observed));
            }
            FromHost::Failed { trouble, reason } => {
                let reason: String = reason.chars().take(500).collect();
                let reason = printable_line(reason.as_bytes()).into_owned();
                return Err(HostError::Trouble { trouble, reason });
            }
            FromHost::Hello { .. } => {
                return Err(HostError::Protocol("a frame out of turn".to_owned()));
            }
        }
        Ok(())
    }
}
