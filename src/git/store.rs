//! The object store of one repository, as gix opens it, for all threads: with room for
//! many packs, and opened again where that room or the view of the disk does not do.
//!
//! gix numbers the packs that it knows, and the room for that is fixed when it opens a
//! store. A pack beyond it makes every look-up fail from then on. An index that could not
//! be read once (no file descriptor was left, say) is never tried again, and all that is
//! in it seems to be missing. Whoever watches for months comes across both.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gix::odb::store::init::Slots;

use super::command::Git;
use super::ref_store::Reftable;

/// Room for so many packs at least, and for half as many more as there are.
const LEAST_ROOM: usize = 2048;

/// That an object is missing is doubted at most so often: it is mostly true.
const DOUBT: Duration = Duration::from_secs(1);

/// The store of one repository.
pub(crate) struct Store {
    common_dir: PathBuf,
    reftable: Reftable,
    state: Mutex<State>,
}

struct State {
    /// How often it was opened.
    epoch: u64,
    opened: Instant,
    repository: gix::ThreadSafeRepository,
}

/// A handle for one thread, and which of the openings it is of.
pub(crate) struct Handle {
    pub(crate) epoch: u64,
    pub(crate) gix: gix::Repository,
}

type OpenError = Box<dyn std::error::Error + Send + Sync>;

impl Store {
    /// Opens the store of the repository whose common git directory this is.
    pub(crate) fn open(git: &Git, common_dir: &Path) -> Result<Self, OpenError> {
        let repository = open(common_dir)?;
        Ok(Self {
            reftable: Reftable::new(git, common_dir),
            common_dir: common_dir.to_owned(),
            state: Mutex::new(State {
                epoch: 0,
                opened: Instant::now(),
                repository,
            }),
        })
    }

    /// What reads refs where they are no files.
    pub(crate) fn reftable(&self) -> &Reftable {
        &self.reftable
    }

    /// A handle for this thread.
    pub(crate) fn handle(&self) -> Handle {
        self.state().handle()
    }

    /// A newer handle than that of `epoch`; `missing` says that the old one only did not
    /// find something. `None` where there is no reason to expect more of a newer one.
    pub(crate) fn newer(&self, epoch: u64, missing: bool) -> Option<Handle> {
        let mut state = self.state();
        if state.epoch == epoch {
            if missing && state.opened.elapsed() < DOUBT {
                return None;
            }
            // Also where it cannot be opened: not again at once.
            state.opened = Instant::now();
            state.repository = open(&self.common_dir).ok()?;
            state.epoch += 1;
        }
        Some(state.handle())
    }

    /// A panic elsewhere leaves nothing half done here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn handle(&self) -> Handle {
        let mut gix = self.repository.to_thread_local();
        gix.object_cache_size_if_unset(16 * 1024 * 1024);
        let epoch = self.epoch;
        Handle { epoch, gix }
    }
}

fn open(common_dir: &Path) -> Result<gix::ThreadSafeRepository, OpenError> {
    // git found and trusts it: that is the trust that counts. No variable of the
    // caller's reaches gix, which was told where everything is.
    let options = gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .config_overrides(["core.useReplaceRefs=false"])
        .object_store_slots(Slots::AsNeededByDiskState {
            multiplier: 1.5,
            minimum: LEAST_ROOM,
        })
        .open_path_as_is(true);
    Ok(gix::ThreadSafeRepository::open_opts(common_dir, options)?)
}
