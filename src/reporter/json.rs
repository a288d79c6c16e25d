//! One event a line, as JSON: for other programs. The first line carries the format's version.

use std::io::Write;

use crate::model::{Event, printable_json};

use super::Reporter;

/// Writes JSON lines.
pub struct Json<O>(O);

impl<O: Write> Json<O> {
    /// Lines go to `out`.
    pub fn new(out: O) -> Self {
        Self(out)
    }
}

impl<O: Write> Reporter for Json<O> {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            let line = printable_json(line) + "\n";
            // A reader that went away does not end the run.
            let _ = self.0.write_all(line.as_bytes());
            let _ = self.0.flush();
        }
    }
}
