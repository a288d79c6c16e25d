//! A bell when something fails.

use std::io::Write as _;

use crate::model::{Event, Status};

use super::Reporter;

/// Rings on standard error.
#[derive(Debug, Default)]
pub struct Bell;

impl Reporter for Bell {
    fn event(&mut self, event: &Event) {
        if let Event::TaskFinished {
            status: Some(Status::Fail | Status::Error),
            allowed: false,
            ..
        } = event
        {
            // Nobody hears a closed terminal.
            let _ = std::io::stderr().write_all(b"\x07");
        }
    }
}
