//! The thread that makes packs for one connection, in the order in which they were
//! asked for, and sends them no faster than they arrive.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::git::Repo;
use crate::model::Oid;

use super::super::wire::{PIECE, ToHost};
use super::conn::{Conn, PackRequest};

/// More than this many commits that the host has say little more.
const NEGATIVE: usize = 512;

/// Makes packs until the connection ends.
pub(super) fn pack(
    repo: &Repo,
    conn: &Arc<Conn>,
    mut have: Vec<Oid>,
    orders: &Receiver<PackRequest>,
) {
    for order in orders {
        let surplus = have.len().saturating_sub(NEGATIVE);
        let made = make(repo, conn, &order, &have[surplus..]);
        match made {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                return conn.give_up(&format!("a pack for it could not be made: {error}"));
            }
        }
        have.extend_from_slice(&order.commits);
        let sent = conn.send(ToHost::PackEnd {
            pack: order.pack,
            keep: order.commits,
        });
        if !sent {
            return;
        }
    }
}

/// Makes and sends one; `false` where the connection has ended meanwhile.
fn make(repo: &Repo, conn: &Conn, order: &PackRequest, have: &[Oid]) -> Result<bool, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut child = repo.make_pack(&order.commits, have).map_err(text)?;
    let mut going = true;
    if let Some(mut stdout) = child.stdout.take() {
        while going {
            let mut bytes = Vec::new();
            let piece = stdout.by_ref().take(PIECE as u64);
            let count = { piece }.read_to_end(&mut bytes).map_err(text)?;
            if count == 0 {
                break;
            }
            going = conn.wait_for_room(count as u64)
                && conn.send(ToHost::Pack {
                    pack: order.pack,
                    bytes,
                });
        }
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(2048).read_to_string(&mut said);
    }
    let status = child.wait().map_err(text)?;
    if status.success() || !going {
        Ok(going)
    } else {
        Err(said.trim().to_owned())
    }
}
