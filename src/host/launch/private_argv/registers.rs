//! The registers of a stopped program: its stack pointer, and its current system call.
//!
//! The code for aarch64 is compiled and checked with clippy (target `aarch64-unknown-linux-musl`), but it was not
//! executed: the tests run on x86-64. Comments next to this code name the kernel files that it follows.

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::unistd::Pid;

use crate::sys::Errno;

/// The ioctl(2) request that creates a virtual machine (`include/uapi/linux/kvm.h`: `_IO(KVMIO, 0x01)`).
const KVM_CREATE_VM: u64 = 0xae01;

/// The kinds of system calls that the tracer distinguishes.
pub(super) enum Call {
    /// Ends the process, or only the calling thread.
    Exit {
        /// The exit code that the parent sees.
        code: u8,
        /// Whether the call ends all threads.
        group: bool,
    },
    /// Executes another program.
    Execute {
        /// Addresses of the list of arguments and of the list of environment variables.
        lists: [u64; 2],
    },
    /// Creates a virtual machine.
    MakesMachine,
    /// Any other system call.
    Other,
}

/// Returns the system call that a stopped thread is about to make. Fails with `EPROTO` if the thread is not stopped
/// before a system call. Without this error, the tracer could miss a call.
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

/// Whether a thread's system call has succeeded. The thread must be stopped after the call.
pub(super) fn has_succeeded(pid: Pid) -> nix::Result<bool> {
    Ok(words(&ptrace::getregs(pid)?).made)
}

/// Changes the exit code with which a thread is about to exit. The thread must be stopped before the system call with
/// which it exits.
pub(super) fn set_exit_code(pid: Pid, code: u64) -> nix::Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    *first_argument(&mut registers) = code;
    ptrace::setregs(pid, registers)
}

/// A system call that the tracer lets a program make.
pub(super) struct Injected {
    /// Number of the system call.
    pub(super) number: i64,
    /// First three arguments of the system call.
    pub(super) arguments: [u64; 3],
}

impl Injected {
    /// Returns the registers with which a thread makes this system call next. `from` are the thread's registers, and
    /// `instruction` is the address of a [`CALL`] instruction in the program. The thread makes only this call, because
    /// it stops for the tracer before and after the call.
    pub(super) fn registers(&self, from: &user_regs_struct, instruction: u64) -> user_regs_struct {
        let mut registers = *from;
        set_call(&mut registers, self.number.cast_unsigned(), self.arguments, instruction);
        registers
    }

    /// Returns the call's result from the registers of a thread that is stopped after the call. Fails with the call's
    /// error, or with `EPROTO` if the thread made another call.
    pub(super) fn result(&self, registers: &user_regs_struct) -> nix::Result<i32> {
        if words(registers).number != Some(self.number) {
            return Err(Errno::EPROTO);
        }
        let result = i32::try_from(returned(registers)).map_err(|_| Errno::EPROTO)?;
        if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(result) }
    }
}

/// What the registers of a thread tell about its system call.
struct Words {
    /// Number of the system call. `None` for a call of a 32-bit program.
    number: Option<i64>,
    /// First four arguments of the system call.
    arguments: [u64; 4],
    /// Whether the kernel has finished the call, and the call has succeeded.
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

/// Whether a thread that is stopped at a system call has not made the call yet. Before the call, the register for the
/// result contains `-ENOSYS` (`entry_SYSCALL_64`, `arch/x86/entry/entry_64.S`; the same for 32-bit programs).
#[cfg(target_arch = "x86_64")]
fn is_before_call(registers: &user_regs_struct) -> bool {
    registers.rax.cast_signed() == -i64::from(libc::ENOSYS)
}

#[cfg(target_arch = "x86_64")]
fn first_argument(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rdi
}

/// Returns the register that contains the stack pointer.
#[cfg(target_arch = "x86_64")]
pub(super) fn stack_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rsp
}

/// Returns the register that contains the address of the next instruction.
#[cfg(target_arch = "x86_64")]
pub(super) fn instruction_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rip
}

/// The instruction at which a traced program stops with `SIGTRAP`, `int3`.
#[cfg(target_arch = "x86_64")]
pub(super) const BREAKPOINT: &[u8] = &[0xcc];

/// Distance in bytes from a breakpoint to the instruction pointer of a program that has stopped at the breakpoint.
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
    // The value -1 means "no call" (`syscall_get_nr()`, arch/x86/include/asm/syscall.h). With this value, the kernel
    // does not restart the thread's previous call.
    registers.orig_rax = u64::MAX;
}

#[cfg(target_arch = "x86_64")]
fn returned(registers: &user_regs_struct) -> i64 {
    registers.rax.cast_signed()
}

/// Bit of `pstate` that is set while 32-bit code runs (`PSR_MODE32_BIT`, arch/arm64/include/uapi/asm/ptrace.h).
#[cfg(target_arch = "aarch64")]
const MODE_32: u64 = 0x10;

/// Value of the register x7 when a thread is stopped after a system call. Before the call, the value is 0
/// (`report_syscall()`, arch/arm64/kernel/ptrace.c). In a 32-bit program, the kernel uses r12 instead of x7.
#[cfg(target_arch = "aarch64")]
const AFTER: u64 = 1;

#[cfg(target_arch = "aarch64")]
fn words(registers: &user_regs_struct) -> Words {
    let [first, second, third, fourth, _, _, _, after, number, ..] = registers.regs;
    let number = (registers.pstate & MODE_32 == 0).then_some(number.cast_signed());
    let made = after == AFTER && first.cast_signed() >= 0;
    Words { number, arguments: [first, second, third, fourth], made }
}

/// Whether a thread that is stopped at a system call has not made the call yet.
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

/// Returns the register that contains the stack pointer.
#[cfg(target_arch = "aarch64")]
pub(super) fn stack_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.sp
}

/// Returns the register that contains the address of the next instruction.
#[cfg(target_arch = "aarch64")]
pub(super) fn instruction_pointer(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.pc
}

/// The instruction at which a traced program stops with `SIGTRAP`, `brk #0` (`brk_handler()`,
/// arch/arm64/kernel/debug-monitors.c).
#[cfg(target_arch = "aarch64")]
pub(super) const BREAKPOINT: &[u8] = &[0x00, 0x00, 0x20, 0xd4];

/// Distance in bytes from a breakpoint to the instruction pointer of a program that has stopped at the breakpoint.
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
