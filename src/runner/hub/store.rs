//! The thread that stores packs, one after the other.

use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender};

use crate::git::Cache;
use crate::model::{Oid, printable};

use super::HubEvent;

/// What there is to store.
pub(super) enum Work {
    Piece { pack: u64, bytes: Vec<u8> },
    End { pack: u64, keep: Vec<Oid> },
}

/// Feeds each pack to git. After the first failure the hub ends, and so does this.
pub(super) fn take(cache: &Cache, work: &Receiver<Work>, told: &Sender<HubEvent>) {
    let mut taker: Option<Taker> = None;
    let mut last = 0;
    for work in work {
        let done = match work {
            Work::Piece { pack, bytes } => {
                piece(cache, &mut taker, pack, &bytes).map(|()| HubEvent::Taken(bytes.len() as u64))
            }
            Work::End { pack, keep } if pack == last + 1 => {
                last = pack;
                let stored = match taker.take() {
                    Some(taker) if taker.pack == pack => taker.finish(),
                    // Nothing was missing here.
                    None => Ok(()),
                    Some(_) => Err("pieces of several packs are mixed".to_owned()),
                };
                if stored.is_ok() {
                    let _ = told.send(HubEvent::Stored(pack));
                    // Only for next time: nothing waits for it.
                    let _ = cache.keep(&keep);
                    continue;
                }
                stored.map(|()| HubEvent::Stored(pack))
            }
            Work::End { .. } => Err("a pack is missing".to_owned()),
        };
        let (event, stop) = match done {
            Ok(event) => (event, false),
            Err(error) => (HubEvent::NotStored(error), true),
        };
        if told.send(event).is_err() || stop {
            return;
        }
    }
}

struct Taker {
    pack: u64,
    child: Child,
}

fn piece(cache: &Cache, taker: &mut Option<Taker>, pack: u64, bytes: &[u8]) -> Result<(), String> {
    if taker.is_none() {
        let child = cache.take_pack().map_err(|error| error.to_string())?;
        *taker = Some(Taker { pack, child });
    }
    let Some(now) = taker.as_mut().filter(|taker| taker.pack == pack) else {
        return Err("pieces of several packs are mixed".to_owned());
    };
    let written = match &mut now.child.stdin {
        Some(stdin) => stdin.write_all(bytes),
        None => Err(std::io::ErrorKind::BrokenPipe.into()),
    };
    match (written, taker.take()) {
        (Err(error), Some(taker)) => {
            // What git says is worth more than that it went away.
            taker.finish()?;
            Err(error.to_string())
        }
        (_, kept) => {
            *taker = kept;
            Ok(())
        }
    }
}

impl Taker {
    fn finish(mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(4096).read_to_end(&mut said);
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.trim().trim_start_matches("fatal: ");
        Err(match said {
            "" => status.to_string(),
            said => printable(said.as_bytes()).into_owned(),
        })
    }
}
