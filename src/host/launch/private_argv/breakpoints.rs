//! Breakpoints: instructions in a program's code at which the program stops with `SIGTRAP`.
//!
//! A program and its copies (fork(2)) have the same breakpoints at the same addresses. A program that shares its memory
//! with another one (vfork(2)) shares its breakpoints too.

use std::io;

use nix::libc::c_long;
use nix::sys::ptrace::{self, AddressType};
use nix::unistd::Pid;

use super::registers::{AFTER_BREAKPOINT, BREAKPOINT, instruction_pointer};
use crate::sys::Errno;

/// A breakpoint instead of the instruction at an address.
struct Breakpoint {
    address: u64,
    /// The word at the address without the breakpoint.
    original: c_long,
    /// The word at the address with the breakpoint.
    changed: c_long,
}

/// Breakpoints in a program.
pub(super) struct Breakpoints(Vec<Breakpoint>);

impl Breakpoints {
    /// Sets breakpoints in a stopped program, all or none. No address may be within the word at another one.
    pub(super) fn set(pid: Pid, addresses: &[u64]) -> io::Result<Self> {
        let mut set = Self(Vec::with_capacity(addresses.len()));
        for &address in addresses {
            match Breakpoint::set(pid, address) {
                Ok(breakpoint) => set.0.push(breakpoint),
                Err(error) => {
                    set.clear(pid)?;
                    return Err(error);
                }
            }
        }
        Ok(set)
    }

    /// Returns the address of the breakpoint that a stopped program has executed.
    pub(super) fn reached(&self, pid: Pid) -> nix::Result<Option<u64>> {
        let mut registers = ptrace::getregs(pid)?;
        let pointer = *instruction_pointer(&mut registers);
        let mut addresses = self.0.iter().map(|breakpoint| breakpoint.address);
        Ok(addresses.find(|&address| address.checked_add(AFTER_BREAKPOINT) == Some(pointer)))
    }

    /// Removes the breakpoints from a stopped program that has them, or has a copy of them. A program that has executed
    /// one continues with the instruction that was there.
    pub(super) fn clear(&self, pid: Pid) -> nix::Result<()> {
        for breakpoint in &self.0 {
            let address = at(breakpoint.address).map_err(|_| Errno::EFAULT)?;
            match ptrace::read(pid, address) {
                Ok(word) if word == breakpoint.changed => ptrace::write(pid, address, breakpoint.original)?,
                // Another program's memory, or this one's without the code.
                Ok(_) | Err(Errno::EIO | Errno::EFAULT) => {}
                Err(errno) => return Err(errno),
            }
        }
        if let Some(address) = self.reached(pid)? {
            let mut registers = ptrace::getregs(pid)?;
            *instruction_pointer(&mut registers) = address;
            ptrace::setregs(pid, registers)?;
        }
        Ok(())
    }
}

impl Breakpoint {
    fn set(pid: Pid, address: u64) -> io::Result<Self> {
        let original = ptrace::read(pid, at(address)?)?;
        let mut bytes = original.to_ne_bytes();
        for (byte, with) in bytes.iter_mut().zip(BREAKPOINT) {
            *byte = *with;
        }
        let changed = c_long::from_ne_bytes(bytes);
        ptrace::write(pid, at(address)?, changed)?;
        Ok(Self { address, original, changed })
    }
}

fn at(address: u64) -> io::Result<AddressType> {
    let address = usize::try_from(address).map_err(io::Error::other)?;
    Ok(std::ptr::without_provenance_mut(address))
}
