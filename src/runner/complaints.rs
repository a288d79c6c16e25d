//! What a job says of the machine in its output: that no room is left, that objects of
//! its repository cannot be had.
//!
//! It is only asked where the job failed and the machine looks like it. A job that says
//! such things for other reasons gets no verdict, which is tried again.

use memchr::memmem::find;

/// Something about the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// No room is left on a disk.
    NoRoom,
    /// An object that was left out of a partial clone cannot be fetched.
    NoObjects,
}

/// What programs say, in English and in Rust's and Go's words.
const WORDS: [(&str, Complaint); 4] = [
    ("No space left on device", Complaint::NoRoom),
    ("no space left on device", Complaint::NoRoom),
    ("Disk quota exceeded", Complaint::NoRoom),
    ("from promisor remote", Complaint::NoObjects),
];

/// The complaints in one task's output.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    heard: Vec<Complaint>,
    /// The last bytes, where they could be the beginning of some of [`WORDS`].
    before: Vec<u8>,
}

impl Complaints {
    /// Whether the job has said so.
    pub(super) fn has(&self, complaint: Complaint) -> bool {
        self.heard.contains(&complaint)
    }

    /// Looks at the next bytes.
    pub(super) fn look_at(&mut self, bytes: &[u8]) {
        let longest = WORDS.iter().map(|(words, _)| words.len()).max();
        let overlap = longest.unwrap_or(1) - 1;
        self.before
            .extend_from_slice(&bytes[..bytes.len().min(overlap)]);
        for (words, complaint) in WORDS {
            let says = |text: &[u8]| find(text, words.as_bytes()).is_some();
            if !self.has(complaint) && (says(bytes) || says(&self.before)) {
                self.heard.push(complaint);
            }
        }
        if bytes.len() > overlap {
            self.before = bytes[bytes.len() - overlap..].to_vec();
        } else {
            let surplus = self.before.len().saturating_sub(overlap);
            self.before.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_heard_wherever_the_output_is_cut() {
        for (words, complaint) in WORDS {
            let text = format!("x: {words}\n");
            for cut in 0..text.len() {
                let mut complaints = Complaints::default();
                for part in [&text[..cut], &text[cut..]] {
                    part.as_bytes()
                        .iter()
                        .for_each(|&byte| complaints.look_at(&[byte]));
                }
                assert!(complaints.has(complaint), "{words}");
                let mut complaints = Complaints::default();
                complaints.look_at(&text.as_bytes()[..cut]);
                complaints.look_at(&text.as_bytes()[cut..]);
                assert_eq!(complaints.heard, [complaint], "{words}");
            }
        }
        let mut complaints = Complaints::default();
        complaints.look_at(b"No space left on the dev");
        complaints.look_at(b"ice");
        assert_eq!(complaints.heard, []);
    }
}
