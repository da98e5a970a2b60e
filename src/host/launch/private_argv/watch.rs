//! Finds the end of the started program with breakpoints, so that the program need not stop at each system call. The
//! started program is the program that the launcher has executed.
//!
//! The tracer must see the end of the started program: if no program has executed the hypervisor by then, the parent of
//! the started program must not see the exit code 0. A dynamically linked wrapper makes dozens of system calls while
//! its libraries are loaded, and dozens more before it executes the next program. A stop at each call would cost time.
//! So the wrapper stops at breakpoints:
//!
//! 1. at its entry point, which it reaches when its libraries are loaded. Before this point, the dynamic linker never
//!    ends a program with exit code 0, unless an environment variable such as `LD_PRELOAD` changes what the dynamic
//!    linker does.
//! 2. in the C library: at the function that makes the last system call of every program ([`CLibrary::exit`]), at the
//!    function that can make any system call ([`CLibrary::system_call`]), at the function that the dynamic linker calls
//!    when it loads another library ([`CLibrary::loads`]), and at prctl(2) ([`CLibrary::prctl`]). With prctl(2), a
//!    program can forbid a tracer without `CAP_SYS_PTRACE` to remove the breakpoints later.
//!
//! After the program has executed a breakpoint of step 2, it stops at each system call, and gets no new breakpoints.
//! The program's next call may be its last one, new breakpoints might not find its end, or the tracer could not remove
//! new breakpoints. The program also stops at each call after it has created a process or a thread. So a program with
//! breakpoints has one thread, and no other process shares its memory.
//!
//! For some programs, the breakpoints may not find the end. These programs stop at every system call from their
//! beginning: a static program, a program with an environment variable `LD_*`, a program without a C library or with
//! several, and a Go program, which makes its system calls without the C library.
//!
//! The breakpoints do not find the end of a program in two cases. A program may make its last system call with an
//! instruction in its own code. Or a library of the program may end the program while the libraries are loaded. In both
//! cases, the start fails with an error message, but if the program ended with exit code 0, its parent sees this code,
//! not 1.
//!
//! If a process ignores or blocks `SIGTRAP`, the kernel resets the action for this signal at a breakpoint. So a program
//! that is executed with `SIGTRAP` ignored or blocked gets no breakpoints. If a program begins to ignore `SIGTRAP`
//! later, it no longer ignores the signal after it has loaded a library, or called `syscall` or `prctl`.
//!
//! If a program that root started has given up root's user ID or its capabilities, the kernel no longer lets a tracer
//! without `CAP_SYS_PTRACE` change the program's memory. Such a program may end by `SIGTRAP` at a breakpoint that the
//! tracer could not remove, unless it executes the next program first.

use std::fs::File;
use std::io;

use nix::libc;
use nix::unistd::Pid;

use super::breakpoints::Breakpoints;
use super::c_library::{CLibrary, Headers};
use super::tracee::{auxiliary, has_variable, holds_back};

/// Kinds of values in the auxiliary vector (getauxval(3)), in this order: address of the program headers, number of the
/// program headers, address of the dynamic linker (0 if there is none), the program's entry point, and address of the
/// code that the kernel maps into every program (vDSO).
const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const AT_BASE: u64 = 7;
const AT_ENTRY: u64 = 9;
const AT_SYSINFO_EHDR: u64 = 33;

/// Beginning of the names of environment variables that change what the dynamic linker does (ld.so(8)).
const LINKER: &[u8] = b"LD_";

/// The breakpoints of a watched program.
pub(super) struct Watch {
    breakpoints: Breakpoints,
    at: At,
}

/// Where the breakpoints of a program are.
#[derive(Clone, Copy)]
enum At {
    /// At the program's entry point.
    Entry(Headers),
    /// In the program's C library.
    Library,
}

impl Watch {
    /// Sets a breakpoint at the entry point of a program that is stopped before its first instruction. Returns `None`
    /// if the program has no dynamic linker, if an environment variable `LD_*` may change what the dynamic linker does,
    /// or if the program ignores or blocks `SIGTRAP`.
    pub(super) fn linking(pid: Pid) -> io::Result<Option<Self>> {
        let kinds = [AT_BASE, AT_ENTRY, AT_PHDR, AT_PHNUM, AT_SYSINFO_EHDR];
        let [Some(1..), Some(entry), Some(address), Some(count), vdso] = auxiliary(pid, kinds)? else {
            return Ok(None);
        };
        if has_variable(pid, LINKER)? || holds_back(pid, libc::SIGTRAP) {
            return Ok(None);
        }
        let breakpoints = Breakpoints::set(pid, &[entry])?;
        Ok(Some(Self { breakpoints, at: At::Entry(Headers { address, count, vdso }) }))
    }

    /// Sets the next breakpoints in a program that has executed a breakpoint. The caller has removed the previous
    /// breakpoints. Returns `None` if the program must stop at each system call from now on: its last call may be next,
    /// or breakpoints may not find its end.
    pub(super) fn next(&self, pid: Pid) -> io::Result<Option<Self>> {
        let At::Entry(headers) = self.at else { return Ok(None) };
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let Some(CLibrary { exit, system_call, prctl, loads }) = CLibrary::find(&memory, headers) else {
            return Ok(None);
        };
        let breakpoints = Breakpoints::set(pid, &[exit, system_call, prctl, loads])?;
        Ok(Some(Self { breakpoints, at: At::Library }))
    }

    /// Whether the stopped program has executed a breakpoint. The kernel may report the program's `SIGTRAP` only later.
    pub(super) fn is_reached(&self, pid: Pid) -> nix::Result<bool> {
        Ok(self.breakpoints.reached(pid)?.is_some())
    }

    /// Removes the breakpoints from the program, or from a process with a copy of the program's memory (fork(2)).
    pub(super) fn clear(&self, pid: Pid) -> nix::Result<()> {
        self.breakpoints.clear(pid)
    }
}
