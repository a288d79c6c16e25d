//! The terminal at standard error, as the displays draw on it.

use std::io;

use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};

use crate::printer::{self, Control, Stream};

/// The window where its size is not known.
const WINDOW: (usize, usize) = (24, 80);

/// Frames are drawn at most so often in a second.
const HERTZ: u8 = 20;

/// A terminal that is written to by way of the [`printer`].
#[derive(Debug)]
struct Screen;

/// Where displays draw.
pub(super) fn screen() -> MultiProgress {
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen), HERTZ);
    MultiProgress::with_draw_target(target)
}

/// Rows and columns of the terminal.
pub(super) fn window() -> (usize, usize) {
    Stream::Err.window().unwrap_or(WINDOW)
}

/// Whether the terminal is behind, and another frame would only be more to catch up with.
pub(super) fn is_behind() -> bool {
    printer::unwritten(Stream::Err) > 0
}

fn narrow(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        narrow(window().1)
    }

    fn height(&self) -> u16 {
        narrow(window().0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        printer::control(Control::Up(n));
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        printer::control(Control::Down(n));
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        printer::control(Control::Right(n));
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        printer::control(Control::Left(n));
        Ok(())
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write_str(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        match s {
            "\r" => printer::control(Control::Begin),
            // There is nobody to tell when it is closed.
            text => drop(printer::text(Stream::Err, text)),
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        printer::control(Control::ClearLine);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
