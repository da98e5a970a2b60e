//! The registers of a program that is stopped: its stack pointer, and the system call that it makes.
//!
//! The part for aarch64 is compiled and held to clippy (target `aarch64-unknown-linux-musl`), and was not executed: the
//! tests run on x86-64. Its sources are named beside it.

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::unistd::Pid;

use crate::sys::Errno;

/// The request that makes a virtual machine (`include/uapi/linux/kvm.h`: `_IO(KVMIO, 0x01)`).
const KVM_CREATE_VM: u64 = 0xae01;

/// A system call that decides how a start goes on.
pub(super) enum Call {
    /// It ends its process, or its thread only.
    Exit {
        /// What its parent sees of the exit code.
        code: u8,
        /// Whether it ends all threads.
        group: bool,
    },
    /// It is about to execute another program, or could not.
    Execute {
        /// Where the lists of its arguments and of its variables are.
        lists: [u64; 2],
    },
    /// It has made a virtual machine.
    MadeMachine,
    /// Any other.
    Other,
}

/// The system call at which a thread stopped, before or after it.
pub(super) fn call(pid: Pid) -> nix::Result<Call> {
    let Words { number, arguments: [first, second, third, fourth], made } = words(&ptrace::getregs(pid)?);
    let [code, ..] = first.to_le_bytes();
    Ok(match number {
        Some(libc::SYS_exit) => Call::Exit { code, group: false },
        Some(libc::SYS_exit_group) => Call::Exit { code, group: true },
        Some(libc::SYS_execve) if !made => Call::Execute { lists: [second, third] },
        Some(libc::SYS_execveat) if !made => Call::Execute { lists: [third, fourth] },
        Some(libc::SYS_ioctl) if made && second == KVM_CREATE_VM => Call::MadeMachine,
        _ => Call::Other,
    })
}

/// Gives a thread that is about to exit another exit code.
pub(super) fn set_exit_code(pid: Pid, code: u64) -> nix::Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    *first_argument(&mut registers) = code;
    ptrace::setregs(pid, registers)
}

/// A system call that a program makes for its tracer.
pub(super) struct Injected {
    /// Its number.
    pub(super) number: i64,
    /// Its first arguments.
    pub(super) arguments: [u64; 3],
}

impl Injected {
    /// Registers with which a thread makes this call next, and nothing else: the tracer stops it before and after the
    /// call. `instruction` is where it has a [`CALL`].
    pub(super) fn registers(&self, from: &user_regs_struct, instruction: u64) -> user_regs_struct {
        let mut registers = *from;
        set_call(&mut registers, self.number.cast_unsigned(), self.arguments, instruction);
        registers
    }

    /// What it has returned, to a thread that is stopped after it. The error is one of the call, or that it was not this
    /// call that was made.
    pub(super) fn result(&self, registers: &user_regs_struct) -> nix::Result<i32> {
        if words(registers).number != Some(self.number) {
            return Err(Errno::EPROTO);
        }
        let result = i32::try_from(returned(registers)).map_err(|_| Errno::EPROTO)?;
        if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(result) }
    }
}

/// What the registers tell of a system call.
struct Words {
    /// Its number, unless it is one of a 32-bit program.
    number: Option<i64>,
    /// Its first arguments.
    arguments: [u64; 4],
    /// Whether it is over, and has not failed.
    made: bool,
}

#[cfg(target_arch = "x86_64")]
fn words(registers: &user_regs_struct) -> Words {
    /// The code segment of 64-bit programs (`__USER_CS`, arch/x86/include/asm/segment.h).
    const USER_CS: u64 = 0x33;
    let number = (registers.cs == USER_CS).then_some(registers.orig_rax.cast_signed());
    // Before the call it is -ENOSYS.
    let made = registers.rax.cast_signed() >= 0;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
    Words { number, arguments, made }
}

#[cfg(target_arch = "x86_64")]
fn first_argument(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rdi
}

/// Where the stack pointer is.
#[cfg(target_arch = "x86_64")]
pub(super) fn stack_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rsp
}

/// The instruction that makes a system call, `syscall`.
#[cfg(target_arch = "x86_64")]
pub(super) const CALL: &[u8] = &[0x0f, 0x05];

#[cfg(target_arch = "x86_64")]
fn set_call(registers: &mut user_regs_struct, number: u64, arguments: [u64; 3], instruction: u64) {
    let [first, second, third] = arguments;
    (registers.rax, registers.rdi, registers.rsi, registers.rdx) = (number, first, second, third);
    registers.rip = instruction;
    // The call before is not made again: it is none (`syscall_get_nr()`, arch/x86/include/asm/syscall.h).
    registers.orig_rax = u64::MAX;
}

#[cfg(target_arch = "x86_64")]
fn returned(registers: &user_regs_struct) -> i64 {
    registers.rax.cast_signed()
}

#[cfg(target_arch = "aarch64")]
fn words(registers: &user_regs_struct) -> Words {
    /// Set while 32-bit code runs (`PSR_MODE32_BIT`, arch/arm64/include/uapi/asm/ptrace.h).
    const MODE_32: u64 = 0x10;
    let [first, second, third, fourth, _, _, _, after, number, ..] = registers.regs;
    let number = (registers.pstate & MODE_32 == 0).then_some(number.cast_signed());
    // The kernel puts 0 into x7 before a call, and 1 after it (`report_syscall()`, arch/arm64/kernel/ptrace.c).
    let made = after == 1 && first.cast_signed() >= 0;
    Words { number, arguments: [first, second, third, fourth], made }
}

#[cfg(target_arch = "aarch64")]
fn first_argument(registers: &mut user_regs_struct) -> &mut u64 {
    let [first, ..] = &mut registers.regs;
    first
}

/// Where the stack pointer is.
#[cfg(target_arch = "aarch64")]
pub(super) fn stack_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.sp
}

/// The instruction that makes a system call, `svc #0`.
#[cfg(target_arch = "aarch64")]
pub(super) const CALL: &[u8] = &[0x01, 0x00, 0x00, 0xd4];

#[cfg(target_arch = "aarch64")]
fn set_call(registers: &mut user_regs_struct, number: u64, arguments: [u64; 3], instruction: u64) {
    let [first, second, third, _, _, _, _, _, eighth, ..] = &mut registers.regs;
    [*first, *second, *third] = arguments;
    *eighth = number;
    registers.pc = instruction;
}

#[cfg(target_arch = "aarch64")]
fn returned(registers: &user_regs_struct) -> i64 {
    let [first, ..] = registers.regs;
    first.cast_signed()
}
