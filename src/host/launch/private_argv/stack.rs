//! Moves the beginning of a program's initial stack, to replace some of the program's arguments. This module does no
//! I/O.
//!
//! At a program's first instruction, the stack pointer points at one block of words. This block contains the number of
//! arguments, a pointer to each argument and a null; a pointer to each environment variable and a null; and the
//! auxiliary vector, whose pairs end with `AT_NULL` (System V ABI, AMD64 supplement, figure 3.9; the other
//! architectures are similar). The strings are at higher addresses than the block. [`relocate`] moves the block to
//! lower addresses, and writes the values into the gap between the block and the strings:
//!
//! ```text
//!  before:                                   | argc argv… 0 envp… 0 auxv… | …, strings
//!  after:   | argc argv… 0 envp… 0 auxv… | values, padding                | …, strings
//!           ^ new stack pointer                                           ^ from here on, nothing changes
//! ```
//!
//! All pointers to the memory above the block (environment, `AT_RANDOM`, `AT_EXECFN`, `AT_PLATFORM`) stay valid,
//! because this memory does not move.

use nix::libc::{AT_NULL, AT_PHENT, AT_SECURE};
use zeroize::Zeroizing;

use crate::format::credential::Secret;

/// Size of a word in bytes, in a 64-bit program. [`relocate`] fails for every other program.
const WORD: usize = size_of::<u64>();

/// The stack pointer must be a multiple of this number (System V ABI, AMD64 supplement, §3.4.1; AAPCS64, §6.4.5).
const ALIGNMENT: usize = 16;

/// Size of a program header in a 64-bit ELF file (`e_phentsize`, System V gABI, chapter 5).
const PROGRAM_HEADER: u64 = 56;

/// An argument that is replaced after the program was executed. It may be at any position in the arguments.
#[derive(Debug)]
pub struct Replacement {
    /// The argument with which the program was executed, without NUL.
    pub placeholder: Vec<u8>,
    /// The real argument, which replaces the placeholder, without NUL.
    pub value: Secret,
}

/// The changed part of a stack, which contains the values.
pub struct Relocated {
    /// The new stack pointer.
    pub stack_pointer: u64,
    /// The bytes from the new stack pointer to the end of the padding after the values. The rest of the stack does not
    /// change.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether executing the program changed its privileges, or would have changed them without the tracer
    /// (`AT_SECURE`, getauxval(3)).
    pub secure: bool,
}

/// Why [`relocate`] cannot replace the arguments on a stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The stack pointer is not aligned.
    #[error("its stack pointer is not a multiple of {ALIGNMENT}")]
    Alignment,
    /// The block of words extends beyond the end of the stack, or a null word is missing at the end of a list.
    #[error("its initial stack does not have the form of the System V ABI")]
    Malformed,
    /// The auxiliary vector shows that the program is not a 64-bit ELF program.
    #[error("it is not a 64-bit ELF program")]
    NotElf64,
    /// A placeholder is missing in the arguments, or occurs too often.
    #[error(
        "{found} of its arguments are placeholders, but {expected} were expected: a wrapper must pass on each argument once"
    )]
    Placeholders {
        /// Number of placeholders that the arguments must contain.
        expected: usize,
        /// Number of arguments that are placeholders.
        found: usize,
    },
    /// The new stack pointer would be below address 0.
    #[error("its stack cannot grow enough")]
    Room,
}

/// Replaces arguments on the stack of a program.
///
/// `stack` contains the bytes from `stack_pointer` to the end of the stack. Each placeholder must occur in the
/// arguments as often as in `replacements`. If several placeholders are equal, their values replace them in the order
/// of `replacements`.
///
/// # Errors
/// [`StackError`] if the stack does not belong to a program that was executed with these placeholders. The conditions
/// are checked in the order of [`StackError`].
pub fn relocate<'a>(
    stack: &[u8],
    stack_pointer: u64,
    replacements: impl IntoIterator<Item = &'a Replacement>,
) -> Result<Relocated, StackError> {
    if !stack_pointer.is_multiple_of(ALIGNMENT as u64) {
        return Err(StackError::Alignment);
    }
    let block = Block::parse(stack)?;
    let replacements: Vec<&Replacement> = replacements.into_iter().collect();
    let places = places(stack, stack_pointer, &block, &replacements)?;
    let room: usize = replacements.iter().map(|replacement| replacement.value.len() + 1).sum();
    let room = room.next_multiple_of(ALIGNMENT);
    let stack_pointer_after = stack_pointer.checked_sub(room as u64).ok_or(StackError::Room)?;

    let mut bytes = Zeroizing::new(Vec::with_capacity(block.size + room));
    bytes.extend_from_slice(stack.get(..block.size).ok_or(StackError::Malformed)?);
    for (index, value) in places {
        let pointer = stack_pointer_after + bytes.len() as u64;
        // The first word is the number of arguments.
        let word = (1 + index) * WORD;
        bytes
            .get_mut(word..word + WORD)
            .ok_or(StackError::Malformed)?
            .copy_from_slice(&pointer.to_ne_bytes());
        bytes.extend_from_slice(value.expose());
        bytes.push(0);
    }
    bytes.resize(block.size + room, 0);
    Ok(Relocated { stack_pointer: stack_pointer_after, bytes, secure: block.secure })
}

/// Returns for each value the index of the argument that it replaces.
fn places<'a>(
    stack: &[u8],
    stack_pointer: u64,
    block: &Block<'_>,
    replacements: &[&'a Replacement],
) -> Result<Vec<(usize, &'a Secret)>, StackError> {
    let (mut left, mut places, mut found) = (replacements.to_vec(), Vec::new(), 0);
    for (index, pointer) in block.arguments.iter().enumerate() {
        let text = string(stack, stack_pointer, u64::from_ne_bytes(*pointer));
        let is = |replacement: &Replacement| text == Some(replacement.placeholder.as_slice());
        found += usize::from(replacements.iter().copied().any(is));
        if let Some(at) = left.iter().position(|replacement| is(replacement)) {
            places.push((index, &left.remove(at).value));
        }
    }
    if left.is_empty() && found == replacements.len() {
        Ok(places)
    } else {
        Err(StackError::Placeholders { expected: replacements.len(), found })
    }
}

/// The block of words at the stack pointer.
struct Block<'a> {
    /// Pointers to the program's arguments.
    arguments: &'a [[u8; WORD]],
    /// Whether `AT_SECURE` is set in the auxiliary vector.
    secure: bool,
    /// Size of the block in bytes.
    size: usize,
}

impl<'a> Block<'a> {
    fn parse(stack: &'a [u8]) -> Result<Self, StackError> {
        let (words, _) = stack.as_chunks::<WORD>();
        let (&count, rest) = words.split_first().ok_or(StackError::Malformed)?;
        let count = usize::try_from(u64::from_ne_bytes(count)).map_err(|_| StackError::Malformed)?;
        let (arguments, rest) = rest.split_at_checked(count).ok_or(StackError::Malformed)?;
        let rest = rest.strip_prefix(&[[0; WORD]]).ok_or(StackError::Malformed)?;
        let variables = rest.iter().position(|word| *word == [0; WORD]).ok_or(StackError::Malformed)?;
        let auxiliary = rest.get(variables + 1..).ok_or(StackError::Malformed)?;
        let (entries, secure) = auxiliary_entries(auxiliary)?;
        let size = (1 + count + 1 + variables + 1 + 2 * entries) * WORD;
        Ok(Self { arguments, secure, size })
    }
}

/// Returns the number of entries in the auxiliary vector of a 64-bit program, including `AT_NULL`, and whether
/// `AT_SECURE` is set.
fn auxiliary_entries(words: &[[u8; WORD]]) -> Result<(usize, bool), StackError> {
    let (pairs, _) = words.as_chunks::<2>();
    let pairs = pairs.iter().map(|pair| pair.map(u64::from_ne_bytes));
    let (mut elf64, mut secure) = (false, false);
    for (index, [kind, value]) in pairs.enumerate() {
        match kind {
            AT_NULL if !elf64 => return Err(StackError::NotElf64),
            AT_NULL => return Ok((index + 1, secure)),
            AT_PHENT => elf64 = value == PROGRAM_HEADER,
            AT_SECURE => secure = value != 0,
            _ => {}
        }
    }
    Err(StackError::Malformed)
}

/// Returns the string at an address in the stack, without its NUL.
fn string(stack: &[u8], stack_pointer: u64, address: u64) -> Option<&[u8]> {
    let offset = usize::try_from(address.checked_sub(stack_pointer)?).ok()?;
    stack.get(offset..)?.split(|&byte| byte == 0).next()
}
