//! Signals as messages to the dispatcher.

use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGTSTP};

use crate::process::{self, Arrived, Listening};

use super::message::Message;

/// The first signal ends a run gently, the second at once. Whoever sends a third has waited
/// long enough.
const MOST: u32 = 2;

/// Signals that follow each other more closely are no sign of somebody who waits.
const APART: Duration = Duration::from_millis(100);

/// Sends each signal that concerns a run to the dispatcher, while the result lives.
pub(super) fn forward(to: Sender<Message>) -> io::Result<Listening> {
    let (mut count, mut last) = (0, None::<Instant>);
    process::listen(move |arrived: Arrived| {
        let close = last.is_some_and(|last| arrived.at.duration_since(last) < APART);
        if !matches!(arrived.signal, SIGTSTP | SIGHUP) && !close {
            (count, last) = (count + 1, Some(arrived.at));
        }
        count <= MOST && to.send(Message::Signal(arrived)).is_ok()
    })
}
