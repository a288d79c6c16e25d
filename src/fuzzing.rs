//! What reads bytes that others wrote, for the fuzzers of `tests/fuzz`: each takes anything,
//! and what it makes of that must hold together.

use gix::hash::Kind;

use crate::checkout::Image;
use crate::config;
use crate::model::{Line, Note};
use crate::notes::parse_records;
use crate::runner::protocol::{Decoder, FromAgent, ToAgent};
use crate::spool;

/// A note: it is kept byte by byte, and a line that is ours says the same once more.
pub fn note(bytes: &[u8]) {
    let note = Note::parse(bytes);
    let written = note.to_bytes();
    assert_eq!(Note::parse(&written).to_bytes(), written);
    let _ = note.census();
    for line in note.ours() {
        let text = line.to_string();
        let again: Line = text.parse().expect("what was written can be read");
        assert_eq!(again.to_string(), text);
    }
}

/// A jobs file: jobs, or what is wrong with it.
pub fn jobs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = config::parse(&text, "the jobs file") {
        assert!(!error.problems.is_empty());
        let _ = error.to_string();
    }
}

/// What comes over a pipe, in pieces of a size that it says itself.
pub fn protocol(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let (mut one, mut other) = (Decoder::default(), Decoder::default());
    for piece in bytes.chunks(usize::from(*size) + 1) {
        one.feed(piece);
        other.feed(piece);
        while let Ok(Some(_)) = one.next_frame::<FromAgent>() {}
        while let Ok(Some(_)) = other.next_frame::<ToAgent>() {}
    }
}

/// The file of what hooks left.
pub fn spool(bytes: &[u8]) {
    let entries = spool::parse(bytes);
    let written: Vec<u8> = entries.iter().flat_map(|entry| entry.line()).collect();
    assert_eq!(spool::parse(&written), entries);
}

/// The file of all records, once its seal is right.
pub fn records(bytes: &[u8]) {
    let _ = parse_records(&String::from_utf8_lossy(bytes), "refs/notes/ci");
}

/// The index of a slot, which a job can write.
pub fn index(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").expect("memory");
    std::io::Write::write_all(&mut file, bytes).expect("memory");
    if let Some(image) = Image::load(file.path(), Kind::Sha1) {
        for i in 0..image.len() {
            let _ = (image.path(i), image.id(i), image.mode(i));
        }
    }
}
