//! What was said and not written yet, in its order: a bounded part in memory, the rest
//! in an unlinked file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::Stream;

/// So many bytes are kept in memory.
const IN_MEMORY: u64 = 1 << 20;

/// So many bytes are taken back from the file at once.
const BACK: usize = 256 << 10;

/// In front of each piece in the file: its stream and its length.
const HEADER: usize = 5;

type Piece = (Stream, Vec<u8>);

/// The backlog.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The oldest.
    front: VecDeque<Piece>,
    /// What follows.
    file: Option<Spill>,
    /// What follows that: only where the file cannot take more, on a full disk.
    back: VecDeque<Piece>,
    in_front: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Spill {
    file: File,
    read: u64,
    written: u64,
    full: bool,
}

impl Backlog {
    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends.
    pub(super) fn push(&mut self, to: Stream, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.file.is_none() && self.in_front >= IN_MEMORY {
            let file = tempfile::tempfile().ok();
            self.file = file.map(|file| Spill {
                file,
                read: 0,
                written: 0,
                full: false,
            });
        }
        match &mut self.file {
            None => {
                self.in_front += bytes.len() as u64;
                self.front.push_back((to, bytes.to_vec()));
            }
            Some(file) => {
                file.full = file.full || file.append(to, bytes).is_err();
                if file.full {
                    self.back.push_back((to, bytes.to_vec()));
                }
            }
        }
    }

    /// Takes the oldest piece.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        if self.front.is_empty()
            && let Some(file) = &mut self.file
        {
            // What cannot be read back is lost, and what follows is not.
            self.front = file.take_back().unwrap_or_default();
            if self.front.is_empty() || file.read == file.written {
                self.file = None;
                self.front.append(&mut self.back);
            }
            self.in_front = self.front.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        }
        let piece = self.front.pop_front()?;
        self.in_front -= piece.1.len() as u64;
        self.bytes -= piece.1.len() as u64;
        Some(piece)
    }
}

impl Spill {
    fn append(&mut self, to: Stream, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut piece = Vec::with_capacity(HEADER + bytes.len());
        piece.push(to.index() as u8);
        piece.extend_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(bytes);
        self.file.write_all_at(&piece, self.written)?;
        self.written += piece.len() as u64;
        Ok(())
    }

    /// Takes the oldest pieces, at least one where there is any.
    fn take_back(&mut self) -> io::Result<VecDeque<Piece>> {
        let mut pieces = VecDeque::new();
        let mut taken = 0;
        while self.read < self.written && taken < BACK {
            let mut header = [0; HEADER];
            self.file.read_exact_at(&mut header, self.read)?;
            let [to, length @ ..] = header;
            let to = match to {
                0 => Stream::Out,
                _ => Stream::Err,
            };
            let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
            self.file
                .read_exact_at(&mut bytes, self.read + HEADER as u64)?;
            self.read += (HEADER + bytes.len()) as u64;
            taken += bytes.len();
            pieces.push_back((to, bytes));
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_back_in_its_order() {
        let mut backlog = Backlog::default();
        let piece = |n: u64| (n.to_string() + " ").repeat(1000).into_bytes();
        let (mut pushed, mut popped) = (0, 0);
        // It grows far beyond memory, shrinks, grows again, and is empty in the end.
        for (push, pop) in [(3000, 10), (10, 1500), (1000, 2500), (5, 5), (2000, 2000)] {
            for _ in 0..push {
                backlog.push(Stream::Err, &piece(pushed));
                pushed += 1;
            }
            assert!(backlog.in_front <= 2 * IN_MEMORY);
            for _ in 0..pop {
                assert_eq!(backlog.pop(), Some((Stream::Err, piece(popped))));
                popped += 1;
            }
        }
        assert_eq!((backlog.pop(), backlog.bytes()), (None, 0));
        assert!(backlog.file.is_none(), "the disk has its space back");
    }
}
