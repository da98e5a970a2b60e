//! Writes the secret values to the stack of the hypervisor, and searches for the values in the arguments of other
//! programs.

use std::fs::{File, OpenOptions, read_to_string};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;

use memchr::memmem;
use nix::sys::ptrace;
use nix::unistd::Pid;
use zeroize::Zeroizing;

use super::failure::{Failure, failed};
use super::registers::stack_pointer;
use super::stack::{Replacement, relocate};
use super::tracee::has_no_new_privileges;
use crate::format::credential::Secret;

/// Minimum length in bytes of a part of a value. [`is_in`] searches for the whole value, and for each part that is at
/// least this long.
const PART_MIN: usize = 24;

/// Number of bytes of another process's memory that are read at a time: the size of the smallest memory page.
const BLOCK: usize = 4096;

/// Longest string that execve(2) accepts, including its NUL (`MAX_ARG_STRLEN`, `include/uapi/linux/binfmts.h`).
const STRING_MAX: usize = 32 * BLOCK;

/// Maximum number of strings that are read from a list of arguments or of environment variables. execve(2) never
/// accepts so many strings, not even with the largest stack.
const LIST_MAX: usize = 1_000_000;

/// Replaces the placeholders in a program's arguments with the values. The program must be stopped before its first
/// instruction.
pub(super) fn deliver<'a>(
    target: Pid,
    replacements: impl IntoIterator<Item = &'a Replacement>,
) -> Result<(), Failure> {
    let mut registers = ptrace::getregs(target).map_err(failed("read the program's registers"))?;
    let pointer = stack_pointer(&mut registers);
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{target}/mem"));
    let memory = memory.map_err(failed("open the program's memory"))?;
    let stack = read_stack(target, &memory, *pointer).map_err(failed("read the program's stack"))?;
    let relocated = relocate(&stack, *pointer, replacements)?;
    if relocated.secure && !has_no_new_privileges(target) {
        return Err(Failure::Privileges);
    }
    // The new stack begins below the old one. When this process writes to the memory below the old stack, the kernel
    // lets the stack grow, up to this process's own stack limit.
    memory
        .write_all_at(&relocated.bytes, relocated.stack_pointer)
        .map_err(failed("write to the program's stack"))?;
    *pointer = relocated.stack_pointer;
    ptrace::setregs(target, registers).map_err(failed("set the program's registers"))
}

/// Whether the arguments or the environment of a program contain one of the secret values. The program must be stopped
/// before its first instruction.
pub(super) fn has_values(target: Pid, replacements: &[Replacement]) -> io::Result<bool> {
    let mut registers = ptrace::getregs(target)?;
    let memory = File::open(format!("/proc/{target}/mem"))?;
    let stack = read_stack(target, &memory, *stack_pointer(&mut registers))?;
    Ok(is_in(&stack, replacements))
}

/// Whether the arguments or environment variables with which a process calls execve(2) contain one of the secret
/// values. `lists` are the addresses of the two lists of pointers to these strings. Memory that cannot be read counts
/// as empty, because execve(2) cannot read this memory either, and then fails.
pub(super) fn passes_on(target: Pid, lists: [u64; 2], replacements: &[Replacement]) -> io::Result<bool> {
    let memory = File::open(format!("/proc/{target}/mem"))?;
    let mut block = Zeroizing::new(vec![0; BLOCK]);
    for list in lists {
        for pointer in (list..).step_by(size_of::<u64>()).take(LIST_MAX) {
            let mut word = [0; size_of::<u64>()];
            if list == 0 || memory.read_exact_at(&mut word, pointer).is_err() || word == [0; 8] {
                break;
            }
            let text = read_string(&memory, u64::from_ne_bytes(word), &mut block);
            if is_in(&text, replacements) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Returns the string at an address, without its NUL. If memory cannot be read, the string ends before this memory.
fn read_string(memory: &File, address: u64, block: &mut [u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(STRING_MAX));
    while text.len() < STRING_MAX {
        // Each read ends at the end of a memory page, because the next page may not be mapped.
        let at = address.saturating_add(text.len() as u64);
        let size = BLOCK - usize::try_from(at).unwrap_or_default() % BLOCK;
        let Some(part) = block.get_mut(..size) else { break };
        let Ok(read) = memory.read_at(part, at) else { break };
        let part = part.get(..read).unwrap_or_default();
        let end = memchr::memchr(0, part);
        text.extend_from_slice(part.get(..end.unwrap_or(read)).unwrap_or_default());
        if end.is_some() || read == 0 {
            break;
        }
    }
    text
}

/// Whether a text contains one of the values, or a long part of a value. Commas, square brackets and double quotes
/// separate the parts.
fn is_in(text: &[u8], replacements: &[Replacement]) -> bool {
    let is_in = |value: &Secret| {
        let parts = value.expose().split(|byte| b",\"[]".contains(byte));
        let long = parts.filter(|part| part.len() >= PART_MIN);
        long.chain([value.expose()]).any(|part| memmem::find(text, part).is_some())
    };
    replacements.iter().any(|replacement| !replacement.value.is_empty() && is_in(&replacement.value))
}

/// Returns the bytes of a program's stack from the address `pointer` to the end of the stack.
fn read_stack(target: Pid, memory: &File, pointer: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let maps = read_to_string(format!("/proc/{target}/maps"))?;
    let end = maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let at = |text| u64::from_str_radix(text, 16).ok();
        let end = at(end)?;
        (at(start)?..end).contains(&pointer).then_some(end)
    });
    let size = end.and_then(|end| usize::try_from(end - pointer).ok()).ok_or(ErrorKind::InvalidData)?;
    let mut stack = Zeroizing::new(vec![0; size]);
    memory.read_exact_at(&mut stack, pointer)?;
    Ok(stack)
}
