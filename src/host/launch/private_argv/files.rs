//! Creates files in memory of which only the hypervisor has descriptors. A wrapper that executes the hypervisor has no
//! descriptor of these files.
//!
//! If the launcher left a descriptor open, every wrapper and every program that a wrapper executes would inherit it. So
//! the tracer makes the hypervisor create the files itself. The hypervisor is stopped after its execve(2), before its
//! first instruction. For each system call, the tracer sets the hypervisor's registers, and lets the hypervisor make
//! only this call. After the last call, the tracer restores the registers. Then the tracer writes and seals the files
//! through `/proc/PID/fd`, and puts their paths into the hypervisor's arguments.
//!
//! execve(2) closes the descriptors, so programs that the hypervisor executes do not inherit them.

use std::fs::{File, OpenOptions, read_to_string};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

use memchr::memmem;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::unistd::Pid;
use zeroize::Zeroizing;

use super::registers::{CALL, Injected, stack_pointer};
use super::stack::Replacement;
use crate::format::credential::Secret;
use crate::host::hypervisor::Part;
use crate::sys::program::{MEMFD_NAME, seal};

/// Lowest descriptor number of a file with OEM strings. Lower numbers stay free for scripts that start the hypervisor:
/// scripts often use low descriptors themselves.
pub(in crate::host::launch) const FIRST_DESCRIPTOR: RawFd = 64;

/// How many bytes below the stack pointer the tracer writes the name of the files for `memfd_create(2)`. The program
/// does not use this memory before its first instruction.
const NAME_BELOW: u64 = 64;

/// Maximum number of bytes of a memory mapping that are searched for a system call instruction.
const SEARCHED: usize = 4 << 20;

/// An argument with the paths of files that only the hypervisor has.
#[derive(Debug)]
pub struct InFiles {
    /// The argument with which the program is executed, without NUL.
    pub placeholder: Vec<u8>,
    /// The parts of the real argument: text, and contents of files.
    pub parts: Vec<Part>,
}

impl InFiles {
    fn contents(&self) -> impl Iterator<Item = &Secret> {
        self.parts.iter().filter_map(|part| match part {
            Part::File(content) => Some(content),
            Part::Text(_) => None,
        })
    }
}

/// Makes a program create files. The program is stopped before its first instruction.
pub(super) struct Maker {
    target: Pid,
    memory: File,
    /// The program's registers after its execve(2). They are restored at the end.
    registers: user_regs_struct,
    /// Address of an instruction in the program that makes a system call.
    instruction: u64,
    /// Number of files to create.
    count: usize,
    made: Vec<RawFd>,
    at: At,
}

/// How far the program has come in creating the files.
#[derive(Clone, Copy)]
enum At {
    /// The program's execve(2) is not finished.
    Executing,
    /// The program is about to make the system call of this step.
    Before(Step),
    /// The program is in the system call of this step.
    Making(Step),
}

/// A step in creating one file.
#[derive(Clone, Copy)]
enum Step {
    /// Creates the file.
    Create,
    /// Duplicates this descriptor of the file. The new descriptor is at least [`FIRST_DESCRIPTOR`].
    Raise(RawFd),
    /// Closes this descriptor, which `memfd_create(2)` has returned for the file.
    Close(RawFd),
}

impl Maker {
    /// Prepares to make a program create one file for each content in `arguments`. The program must be stopped in its
    /// execve(2).
    pub(super) fn new(target: Pid, arguments: &[InFiles]) -> io::Result<Self> {
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{target}/mem"))?;
        Ok(Self {
            target,
            memory,
            registers: ptrace::getregs(target)?,
            instruction: 0,
            count: arguments.iter().flat_map(InFiles::contents).count(),
            made: Vec::new(),
            at: At::Executing,
        })
    }

    /// Handles a stop before or after a system call. Returns true if all files exist and the registers are restored.
    pub(super) fn at_call(&mut self) -> io::Result<bool> {
        let step = match self.at {
            At::Executing => {
                self.begin()?;
                Step::Create
            }
            At::Before(step) => {
                self.at = At::Making(step);
                return Ok(false);
            }
            At::Making(step) => {
                let result = self.call(step).result(&ptrace::getregs(self.target)?)?;
                match step {
                    Step::Create => Step::Raise(result),
                    Step::Raise(first) => {
                        self.made.push(result);
                        Step::Close(first)
                    }
                    Step::Close(_) if self.made.len() < self.count => Step::Create,
                    Step::Close(_) => {
                        ptrace::setregs(self.target, self.registers)?;
                        return Ok(true);
                    }
                }
            }
        };
        let registers = self.call(step).registers(&self.registers, self.instruction);
        ptrace::setregs(self.target, registers)?;
        self.at = At::Before(step);
        Ok(false)
    }

    /// Prepares the first system call, after the program's execve(2): stores the registers, and writes the name of the
    /// files to the program's memory.
    fn begin(&mut self) -> io::Result<()> {
        self.registers = ptrace::getregs(self.target)?;
        self.instruction = find_instruction(self.target, &self.memory)?;
        let name = self.name();
        self.memory.write_all_at(MEMFD_NAME.to_bytes_with_nul(), name)
    }

    fn name(&mut self) -> u64 {
        stack_pointer(&mut self.registers).saturating_sub(NAME_BELOW)
    }

    fn call(&mut self, step: Step) -> Injected {
        let number = |descriptor: RawFd| u64::from(descriptor.cast_unsigned());
        let flags = u64::from(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        let duplicate = number(libc::F_DUPFD_CLOEXEC);
        let (number, arguments) = match step {
            Step::Create => (libc::SYS_memfd_create, [self.name(), flags, 0]),
            Step::Raise(first) => (libc::SYS_fcntl, [number(first), duplicate, number(FIRST_DESCRIPTOR)]),
            Step::Close(first) => (libc::SYS_close, [number(first), 0, 0]),
        };
        Injected { number, arguments }
    }

    /// Writes and seals the files that the program has created. Returns the real arguments, with the paths of the
    /// files.
    pub(super) fn fill(&self, arguments: &[InFiles]) -> io::Result<Vec<Replacement>> {
        let mut made = self.made.iter();
        let mut replacements = Vec::new();
        for InFiles { placeholder, parts } in arguments {
            let mut value = Vec::new();
            for part in parts {
                match part {
                    Part::Text(text) => value.extend_from_slice(text.as_bytes()),
                    Part::File(content) => {
                        let descriptor = made.next().ok_or(ErrorKind::NotFound)?;
                        let path = format!("/proc/{}/fd/{descriptor}", self.target);
                        seal(&mut OpenOptions::new().write(true).open(path)?, content.expose())?;
                        value.extend_from_slice(format!("/proc/self/fd/{descriptor}").as_bytes());
                    }
                }
            }
            replacements.push(Replacement { placeholder: placeholder.clone(), value: value.into() });
        }
        Ok(replacements)
    }
}

/// Returns the address of an instruction that makes a system call. The instruction is in the code that the kernel maps
/// into every program (vDSO), or in the program's own code.
fn find_instruction(target: Pid, memory: &File) -> io::Result<u64> {
    let maps = read_to_string(format!("/proc/{target}/maps"))?;
    let (vdso, others): (Vec<&str>, Vec<&str>) = maps.lines().partition(|line| line.ends_with("[vdso]"));
    let found = vdso.into_iter().chain(others).find_map(|line| {
        let mut fields = line.split(' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).ok());
        let (start, end) = (start?, end?);
        if !fields.next()?.contains('x') {
            return None;
        }
        let mut code = Zeroizing::new(vec![0; usize::try_from(end - start).ok()?.min(SEARCHED)]);
        let size = memory.read_at(&mut code, start).ok()?;
        let mut places = memmem::find_iter(code.get(..size)?, CALL).map(|at| start + at as u64);
        // An instruction of four bytes (aarch64) must be at an address that is a multiple of four.
        places.find(|place| CALL.len() < 4 || place.is_multiple_of(4))
    });
    found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "it has no instruction that makes a system call"))
}
