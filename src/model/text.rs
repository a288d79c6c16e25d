//! Text from outside, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

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
    fn json_says_the_same_when_it_is_made_safe() {
        let text = "dépôt \u{1b}[31m \u{9b}31m \u{202e} \u{7f} \u{e0041} \\ \"";
        let json = serde_json::to_string(text).unwrap() + "\n";
        let safe = printable_json(json);
        assert!(safe.contains("dépôt \\u001b[31m \\u009b31m \\u202e \\u007f \\udb40\\udc41"));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
