//! The system call filter of an import.
//!
//! It refuses what `RestrictSUIDSGID=yes` and `RestrictAddressFamilies=AF_VSOCK` refuse in a unit
//! (`src/shared/seccomp-util.c`, systemd v254), under every init and in an initramfs. To set it here takes a tenth of
//! what systemd 254 takes for the two directives
//! ([why](https://docs.rs/crate/smbios-creds/latest/source/docs/decisions/0004-sandbox.md)). The compiler makes the
//! program, so an import only hands it to the kernel.

use nix::libc;
use seccompiler::{Error, apply_filter, sock_filter};

use crate::sys::{Errno, io_errno};

/// Sets the filter for the rest of this process, and for every program that it executes. Also sets `no_new_privs`.
///
/// An error does not fail the import: it is logged at debug level. A kernel may have no seccomp.
pub(super) fn set() {
    let error = match apply_filter(&PROGRAM) {
        Ok(()) => return,
        Err(Error::Prctl(error) | Error::Seccomp(error)) => io_errno(error),
        // All other errors are those of a compiler and of threads, which are not used.
        Err(_) => Errno::EINVAL,
    };
    tracing::debug!("cannot set the system call filter: {}", error.desc());
}

/// A system call, and what is looked at.
#[derive(Clone, Copy)]
struct Rule {
    call: u32,
    /// An index into [`CHECKS`].
    check: usize,
}

const fn rule(call: libc::c_long, check: usize) -> Rule {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "call numbers are small")]
    Rule { call: call as u32, check }
}

/// `fchmodat2(2)` has this number on every architecture (Linux `scripts/syscall.tbl`).
const FCHMODAT2: libc::c_long = 452;

/// In the order of their numbers, which [`search`] needs.
///
/// The arguments of `openat2(2)` and of calls through `io_uring` are in memory, where no filter can read them. So these
/// two do not exist for an import. Callers of `openat2` expect that (systemd answers the same).
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

/// The same. This architecture lacks the calls without a descriptor of a directory.
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

/// This architecture (Linux `include/uapi/linux/audit.h`): machine of ELF, 64 bits, little-endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// From here on, numbers are calls of x32, which has the same architecture (Linux
/// `arch/x86/include/uapi/asm/unistd.h`).
const X32: u32 = 0x4000_0000;

/// Where a call's number and architecture are in `struct seccomp_data` (Linux `include/uapi/linux/seccomp.h`).
const NUMBER: u32 = 0;
const CALLED_ARCHITECTURE: u32 = 4;

/// Where the lower half of an argument is. All arguments that are looked at are 32-bit numbers for the kernel.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// Instructions (Linux `include/uapi/linux/bpf_common.h`): load a word of `seccomp_data`, compare it and jump, return.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Mode bits that give a program the rights of its file's owner or group.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// Flags with which `open(2)` takes a mode. Those of `O_TMPFILE` include `O_DIRECTORY`, which creates nothing.
const CREATES: u32 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

// What is looked at, as places in `CHECKS`.
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

/// The end of the program. It jumps forwards only.
const CHECKS: [sock_filter; 16] = [
    // OPEN: flags, and if it creates a file, its mode.
    load(argument(1)),
    jump(IF_ANY_BIT, CREATES, 1, MODE_2, ALLOW),
    // OPENAT: the same.
    load(argument(2)),
    jump(IF_ANY_BIT, CREATES, 3, 4, ALLOW),
    load(argument(3)),
    jump(IF_ANY_BIT, SET_ID, 5, REFUSE, ALLOW),
    // MODE_2: a mode in the third argument.
    load(argument(2)),
    jump(IF_ANY_BIT, SET_ID, 7, REFUSE, ALLOW),
    // MODE_1: a mode in the second argument.
    load(argument(1)),
    jump(IF_ANY_BIT, SET_ID, 9, REFUSE, ALLOW),
    // SOCKET: its family.
    load(argument(0)),
    jump(IF_EQUAL, libc::AF_VSOCK as u32, 11, ALLOW, OTHER_FAMILY),
    // ALLOW, REFUSE, ABSENT, OTHER_FAMILY.
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

/// Jumps from one place to one of two others. Jumps lead forwards, and count from the next instruction.
const fn jump(code: u16, k: u32, from: usize, if_true: usize, if_false: usize) -> sock_filter {
    sock_filter { code, jt: distance(from, if_true), jf: distance(from, if_false), k }
}

#[expect(clippy::cast_possible_truncation, reason = "the program is shorter than 256 instructions")]
const fn distance(from: usize, to: usize) -> u8 {
    assert!(to > from && to - from <= 256);
    (to - from - 1) as u8
}

/// How many rules are compared one by one. With more, half of them are ruled out first.
const ONE_BY_ONE: usize = 3;

/// The length of the search through so many rules.
const fn length(rules: usize) -> usize {
    if rules <= ONE_BY_ONE { rules + 1 } else { 1 + length(rules / 2) + length(rules - rules / 2) }
}

/// What comes before the search.
const START: usize = 4;

/// Where [`CHECKS`] begins.
const END: usize = START + length(RULES.len());

/// The filter.
///
/// Before the kernel uses it, it tries the program for each number of a call, to find those that it always allows
/// (`seccomp_cache_prepare()`, Linux `kernel/seccomp.c`). So the rules are searched by halves.
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

/// Writes the search through these rules, which has its place here in the program.
const fn search(to: &mut [sock_filter], place: usize, rules: &[Rule]) {
    let Some((first, to)) = to.split_first_mut() else { return };
    let (low, high) = rules.split_at(rules.len() / 2);
    *first = match (rules, high) {
        // The place after it may be the other half of the search.
        ([], _) => instruction(RETURN, libc::SECCOMP_RET_ALLOW),
        (_, [middle, ..]) if rules.len() > ONE_BY_ONE => {
            let (left, right) = to.split_at_mut(length(low.len()));
            let right_place = place + 1 + left.len();
            search(left, place + 1, low);
            search(right, right_place, high);
            jump(IF_AT_LEAST, middle.call, place, right_place, place + 1)
        }
        ([rule, rest @ ..], _) => {
            search(to, place + 1, rest);
            jump(IF_EQUAL, rule.call, place, END + rule.check, place + 1)
        }
    };
}

// The search needs them in this order.
const _: () = {
    let mut rules: &[Rule] = &RULES;
    while let [rule, rest @ ..] = rules {
        if let [next, ..] = rest {
            assert!(rule.call < next.call);
        }
        rules = rest;
    }
};
