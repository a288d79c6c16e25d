//! Writing configuration files of git.

/// Writes git-config(1)'s format.
#[derive(Default)]
pub(crate) struct ConfigWriter {
    pub(crate) text: Vec<u8>,
    section: Vec<u8>,
}

impl ConfigWriter {
    /// Writes behind what is there.
    pub(crate) fn after(text: Vec<u8>) -> Self {
        let section = Vec::new();
        Self { text, section }
    }

    /// Appends an entry; `None` is a key that stands alone.
    pub(crate) fn entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        let dot = |at: Option<usize>| at.unwrap_or(key.len());
        let first = dot(key.iter().position(|&byte| byte == b'.'));
        let last = dot(key.iter().rposition(|&byte| byte == b'.'));
        if last >= key.len() {
            return;
        }
        if self.section != key[..last] {
            self.section = key[..last].to_vec();
            self.text.push(b'[');
            self.text.extend_from_slice(&key[..first]);
            if first < last {
                self.text.extend_from_slice(b" \"");
                for &byte in &key[first + 1..last] {
                    if matches!(byte, b'"' | b'\\') {
                        self.text.push(b'\\');
                    }
                    self.text.push(byte);
                }
                self.text.push(b'"');
            }
            self.text.extend_from_slice(b"]\n");
        }
        self.text.push(b'\t');
        self.text.extend_from_slice(&key[last + 1..]);
        if let Some(value) = value {
            self.text.extend_from_slice(b" = \"");
            for &byte in value {
                match byte {
                    b'"' | b'\\' => self.text.extend([b'\\', byte]),
                    b'\n' => self.text.extend_from_slice(b"\\n"),
                    _ => self.text.push(byte),
                }
            }
            self.text.push(b'"');
        }
        self.text.push(b'\n');
    }
}
