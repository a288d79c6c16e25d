//! Text from outside, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// From one tab stop to the next, in columns.
const TAB: usize = 8;

/// Whether a terminal takes `c` as something to draw, one cell or more, in reading order.
///
/// Control characters (C0, DEL, C1) drive the terminal; bidirectional controls reorder
/// what stands beside them; the zero-width and tag characters hide.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// `bytes` as text in which nothing drives a terminal: every control character, every
/// bidirectional control and every byte that is not UTF-8 stands as an escape such as
/// `\x1b` or `\u{202e}`. Line feeds and tabs are kept.
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    escape(bytes, |c| matches!(c, '\n' | '\t'))
}

/// Like [`printable`], for text that must stay on one line: line feeds and tabs are escaped, too.
pub fn printable_line(bytes: &[u8]) -> Cow<'_, str> {
    escape(bytes, |_| false)
}

/// A line of a job's output as [`printable_line`] has it, without the colours that programs
/// give their output, and with its tabs as spaces: beside a mark of ours, a tab would lead
/// to another column than the job meant.
pub fn printable_output(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['\x1b', '\t']) {
        out += &printable_line(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        match color_len(rest) {
            0 if rest.starts_with('\t') => {
                out.push(' ');
                while !out.width().is_multiple_of(TAB) {
                    out.push(' ');
                }
                rest = &rest[1..];
            }
            0 => {
                out += &printable_line(&rest.as_bytes()[..1]);
                rest = &rest[1..];
            }
            len => rest = &rest[len..],
        }
    }
    out += &printable_line(rest.as_bytes());
    out
}

/// The length of the sequence at the front of `text` that sets a colour, or erases the rest
/// of a line with one, as compilers do; 0 where there is none.
fn color_len(text: &str) -> usize {
    let Some(params) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let end = params.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':'));
    match end.map(|end| (end, params.as_bytes()[end])) {
        Some((end, b'm' | b'K')) => end + 3,
        _ => 0,
    }
}

fn escape(bytes: &[u8], keep: fn(char) -> bool) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.chars().all(|c| is_plain(c) || keep(c))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_plain(c) || keep(c) {
                out.push(c);
            } else if c.is_ascii() {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            } else {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    Cow::Owned(out)
}

/// Text of our own, in which what came from outside was made safe before: colours are
/// left in or, without `colors`, taken out, line feeds and tabs stay, and whatever else
/// could drive a terminal stands as an escape all the same. The last look before text
/// leaves.
pub fn printable_styled(text: &str, colors: bool) -> Cow<'_, str> {
    if text
        .chars()
        .all(|c| is_plain(c) || matches!(c, '\n' | '\t'))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut parts = text.split('\x1b');
    out += &printable(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let rest = match style_len(part) {
            0 => {
                out += "\\x1b";
                part
            }
            len => {
                if colors {
                    out.push('\x1b');
                    out += &part[..len];
                }
                &part[len..]
            }
        };
        out += &printable(rest.as_bytes());
    }
    Cow::Owned(out)
}

/// The length of what is left of a style of ours behind its escape character: one that
/// is bold, dim, underlined or of one of the sixteen colours, or the end of all styles; else 0.
fn style_len(text: &str) -> usize {
    let code = text.strip_prefix('[').and_then(|text| text.split_once('m'));
    match code {
        Some((code @ ("0" | "1" | "2" | "4"), _)) => code.len() + 2,
        Some((code, _)) if code.len() == 2 => match code.as_bytes() {
            [b'3' | b'9', b'0'..=b'7'] => code.len() + 2,
            _ => 0,
        },
        _ => 0,
    }
}

/// One line of JSON for other programs, with its line feed: every `--json` and whatever else
/// hands out JSON is made of these. Nothing in it drives a terminal.
pub fn json_line(value: &impl Serialize) -> String {
    // Maps with keys of other types than text are all that can fail here, and there is none.
    printable_json(serde_json::to_string(value).unwrap_or_default()) + "\n"
}

/// JSON in which nothing drives a terminal, and which says the same: JSON itself lets
/// everything stand in a string but the first 32 control characters.
pub fn printable_json(json: String) -> String {
    if json.chars().all(|c| is_plain(c) || c == '\n') {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_plain(c) || c == '\n' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// Whether `name` is what `pattern` says, where `*` is any text.
pub fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts.filter(|part| !part.is_empty()) {
        match rest.windows(part.len()).position(|here| here == part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_gets_through() {
        assert_eq!(printable(b"a\tb\nc"), "a\tb\nc");
        assert_eq!(printable_line(b"a\tb\nc"), "a\\x09b\\x0ac");
        assert_eq!(
            printable(b"\x1b[31mred\r\x00\x7f"),
            "\\x1b[31mred\\x0d\\x00\\x7f"
        );
        assert_eq!(
            printable("x\u{202e}y\u{9b}z".as_bytes()),
            "x\\u{202e}y\\u{9b}z"
        );
        assert_eq!(printable(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(printable("dépôt ✓".as_bytes()), "dépôt ✓");
    }

    #[test]
    fn styles_of_ours_are_all_that_gets_through() {
        let style = anstyle::Style::new().bold();
        let style = style.fg_color(Some(anstyle::AnsiColor::BrightRed.into()));
        let dim = anstyle::Style::new().dimmed();
        let text = format!("{style}a\tb{style:#}\n{dim}é{dim:#}");
        assert_eq!(printable_styled(&text, true), text);
        assert_eq!(printable_styled(&text, false), "a\tb\né");
        for hostile in [
            "\x1b[2J",
            "\x1b[8m",
            "\x1b[38;5;1m",
            "\x1b[",
            "\x1b",
            "\x1b]0;x\x07",
            "\x1b[1",
            "\x1b[31;1m",
            "\r",
            "\u{9b}31m",
            "\u{202e}",
        ] {
            for colors in [true, false] {
                let safe = printable_styled(hostile, colors).into_owned();
                assert!(safe.chars().all(is_plain), "{safe:?}");
                assert!(safe.starts_with('\\'), "{safe}");
            }
        }
        assert_eq!(printable_styled("\x1b\x1b[1mx", true), "\\x1b\x1b[1mx");
    }

    #[test]
    fn output_loses_its_colours_and_keeps_its_columns() {
        for (line, shown) in [
            ("plain", "plain"),
            ("[\x1b[1;34mINFO\x1b[m] built", "[INFO] built"),
            ("\x1b[01m\x1b[Ka.c:1:\x1b[m\x1b[K no", "a.c:1: no"),
            ("\x1b[38;2;1;2;3mred\x1b[0m", "red"),
            ("a\tb", "a       b"),
            ("12345678\tb", "12345678        b"),
            ("\x1b[31ma\x1b[0m\tb", "a       b"),
            ("字\tb", "字      b"),
            ("\x1b[2J\x1b]0;x\x07\x1b", "\\x1b[2J\\x1b]0;x\\x07\\x1b"),
            ("\x1b[31", "\\x1b[31"),
            ("a\rb", "a\\x0db"),
        ] {
            assert_eq!(printable_output(line), shown, "{line:?}");
        }
    }

    #[test]
    fn json_says_the_same_when_it_is_made_safe() {
        let text = "dépôt \u{1b}[31m \u{9b}31m \u{202e} \u{7f} \u{e0041} \\ \"";
        let json = serde_json::to_string(text).unwrap() + "\n";
        let safe = printable_json(json);
        assert!(safe.contains("dépôt \\u001b[31m \\u009b31m \\u202e \\u007f \\udb40\\udc41"));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
