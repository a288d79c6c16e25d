//! A reporter that draws nothing and tells the observer what was stored.

use std::sync::mpsc::Sender;

use super::observer::Message;
use crate::model::Event;
use crate::reporter::Reporter;

/// Passes on what concerns the observer.
pub struct Ear(pub(super) Sender<Message>);

impl Reporter for Ear {
    fn event(&mut self, event: &Event) {
        if matches!(
            event,
            Event::TaskStarted { .. } | Event::TaskFinished { .. } | Event::TaskReused { .. }
        ) {
            // An observer that ended needs no telling.
            let _ = self.0.send(Message::Happened(Box::new(event.clone())));
        }
    }
}
