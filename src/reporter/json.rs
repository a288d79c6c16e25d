//! One event a line, as JSON: for other programs. The first line carries the format's version.

use crate::model::{Event, json_line};
use crate::printer::{self, Stream};

use super::Reporter;

/// Behind so many bytes that nobody has read yet, signs of life are left out.
const BEHIND: u64 = 64 << 10;

/// Writes JSON lines to standard output.
#[derive(Debug, Default)]
pub(crate) struct Json;

impl Reporter for Json {
    fn event(&mut self, event: &Event) {
        let sign_of_life = matches!(event, Event::TaskOutput { .. });
        if sign_of_life && printer::unwritten(Stream::Out) > BEHIND {
            return;
        }
        // A reader that went away does not end the run. What else goes wrong is
        // said at its end: whoever relies on the events must know that some are missing.
        let _ = printer::json(json_line(event));
    }
}
