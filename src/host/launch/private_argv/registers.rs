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
    /// It executes another program.
    Execute {
        /// Where the lists of its arguments and of its variables are.
        lists: [u64; 2],
    },
    /// It makes a virtual machine.
    MakesMachine,
    /// Any other.
    Other,
}

/// The system call that a thread is about to make, which is stopped before it. Fails with `EPROTO` if it is not: a call
/// would be missed then.
pub(super) fn call(pid: Pid) -> nix::Result<Call> {
    let registers = ptrace::getregs(pid)?;
    if !is_before_call(&registers) {
        return Err(Errno::EPROTO);
    }
    let Words { number, arguments: [first, second, third, fourth], .. } = words(&registers);
    let [code, ..] = first.to_le_bytes();
    Ok(match number {
        Some(libc::SYS_exit) => Call::Exit { code, group: false },
        Some(libc::SYS_exit_group) => Call::Exit { code, group: true },
        Some(libc::SYS_execve) => Call::Execute { lists: [second, third] },
        Some(libc::SYS_execveat) => Call::Execute { lists: [third, fourth] },
        Some(libc::SYS_ioctl) if second == KVM_CREATE_VM => Call::MakesMachine,
        _ => Call::Other,
    })
}

/// Whether a thread that is stopped after a system call has made it without an error.
pub(super) fn has_succeeded(pid: Pid) -> nix::Result<bool> {
    Ok(words(&ptrace::getregs(pid)?).made)
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
    let made = registers.rax.cast_signed() >= 0;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
    Words { number, arguments, made }
}

/// Whether a thread that is stopped at a system call has not made it: its result is that of a call which there is not
/// (`entry_SYSCALL_64`, `arch/x86/entry/entry_64.S`; so it is for 32-bit programs).
#[cfg(target_arch = "x86_64")]
fn is_before_call(registers: &user_regs_struct) -> bool {
    registers.rax.cast_signed() == -i64::from(libc::ENOSYS)
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

/// Where the next instruction is.
#[cfg(target_arch = "x86_64")]
pub(super) fn instruction_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rip
}

/// The instruction at which a traced program stops with `SIGTRAP`, `int3`.
#[cfg(target_arch = "x86_64")]
pub(super) const BREAKPOINT: &[u8] = &[0xcc];

/// How far the instruction pointer is beyond the breakpoint at which a program has stopped.
#[cfg(target_arch = "x86_64")]
pub(super) const AFTER_BREAKPOINT: u64 = 1;

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

/// Set while 32-bit code runs (`PSR_MODE32_BIT`, arch/arm64/include/uapi/asm/ptrace.h).
#[cfg(target_arch = "aarch64")]
const MODE_32: u64 = 0x10;

/// What x7 is after a system call. Before it, it is 0 (`report_syscall()`, arch/arm64/kernel/ptrace.c), or in r12 of a
/// 32-bit program.
#[cfg(target_arch = "aarch64")]
const AFTER: u64 = 1;

#[cfg(target_arch = "aarch64")]
fn words(registers: &user_regs_struct) -> Words {
    let [first, second, third, fourth, _, _, _, after, number, ..] = registers.regs;
    let number = (registers.pstate & MODE_32 == 0).then_some(number.cast_signed());
    let made = after == AFTER && first.cast_signed() >= 0;
    Words { number, arguments: [first, second, third, fourth], made }
}

/// Whether a thread that is stopped at a system call has not made it.
#[cfg(target_arch = "aarch64")]
fn is_before_call(registers: &user_regs_struct) -> bool {
    let [_, _, _, _, _, _, _, after, _, _, _, _, compat_after, ..] = registers.regs;
    (if registers.pstate & MODE_32 == 0 { after } else { compat_after }) != AFTER
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

/// Where the next instruction is.
#[cfg(target_arch = "aarch64")]
pub(super) fn instruction_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.pc
}

/// The instruction at which a traced program stops with `SIGTRAP`, `brk #0` (`brk_handler()`,
/// arch/arm64/kernel/debug-monitors.c).
#[cfg(target_arch = "aarch64")]
pub(super) const BREAKPOINT: &[u8] = &[0x00, 0x00, 0x20, 0xd4];

/// How far the instruction pointer is beyond the breakpoint at which a program has stopped.
#[cfg(target_arch = "aarch64")]
pub(super) const AFTER_BREAKPOINT: u64 = 0;

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
