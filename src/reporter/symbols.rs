//! Which symbols the user's locale can show, and text that is cut to fit with them.

use std::env;
use std::sync::OnceLock;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Which symbols the terminal can draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbols {
    /// Any.
    Unicode,
    /// ASCII only.
    Ascii,
}

impl Symbols {
    /// What the locale of this process says.
    pub(crate) fn here() -> Self {
        static HERE: OnceLock<Symbols> = OnceLock::new();
        *HERE.get_or_init(|| {
            let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
            let locale = set("LC_ALL")
                .or_else(|| set("LC_CTYPE"))
                .or_else(|| set("LANG"));
            let locale = locale.unwrap_or_default().to_ascii_lowercase();
            if locale.contains("utf-8") || locale.contains("utf8") {
                Self::Unicode
            } else {
                Self::Ascii
            }
        })
    }

    /// One of two.
    pub(super) fn pick<T>(self, unicode: T, ascii: T) -> T {
        match self {
            Self::Unicode => unicode,
            Self::Ascii => ascii,
        }
    }

    /// The front of `text` that fits so many cells, with a mark where something is left
    /// out. It must hold no escape sequences.
    pub(crate) fn fit(self, text: &str, width: usize) -> String {
        if text.width() <= width {
            return text.to_owned();
        }
        let mark = self.pick("…", "~");
        let mut left = width.saturating_sub(1);
        let fits = |c: &char| {
            let wide = c.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        };
        let mut cut: String = text.chars().take_while(fits).collect();
        if width > 0 {
            cut += mark;
        }
        cut
    }

    /// A job's name (ASCII) in at most `width` cells: its middle goes.
    pub(crate) fn shorten(self, name: &str, width: usize) -> String {
        let count = name.chars().count();
        if count <= width {
            return name.to_owned();
        }
        let tail = width.saturating_sub(1) / 2;
        let head = width.saturating_sub(1 + tail);
        let front: String = name.chars().take(head).collect();
        let back: String = name.chars().skip(count - tail).collect();
        format!("{front}{}{back}", self.pick("…", "~"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_and_marked() {
        for (text, width, fits) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("文字の幅", 5, "文字…"),
            ("文字の幅", 4, "文…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(Symbols::Unicode.fit(text, width), fits);
            let ascii = Symbols::Ascii.fit(text, width);
            assert_eq!(ascii, fits.replace('…', "~"));
        }
    }
}
