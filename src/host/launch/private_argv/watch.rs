//! Waits for the end of a program that a C library starts, without a stop at each of its system calls.
//!
//! Only the end of the started program matters: its exit code must not be 0, if nothing has executed the hypervisor. A
//! dynamically linked wrapper makes dozens of system calls while it is linked, and dozens more until it executes the
//! next program. It stops at breakpoints instead:
//!
//! 1. at its entry point, which it reaches when its libraries are loaded. The dynamic linker ends no program with
//!    success, unless a variable such as `LD_PRELOAD` makes it do other things.
//! 2. in the C library, at the function that makes the last system call of every program ([`CLibrary::exit`]), at the
//!    function that makes any system call, and where another library is loaded.
//!
//! From then on, it stops at each of its calls: the next one is its last, or may be. It also does so after it has
//! created a process or a thread. So a program with breakpoints has one thread, and shares its memory with nobody.
//!
//! A program stops at every call from its beginning if the breakpoints are not certain to find its end: a static
//! program; one with a variable `LD_*`; one in which not exactly one C library is loaded; one written in Go, which
//! makes its system calls without the C library.
//!
//! Some ends are not found: a program may contain an instruction that makes the system call, and a library of its own
//! may end it while it is linked. Then the start fails with its message, but the exit code stays 0.
//!
//! At a breakpoint, the kernel resets the action for `SIGTRAP` if this signal is ignored or blocked. So a program that
//! is executed with such a `SIGTRAP` gets no breakpoints. One that ignores `SIGTRAP` itself ignores it no longer after
//! it has loaded a library or called `syscall`.

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

/// Beginning of the names of variables that change what the dynamic linker does (ld.so(8)).
const LINKER: &[u8] = b"LD_";

/// The breakpoints of a watched program.
pub(super) struct Watch {
    breakpoints: Breakpoints,
    at: At,
}

/// Where the breakpoints of a program are.
#[derive(Clone, Copy)]
enum At {
    /// At its entry point.
    Entry(Headers),
    /// In its C library.
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
        let Some(CLibrary { exit, system_call, loads }) = CLibrary::find(&memory, headers) else {
            return Ok(None);
        };
        let breakpoints = Breakpoints::set(pid, &[exit, system_call, loads])?;
        Ok(Some(Self { breakpoints, at: At::Library }))
    }

    /// Whether the stopped program has executed a breakpoint. The program's `SIGTRAP` may be reported only later.
    pub(super) fn is_reached(&self, pid: Pid) -> nix::Result<bool> {
        Ok(self.breakpoints.reached(pid)?.is_some())
    }

    /// Removes the breakpoints from the program, or from a copy of it.
    pub(super) fn clear(&self, pid: Pid) -> nix::Result<()> {
        self.breakpoints.clear(pid)
    }
}
