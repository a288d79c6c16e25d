//! The terminal at standard error, as the displays draw on it: lines that stay, and below
//! them a block of lines that is made anew again and again.
//!
//! Each line of the block ends with a line feed and leaves the last column free, so no
//! line runs into the next, whatever a multiplexer makes of them when somebody copies the
//! screen. The cursor rests below the block. When the window was made narrower, most
//! terminals have broken the lines that were too long; what is there is counted again
//! with the new width before it is erased.
//!
//! All of it goes by way of the [`printer`]: as one piece, so that a block is never seen
//! half made.

use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthStr as _;

use crate::model::printable_styled;
use crate::printer::{self, Control, Stream};

/// The window where its size is not known.
const WINDOW: (usize, usize) = (24, 80);

/// A line that stays is followed by the block at once, unless that was made so lately; then
/// the next frame brings it.
const FRAME: Duration = Duration::from_millis(50);

/// Rows and columns of the terminal.
pub(super) fn window() -> (usize, usize) {
    Stream::Err.window().unwrap_or(WINDOW)
}

/// Whether the terminal is behind, and another frame would only be more to catch up with.
fn is_behind() -> bool {
    printer::unwritten(Stream::Err) > 0
}

/// Whether the terminal breaks lines anew when it becomes narrower. Most do; these do not,
/// and have cut what was too long.
fn breaks_anew() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let console = std::env::var_os("TERM").is_some_and(|term| term == "linux");
    !set("XTERM_VERSION") && !set("STY") && !console
}

/// What is on the terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The lines of the block, from the top.
    block: Vec<String>,
    /// The widths of those that are drawn, which may be none of it.
    drawn: Vec<usize>,
    /// The window that they were drawn in.
    window: (usize, usize),
    at: Option<Instant>,
}

impl Screen {
    /// Makes `lines` the block, and draws it where it is not there yet. They are cut to the
    /// window's height; that none is as wide as it is the caller's affair. Returns whether
    /// they are there now: a terminal that is behind gets none.
    pub(super) fn draw(&mut self, mut lines: Vec<String>) -> bool {
        if is_behind() {
            return false;
        }
        let window = window();
        // One row for the cursor. The last line says the most.
        let rows = window.0.saturating_sub(1).max(1);
        if lines.len() > rows {
            lines.drain(rows - 1..lines.len() - 1);
        }
        let there = self.drawn.len() == lines.len() && self.window == window;
        if there && self.block == lines {
            return true;
        }
        let out = if self.window == window {
            Control::Begin.sequence() + &Control::Up(self.height()).sequence()
        } else {
            self.erase()
        };
        self.block = lines;
        self.paint(out, window);
        true
    }

    /// Writes lines that stay, above the block.
    pub(super) fn scroll(&mut self, text: &str) {
        self.clear();
        let _ = printer::text(Stream::Err, &format!("{}\n", text.trim_end_matches('\n')));
        let is_new = self.at.is_some_and(|at| at.elapsed() < FRAME);
        if !self.block.is_empty() && !is_new && !is_behind() {
            self.paint(String::new(), window());
        }
    }

    /// Takes the block away until it is drawn again.
    pub(super) fn clear(&mut self) {
        if !self.drawn.is_empty() {
            let _ = printer::raw(Stream::Err, self.erase().as_bytes());
            self.drawn.clear();
        }
    }

    /// Takes the block away for good.
    pub(super) fn end(&mut self) {
        self.clear();
        self.block.clear();
    }

    /// Whether what is drawn was drawn for a window of another size.
    pub(super) fn is_resized(&self) -> bool {
        !self.drawn.is_empty() && self.window != window()
    }

    /// How many rows above the cursor the block is.
    fn height(&self) -> usize {
        let (rows, columns) = window();
        let broken = columns < self.window.1 && breaks_anew();
        let height = |width: &usize| {
            if broken {
                width.div_ceil(columns.max(1)).max(1)
            } else {
                1
            }
        };
        let all: usize = self.drawn.iter().map(height).sum();
        // What is above the window cannot be reached.
        all.min(rows.saturating_sub(1))
    }

    /// What leaves nothing of the block, and the cursor where it began. Line by line: where a
    /// whole screen is erased at once, tmux keeps what was on it as history.
    fn erase(&self) -> String {
        let height = self.height();
        let up = Control::Begin.sequence() + &Control::Up(height).sequence();
        let line = Control::ClearRest.sequence() + "\n";
        let below = Control::ClearBelow.sequence();
        match height {
            0 => String::new(),
            _ => format!("{up}{}{below}{up}", line.repeat(height)),
        }
    }

    fn paint(&mut self, mut out: String, window: (usize, usize)) {
        let colors = printer::colors(Stream::Err);
        self.drawn.clear();
        for line in &self.block {
            self.drawn.push(printable_styled(line, false).width());
            out += &printable_styled(line, colors);
            out += &Control::ClearRest.sequence();
            out.push('\n');
        }
        out += &Control::ClearBelow.sequence();
        let _ = printer::raw(Stream::Err, out.as_bytes());
        self.window = window;
        self.at = Some(Instant::now());
    }
}
