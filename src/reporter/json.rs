//! One event a line, as JSON: for other programs. The first line carries the format's version.

use std::io::{self, Write};

use crate::model::{Event, printable_json};

use super::Reporter;

/// Writes JSON lines.
pub struct Json<O> {
    out: O,
    /// Something other than a closed pipe kept a line from being written, and was told.
    failed: bool,
}

impl<O: Write> Json<O> {
    /// Lines go to `out`.
    pub fn new(out: O) -> Self {
        Self { out, failed: false }
    }
}

impl<O: Write> Reporter for Json<O> {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            let line = printable_json(line) + "\n";
            let written = self.out.write_all(line.as_bytes());
            // A reader that went away does not end the run; nor does a full disk, but
            // whoever relies on the events must know that they are not complete.
            if let Err(error) = written.and_then(|()| self.out.flush())
                && error.kind() != io::ErrorKind::BrokenPipe
                && !std::mem::replace(&mut self.failed, true)
            {
                let _ = writeln!(io::stderr(), "warning: failed to write events: {error}");
            }
        }
    }
}
