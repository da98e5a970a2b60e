//! The system call filter of an import.
//!
//! The filter refuses the same calls as `RestrictSUIDSGID=yes` and `RestrictAddressFamilies=AF_VSOCK` in a systemd unit
//! (`src/shared/seccomp-util.c`, systemd v254). Unlike the two directives, the filter works under every init and in an
//! initramfs. An import sets the filter in a tenth of the time that systemd 254 takes for the two directives
//! ([why](https://docs.rs/crate/smbios-creds/latest/source/docs/decisions/0004-sandbox.md)). The BPF program is
//! computed when this crate is compiled, so an import only passes the finished program to the kernel.

use nix::libc;
use seccompiler::{Error, apply_filter, sock_filter};

use crate::sys::{Errno, io_errno};

/// Sets the filter for the rest of this process, and for every program that it executes. Also sets `no_new_privs`.
///
/// If the filter cannot be set, for example because the kernel has no seccomp, the error is logged at debug level, and
/// the import continues.
pub(super) fn set() {
    // The numbers and positions below are those of 64-bit, little-endian processors: not of x32, nor of aarch64_be.
    if cfg!(not(all(target_endian = "little", target_pointer_width = "64"))) {
        return;
    }
    let error = match apply_filter(&PROGRAM) {
        Ok(()) => return,
        Err(Error::Prctl(error) | Error::Seccomp(error)) => io_errno(error),
        // seccompiler's other errors come from its compiler, and from its filters for several threads. This module uses
        // neither.
        Err(_) => Errno::EINVAL,
    };
    tracing::debug!("cannot set the system call filter: {}", error.desc());
}

/// A system call, and the check of its arguments.
#[derive(Clone, Copy)]
struct Rule {
    call: u32,
    /// Index in [`CHECKS`] of the first instruction of the check.
    check: usize,
}

const fn rule(call: libc::c_long, check: usize) -> Rule {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "call numbers are small")]
    Rule { call: call as u32, check }
}

/// Number of the system call `fchmodat2(2)` on every architecture (Linux `scripts/syscall.tbl`).
const FCHMODAT2: libc::c_long = 452;

/// The system calls whose arguments the filter checks, or that the filter makes fail, in the order of their numbers.
/// [`search`] needs this order.
///
/// The arguments of `openat2(2)` and of calls through `io_uring` are in memory, where no filter can read them. So
/// `openat2(2)` and `io_uring_setup(2)` fail with `ENOSYS`, as if the kernel did not have these calls. Callers of
/// `openat2` expect this error (systemd's filter returns the same).
#[cfg(target_arch = "x86_64")]
const RULES: [Rule; 14] = [
    rule(libc::SYS_open, OPEN),
    rule(libc::SYS_socket, SOCKET),
    rule(libc::SYS_mkdir, MODE_1),
    rule(libc::SYS_creat, MODE_1),
    rule(libc::SYS_chmod, MODE_1),
    rule(libc::SYS_fchmod, MODE_1),
    rule(libc::SYS_mknod, MODE_1),
    rule(libc::SYS_openat, OPENAT),
    rule(libc::SYS_mkdirat, MODE_2),
    rule(libc::SYS_mknodat, MODE_2),
    rule(libc::SYS_fchmodat, MODE_2),
    rule(libc::SYS_io_uring_setup, ABSENT),
    rule(libc::SYS_openat2, ABSENT),
    rule(FCHMODAT2, MODE_2),
];

/// The system calls whose arguments the filter checks, or that the filter makes fail, in the order of their numbers.
/// aarch64 does not have the system calls open(2), creat(2), mkdir(2), mknod(2) and chmod(2), which take no directory
/// descriptor.
#[cfg(target_arch = "aarch64")]
const RULES: [Rule; 9] = [
    rule(libc::SYS_mknodat, MODE_2),
    rule(libc::SYS_mkdirat, MODE_2),
    rule(libc::SYS_fchmod, MODE_1),
    rule(libc::SYS_fchmodat, MODE_2),
    rule(libc::SYS_openat, OPENAT),
    rule(libc::SYS_socket, SOCKET),
    rule(libc::SYS_io_uring_setup, ABSENT),
    rule(libc::SYS_openat2, ABSENT),
    rule(FCHMODAT2, MODE_2),
];

/// The kernel's number for this architecture (Linux `include/uapi/linux/audit.h`). It consists of the ELF machine
/// number and of two bits for 64-bit and little-endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// System call numbers from this number on belong to the x32 ABI, which has the same architecture number as x86-64
/// (Linux `arch/x86/include/uapi/asm/unistd.h`).
const X32: u32 = 0x4000_0000;

/// Offsets in bytes of a call's number and architecture in `struct seccomp_data` (Linux
/// `include/uapi/linux/seccomp.h`).
const NUMBER: u32 = 0;
const CALLED_ARCHITECTURE: u32 = 4;

/// Returns the offset in bytes of the lower half of an argument in `struct seccomp_data`. The kernel uses only the
/// lower half of each argument that the filter checks.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// Codes of BPF instructions (Linux `include/uapi/linux/bpf_common.h`): one loads a word of `struct seccomp_data`,
/// three compare the word and jump, and one returns a result.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The mode bits set-user-ID and set-group-ID. They give a program the rights of its file's owner or group.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// Flags with which `open(2)` creates a file, and so uses its mode argument. `O_TMPFILE` includes `O_DIRECTORY`, which
/// creates nothing, so `CREATES` does not contain the bit of `O_DIRECTORY`.
const CREATES: u32 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

// Indexes in `CHECKS`: where the check of each kind of system call begins, and where the results are.
#[cfg(target_arch = "x86_64")]
const OPEN: usize = 0;
const OPENAT: usize = 2;
const MODE_2: usize = 6;
const MODE_1: usize = 8;
const SOCKET: usize = 10;
const ALLOW: usize = 12;
const REFUSE: usize = 13;
const ABSENT: usize = 14;
const OTHER_FAMILY: usize = 15;

/// The last part of the BPF program: the checks of arguments, and the results.
const CHECKS: [sock_filter; 16] = [
    // OPEN: checks the flags in the second argument. If the call creates a file, MODE_2 checks the file's mode.
    load(argument(1)),
    jump(IF_ANY_BIT, CREATES, 1, MODE_2, ALLOW),
    // OPENAT: checks the flags in the third argument and, if the call creates a file, the mode in the fourth argument.
    load(argument(2)),
    jump(IF_ANY_BIT, CREATES, 3, 4, ALLOW),
    load(argument(3)),
    jump(IF_ANY_BIT, SET_ID, 5, REFUSE, ALLOW),
    // MODE_2: checks a mode in the third argument.
    load(argument(2)),
    jump(IF_ANY_BIT, SET_ID, 7, REFUSE, ALLOW),
    // MODE_1: checks a mode in the second argument.
    load(argument(1)),
    jump(IF_ANY_BIT, SET_ID, 9, REFUSE, ALLOW),
    // SOCKET: checks the address family in the first argument.
    load(argument(0)),
    jump(IF_EQUAL, libc::AF_VSOCK as u32, 11, ALLOW, OTHER_FAMILY),
    // The results ALLOW, REFUSE, ABSENT and OTHER_FAMILY, in this order.
    instruction(RETURN, libc::SECCOMP_RET_ALLOW),
    fail(libc::EPERM),
    fail(libc::ENOSYS),
    fail(libc::EAFNOSUPPORT),
];

const fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn load(offset: u32) -> sock_filter {
    instruction(LOAD, offset)
}

const fn fail(errno: i32) -> sock_filter {
    #[expect(clippy::cast_sign_loss, reason = "error numbers are positive")]
    instruction(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// Returns an instruction that jumps to `if_true` if the comparison with `k` is true, otherwise to `if_false`. `from`
/// is the instruction's own index. BPF jumps only lead forwards, and their distance counts from the next instruction.
const fn jump(code: u16, k: u32, from: usize, if_true: usize, if_false: usize) -> sock_filter {
    sock_filter { code, jt: distance(from, if_true), jf: distance(from, if_false), k }
}

#[expect(clippy::cast_possible_truncation, reason = "the program is shorter than 256 instructions")]
const fn distance(from: usize, to: usize) -> u8 {
    assert!(to > from && to - from <= 256);
    (to - from - 1) as u8
}

/// Maximum number of rules that are compared one after the other. If there are more rules than this number, a first
/// comparison excludes half of them.
const ONE_BY_ONE: usize = 3;

/// Returns the number of instructions for the search through this number of rules.
const fn length(rules: usize) -> usize {
    if rules <= ONE_BY_ONE { rules } else { 1 + length(rules / 2) + length(rules - rules / 2) }
}

/// Number of instructions before the search through the rules. These instructions check the architecture and exclude
/// x32.
const START: usize = 4;

/// Index in [`PROGRAM`] of the first instruction of [`CHECKS`].
const END: usize = START + length(RULES.len());

/// The filter as a BPF program.
///
/// Before the kernel uses a filter, it runs the program for each system call number, to find the calls that the filter
/// always allows (`seccomp_cache_prepare()`, Linux `kernel/seccomp.c`). So the program uses a binary search, which
/// compares a number with only a few of the rules.
pub const PROGRAM: [sock_filter; END + CHECKS.len()] = program();

const fn program() -> [sock_filter; END + CHECKS.len()] {
    const NOTHING: sock_filter = instruction(RETURN, libc::SECCOMP_RET_ALLOW);
    let mut program = [NOTHING; END + CHECKS.len()];
    let (start, rest) = program.split_at_mut(START);
    let (found, checks) = rest.split_at_mut(length(RULES.len()));
    let first = [
        load(CALLED_ARCHITECTURE),
        jump(IF_EQUAL, ARCHITECTURE, 1, 2, END + REFUSE),
        load(NUMBER),
        jump(IF_AT_LEAST, X32, 3, END + REFUSE, START),
    ];
    copy(start, &first);
    search(found, START, &RULES);
    copy(checks, &CHECKS);
    program
}

const fn copy(mut to: &mut [sock_filter], mut from: &[sock_filter]) {
    while let (Some((place, places)), Some((sock_filter { code, jt, jf, k }, rest))) =
        (to.split_first_mut(), from.split_first())
    {
        *place = sock_filter { code: *code, jt: *jt, jf: *jf, k: *k };
        (to, from) = (places, rest);
    }
}

/// Writes the instructions of the search through `rules` to `to`. `place` is the index in [`PROGRAM`] of the first of
/// these instructions.
const fn search(to: &mut [sock_filter], place: usize, rules: &[Rule]) {
    let Some((first, to)) = to.split_first_mut() else { return };
    let (low, high) = rules.split_at(rules.len() / 2);
    *first = match (rules, high) {
        (_, [middle, ..]) if rules.len() > ONE_BY_ONE => {
            let (left, right) = to.split_at_mut(length(low.len()));
            let right_place = place + 1 + left.len();
            search(left, place + 1, low);
            search(right, right_place, high);
            jump(IF_AT_LEAST, middle.call, place, right_place, place + 1)
        }
        // The search ends here, because the next instruction belongs to another part of the program.
        ([rule], _) => jump(IF_EQUAL, rule.call, place, END + rule.check, END + ALLOW),
        ([rule, rest @ ..], _) => {
            search(to, place + 1, rest);
            jump(IF_EQUAL, rule.call, place, END + rule.check, place + 1)
        }
        ([], _) => return,
    };
}

// The compiler checks that the rules are in the order of their numbers, which the binary search needs.
const _: () = {
    let mut rules: &[Rule] = &RULES;
    while let [rule, rest @ ..] = rules {
        if let [next, ..] = rest {
            assert!(rule.call < next.call);
        }
        rules = rest;
    }
};
