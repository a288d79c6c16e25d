//! Noticing that the repository itself goes: that its directory, or one above it, is moved,
//! renamed or deleted.
//!
//! Such an event comes from the directory that moves, so each one on the way from the
//! root is watched, and for nothing else: what happens in it costs nothing. Elsewhere than
//! on Linux, and where the system has no watches left, the poll finds out.

use std::path::Path;

/// Watches while it lives.
pub(super) struct Whereabouts {
    #[cfg(target_os = "linux")]
    _stop: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Whereabouts {
    /// Calls `hint` whenever `dir` may have another path than it had.
    ///
    /// # Errors
    /// Where the system has no watches to give.
    pub(super) fn watch(dir: &Path, hint: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        use std::mem::MaybeUninit;
        use std::os::fd::AsFd as _;

        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        use rustix::io::Errno;
        use rustix::pipe::{PipeFlags, pipe_with};

        let events = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let gone = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        for dir in dir.ancestors() {
            match add_watch(&events, dir, gone) {
                // Not ours to look at; whoever can move it is no stranger.
                Ok(_) | Err(Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        std::thread::Builder::new()
            .name("whereabouts".to_owned())
            .spawn(move || {
                loop {
                    let mut ready = [
                        PollFd::new(&events, PollFlags::IN),
                        PollFd::new(&stopped, PollFlags::IN),
                    ];
                    match poll(&mut ready, None) {
                        Ok(_) if ready[1].revents().is_empty() => {}
                        Err(Errno::INTR) => continue,
                        _ => return,
                    }
                    // Which it was shows when the path is looked at.
                    let mut buffer = [MaybeUninit::uninit(); 4096];
                    while rustix::io::read(events.as_fd(), &mut buffer)
                        .is_ok_and(|(read, _)| !read.is_empty())
                    {}
                    hint();
                }
            })?;
        Ok(Self { _stop: stop })
    }
}

#[cfg(not(target_os = "linux"))]
impl Whereabouts {
    /// Does nothing here.
    ///
    /// # Errors
    /// None.
    pub(super) fn watch(_dir: &Path, _hint: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        Ok(Self {})
    }
}
