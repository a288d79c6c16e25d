//! The hub's side of a lease: how long it may still run anything.
//!
//! The right lasts `silence` from when the newest acknowledged beat was *sent*. It
//! cannot be prolonged by what was on its way for long, nor by what waited in a buffer
//! while the machine stood still.

use std::collections::VecDeque;
use std::time::Duration;

/// Time since the machine was started, also what it slept: a thawed host must notice.
pub(super) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or(0),
        now.tv_nsec.try_into().unwrap_or(0),
    )
}

/// What is known of the right to run.
#[derive(Debug)]
pub(super) struct Lifeline {
    silence: Duration,
    until: Duration,
    /// Beats that were not acknowledged, with when they were sent.
    sent: VecDeque<(u64, Duration)>,
    next: u64,
}

impl Lifeline {
    /// A right that begins now.
    pub(super) fn new(silence: Duration, now: Duration) -> Self {
        Self {
            silence,
            until: now + silence,
            sent: VecDeque::new(),
            next: 1,
        }
    }

    /// How often to send a beat.
    pub(super) fn interval(&self) -> Duration {
        self.silence / 5
    }

    /// When the next beat is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.sent.back().map(|(_, at)| *at + self.interval())
    }

    /// Numbers a beat that is sent now.
    pub(super) fn beat(&mut self, now: Duration) -> u64 {
        let beat = self.next;
        self.next += 1;
        self.sent.push_back((beat, now));
        beat
    }

    /// Takes an acknowledgement.
    pub(super) fn ack(&mut self, beat: u64) {
        while let Some((sent, at)) = self.sent.front().copied()
            && sent <= beat
            // The last one stays: it says when the next is due.
            && self.sent.len() > 1
        {
            self.until = self.until.max(at + self.silence);
            self.sent.pop_front();
        }
        if let Some((sent, at)) = self.sent.front()
            && *sent == beat
        {
            self.until = self.until.max(*at + self.silence);
        }
    }

    /// When the right lapses.
    pub(super) fn until(&self) -> Duration {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_is_counted_from_when_a_beat_was_sent() {
        let second = Duration::from_secs(1);
        let mut line = Lifeline::new(20 * second, 100 * second);
        assert_eq!(line.until(), 120 * second);
        let first = line.beat(100 * second);
        let second_beat = line.beat(104 * second);
        line.ack(second_beat + 7);
        assert_eq!(
            line.until(),
            120 * second,
            "what was never sent counts as nothing"
        );
        let mut line = Lifeline::new(20 * second, 100 * second);
        assert_eq!(line.beat(100 * second), first);
        line.beat(104 * second);
        line.beat(108 * second);
        line.ack(2);
        assert_eq!(line.until(), 124 * second);
        line.ack(2);
        line.ack(1);
        assert_eq!(line.until(), 124 * second, "old news prolong nothing");
        assert_eq!(line.due(), Some(112 * second));
    }
}
