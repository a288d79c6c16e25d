//! A bell when something fails.

use crate::model::{Event, Status};
use crate::printer::{self, Control};

use super::Reporter;

/// Rings on standard error.
#[derive(Debug, Default)]
pub(crate) struct Bell;

impl Reporter for Bell {
    fn event(&mut self, event: &Event) {
        if let Event::TaskFinished {
            status: Some(Status::Fail | Status::Error),
            allowed: false,
            ..
        } = event
        {
            printer::control(Control::Bell);
        }
    }
}
