//! The few calls that the standard library offers no safe, stable way to: all unsafe
//! code of the crate.
//!
//! A process that leads a session needs `setsid` between `fork` and `exec`. The standard
//! library can do that only by `pre_exec`, which makes a fork of the whole process out of
//! what is a `vfork` otherwise: some milliseconds in a process of a hundred megabytes.
//! `posix_spawn` has a flag for it, stays with `vfork`, and resets signals in the same
//! step, so that nothing the caller ignored or blocked reaches what is started.

#![expect(
    unsafe_code,
    reason = "these calls have no safe form; each block says why it is sound"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_short};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// What a process that leads a session is to be.
pub(super) struct Exec<'a> {
    /// The path of the program, as it is found from `dir`.
    pub(super) program: &'a CStr,
    pub(super) argv: &'a [CString],
    pub(super) envp: &'a [CString],
    pub(super) dir: Option<&'a CStr>,
    /// Its first three descriptors; it gets no others, as long as these are the only
    /// ones of this process without close-on-exec.
    pub(super) streams: [BorrowedFd<'a>; 3],
}

fn check(code: c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The same for calls that leave the reason in `errno`.
fn check_errno(code: c_int) -> io::Result<()> {
    match code {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Pointers to strings, with the null pointer that ends such a list.
fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    let strings = strings.iter().map(|one| one.as_ptr().cast_mut());
    strings.chain([ptr::null_mut()]).collect()
}

/// Attributes and actions of a spawn, destroyed when dropped.
struct Plan {
    attributes: libc::posix_spawnattr_t,
    actions: libc::posix_spawn_file_actions_t,
}

impl Plan {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        let mut actions = MaybeUninit::uninit();
        // SAFETY: both are initialised by the calls before they are used; where the
        // second fails the first is destroyed here and never again.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            if let Err(error) = check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr())) {
                libc::posix_spawnattr_destroy(attributes.as_mut_ptr());
                return Err(error);
            }
            Ok(Self {
                attributes: attributes.assume_init(),
                actions: actions.assume_init(),
            })
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: `new` initialised both, and nothing uses them after this.
        unsafe {
            libc::posix_spawn_file_actions_destroy(&mut self.actions);
            libc::posix_spawnattr_destroy(&mut self.attributes);
        }
    }
}

/// Starts a process that leads a session of its own, and with it a process group, has no
/// controlling terminal, default signal actions and no blocked signals.
pub(super) fn spawn_session(exec: &Exec<'_>) -> io::Result<Pid> {
    let (argv, envp) = (pointers(exec.argv), pointers(exec.envp));
    let mut plan = Plan::new()?;
    let flags = c_int::from(libc::POSIX_SPAWN_SETSID)
        | libc::POSIX_SPAWN_SETSIGDEF
        | libc::POSIX_SPAWN_SETSIGMASK;
    let mut pid = 0;
    // SAFETY: attributes and actions are initialised; the sets are before they are used;
    // every string ends with a zero and lives until after the last call, as do the lists
    // of pointers, which end with a null pointer and are only read. The child shares this
    // process's memory until it executes, but runs nothing except the C library's own code.
    unsafe {
        let mut all = MaybeUninit::uninit();
        check_errno(libc::sigfillset(all.as_mut_ptr()))?;
        let mut none = MaybeUninit::uninit();
        check_errno(libc::sigemptyset(none.as_mut_ptr()))?;
        let attributes = &mut plan.attributes;
        check(libc::posix_spawnattr_setsigdefault(
            attributes,
            all.as_ptr(),
        ))?;
        check(libc::posix_spawnattr_setsigmask(attributes, none.as_ptr()))?;
        check(libc::posix_spawnattr_setflags(attributes, flags as c_short))?;
        let actions = &mut plan.actions;
        if let Some(dir) = exec.dir {
            check(libc::posix_spawn_file_actions_addchdir_np(
                actions,
                dir.as_ptr(),
            ))?;
        }
        for (stream, to) in exec.streams.iter().zip(0..) {
            check(libc::posix_spawn_file_actions_adddup2(
                actions,
                stream.as_raw_fd(),
                to,
            ))?;
        }
        check(libc::posix_spawn(
            &mut pid,
            exec.program.as_ptr(),
            actions,
            attributes,
            argv.as_ptr(),
            envp.as_ptr(),
        ))?;
    }
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Keeps a descriptor from whatever this process executes.
pub(super) fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: it sets a flag of a table entry of the kernel's, if there is such an entry.
    check_errno(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })
}

/// Lets every signal come that the caller had blocked, in this thread and in those that
/// it starts.
pub(super) fn unblock_signals() -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is initialised before it is used, and the old one is not asked for.
    unsafe {
        check_errno(libc::sigemptyset(none.as_mut_ptr()))?;
        check(libc::pthread_sigmask(
            libc::SIG_SETMASK,
            none.as_ptr(),
            ptr::null_mut(),
        ))
    }
}

/// Takes back that this process does not want to know of its children: with `SIGCHLD`
/// ignored, as it may be inherited, nobody could wait for one.
pub(super) fn hear_of_children() -> io::Result<()> {
    // SAFETY: no handler is installed, so no code of ours runs in a signal.
    match unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Has this thread take what `signal` does by default, as if no handler were there.
pub(super) fn take_default_action(signal: c_int) -> io::Result<()> {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: an action of zeros is the default action with an empty mask and no flags;
    // the old one is initialised by the first call where that succeeds, and is put back as
    // it was. No code of ours runs in a signal because of this.
    unsafe {
        let default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        check_errno(libc::sigaction(signal, &default, before.as_mut_ptr()))?;
        let raised = check_errno(libc::raise(signal));
        check_errno(libc::sigaction(signal, before.as_ptr(), ptr::null_mut()))?;
        raised
    }
}

/// The process that sent a signal; `None` where the kernel did, for a terminal or because
/// of something that this process did.
pub(super) fn sender(info: &libc::siginfo_t) -> Option<i32> {
    let by_process = [libc::SI_USER, libc::SI_TKILL, libc::SI_QUEUE].contains(&info.si_code);
    // SAFETY: with these codes the kernel has filled in who sent the signal.
    by_process.then(|| unsafe { info.si_pid() })
}
