//! Stops a program at its entry point, which a dynamically linked one reaches once its libraries are loaded.
//!
//! The dynamic linker makes dozens of system calls, of which none executes a program or ends this one with success. So
//! a wrapper need not stop at those calls, which are most of the calls of a small one. Variables such as `LD_PRELOAD` make
//! the linker do other things, even end the program with success. A program with such a variable stops at every call.
//!
//! If a library of the program's own ends it with success there, the start fails with its message, but the exit code of
//! the process stays 0.

use std::io;

use nix::libc::c_long;
use nix::sys::ptrace::{self, AddressType};
use nix::unistd::Pid;

use super::registers::{AFTER_BREAKPOINT, BREAKPOINT, instruction_pointer};
use super::tracee::{auxiliary, has_variable};
use crate::sys::Errno;

/// `AT_BASE` of the auxiliary vector (getauxval(3)): where the dynamic linker is, or 0.
const AT_BASE: u64 = 7;

/// `AT_ENTRY`: the program's entry point.
const AT_ENTRY: u64 = 9;

/// Beginning of the names of variables that change what the dynamic linker does (ld.so(8)).
const LINKER: &[u8] = b"LD_";

/// The entry point of a program that has not reached it, with a breakpoint instead of the first instruction there.
pub(super) struct EntryPoint {
    pid: Pid,
    address: u64,
    /// What is there without the breakpoint.
    word: c_long,
}

impl EntryPoint {
    /// Sets the breakpoint in a program that is stopped before the first instruction of its dynamic linker. Returns
    /// `None` if it has none, or may do something else than be linked.
    pub(super) fn set(pid: Pid) -> io::Result<Option<Self>> {
        let [Some(1..), Some(address)] = auxiliary(pid, [AT_BASE, AT_ENTRY])? else { return Ok(None) };
        if has_variable(pid, LINKER)? {
            return Ok(None);
        }
        let word = ptrace::read(pid, at(address)?)?;
        let mut bytes = word.to_ne_bytes();
        for (byte, with) in bytes.iter_mut().zip(BREAKPOINT) {
            *byte = *with;
        }
        ptrace::write(pid, at(address)?, c_long::from_ne_bytes(bytes))?;
        Ok(Some(Self { pid, address, word }))
    }

    /// Whether the program, which is stopped, has reached the breakpoint.
    pub(super) fn is_reached(&self) -> nix::Result<bool> {
        let mut registers = ptrace::getregs(self.pid)?;
        Ok(*instruction_pointer(&mut registers) == self.address + AFTER_BREAKPOINT)
    }

    /// Removes the breakpoint. A program that has executed it continues with what was there.
    pub(super) fn clear(self) -> nix::Result<()> {
        ptrace::write(self.pid, at(self.address).map_err(|_| Errno::EFAULT)?, self.word)?;
        let mut registers = ptrace::getregs(self.pid)?;
        let pointer = instruction_pointer(&mut registers);
        if *pointer == self.address + AFTER_BREAKPOINT {
            *pointer = self.address;
            ptrace::setregs(self.pid, registers)?;
        }
        Ok(())
    }
}

fn at(address: u64) -> io::Result<AddressType> {
    let address = usize::try_from(address).map_err(io::Error::other)?;
    Ok(std::ptr::without_provenance_mut(address))
}
