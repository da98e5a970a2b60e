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

/// A breakpoint, which replaces the instruction at an address.
struct Breakpoint {
    address: u64,
    /// The original word (8 bytes) at the address, without the breakpoint.
    original: c_long,
    /// The word (8 bytes) at the address with the breakpoint.
    changed: c_long,
}

/// Number of bytes in a word. The tracer writes a breakpoint as the beginning of a whole word.
const WORD: u64 = size_of::<c_long>() as u64;

/// Breakpoints in a program.
pub(super) struct Breakpoints(Vec<Breakpoint>);

impl Breakpoints {
    /// Sets a breakpoint at each address in a stopped program. If one of the breakpoints cannot be set, or two
    /// addresses are less than a word apart, sets none.
    pub(super) fn set(pid: Pid, addresses: &[u64]) -> io::Result<Self> {
        let mut rest = addresses;
        while let [address, others @ ..] = rest {
            if others.iter().any(|other| address.abs_diff(*other) < WORD) {
                return Err(Errno::EINVAL.into());
            }
            rest = others;
        }
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

    /// Returns the address of the breakpoint that a stopped program has just executed, or `None` if it executed none.
    pub(super) fn reached(&self, pid: Pid) -> nix::Result<Option<u64>> {
        let mut registers = ptrace::getregs(pid)?;
        let pointer = *instruction_pointer(&mut registers);
        let mut addresses = self.0.iter().map(|breakpoint| breakpoint.address);
        Ok(addresses.find(|&address| address.checked_add(AFTER_BREAKPOINT) == Some(pointer)))
    }

    /// Removes the breakpoints from a stopped program, or from a copy of it. If the program has just executed a
    /// breakpoint, it will continue with the original instruction.
    pub(super) fn clear(&self, pid: Pid) -> nix::Result<()> {
        for breakpoint in &self.0 {
            let address = at(breakpoint.address).map_err(|_| Errno::EFAULT)?;
            match ptrace::read(pid, address) {
                Ok(word) if word == breakpoint.changed => ptrace::write(pid, address, breakpoint.original)?,
                // The breakpoint no longer exists: the process now executes another program, or it has removed this
                // code from its memory. Or the kernel no longer lets the tracer read the process's memory (see
                // `watch`).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breakpoints_that_would_overlap_are_not_set() {
        // This process is not traced, so ptrace(2) would fail with another error (`ESRCH`) when it reads this process's
        // memory.
        let set = |addresses: &[u64]| Breakpoints::set(nix::unistd::getpid(), addresses).err().unwrap();
        for addresses in [[0x1000, 0x1007, 0x2000], [0x2000, 0x1008, 0x1001], [0x1000, 0x2000, 0x1000]] {
            assert_eq!(set(&addresses).raw_os_error(), Some(Errno::EINVAL as i32), "{addresses:x?}");
        }
        assert_eq!(set(&[0x1000, 0x1008, 0x2000]).raw_os_error(), Some(Errno::ESRCH as i32));
    }
}
