//! The registers of a program that is stopped: its stack pointer, and the system call that it makes.

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::unistd::Pid;

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
