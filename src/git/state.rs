//! Small files of our own below `ci/` that prove that they are whole.
//!
//! A power cut or a full disk leaves half of a file, or none of it; what such a file says
//! is not believed. That it is a plain file at all is the business of
//! [`private`](crate::private).

use sha2::{Digest as _, Sha256};

/// How many bytes of a hash make sure that a file says what was written.
const CHECKED: usize = 8;

/// `body` behind a first line that says what it is and proves that it is whole.
pub(crate) fn seal(title: &str, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{title} {}\n", checksum(body)).into_bytes();
    text.extend(body);
    text
}

/// What was sealed under `title`; `None` where it is anything else by now.
pub(crate) fn unseal<'t>(title: &str, text: &'t [u8]) -> Option<&'t [u8]> {
    let text = text.strip_prefix(title.as_bytes())?.strip_prefix(b" ")?;
    let (sum, body) = text.split_at_checked(2 * CHECKED)?;
    let body = body.strip_prefix(b"\n")?;
    (sum == checksum(body).as_bytes()).then_some(body)
}

fn checksum(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    faster_hex::hex_string(&hash[..CHECKED])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_whole_or_nothing() {
        let sealed = seal("title 1", b"body\n\xff");
        assert_eq!(unseal("title 1", &sealed), Some(b"body\n\xff".as_slice()));
        for end in 0..sealed.len() {
            assert_eq!(unseal("title 1", &sealed[..end]), None, "cut at {end}");
        }
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 4;
            assert_eq!(unseal("title 1", &other), None, "changed at {at}");
        }
        assert_eq!(unseal("title", &sealed), None);
        let empty = seal("title 1", b"");
        assert_eq!(unseal("title 1", &empty), Some(b"".as_slice()));
    }
}
