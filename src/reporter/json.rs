//! One event a line, as JSON: for other programs. The first line carries the format's version.

use std::io::Write;

use crate::model::Event;

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
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            // A reader that went away does not end the run.
            let _ = self.0.write_all(&line);
            let _ = self.0.flush();
        }
    }
}
