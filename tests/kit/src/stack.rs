//! The initial stack of a program, as a kernel makes it and as start-up code reads it. The fuzz targets use this
//! stack too.

use smbios_creds::host::launch::private_argv::stack::Relocated;

pub const AT_PHENT: u64 = 4;
pub const AT_BASE: u64 = 7;
pub const AT_PLATFORM: u64 = 15;
pub const AT_SECURE: u64 = 23;
pub const AT_EXECFN: u64 = 31;

/// A stack as a kernel makes it: one block of words, and strings above.
#[derive(Clone, Debug)]
pub struct Stack {
    pub arguments: Vec<Vec<u8>>,
    pub environment: Vec<Vec<u8>>,
    pub auxiliary: Vec<(u64, u64)>,
}

impl Stack {
    /// Returns the bytes from the stack pointer on. The block of words ends `above` bytes below the strings.
    pub fn bytes(&self, stack_pointer: u64, above: usize) -> Vec<u8> {
        let words =
            1 + self.arguments.len() + 1 + self.environment.len() + 1 + 2 * (self.auxiliary.len() + 1);
        let mut strings = vec![0xaa; above];
        let mut place = |string: &[u8]| {
            let address = stack_pointer + (words * 8 + strings.len()) as u64;
            strings.extend_from_slice(string);
            strings.push(0);
            address
        };
        let mut block = vec![self.arguments.len() as u64];
        block.extend(self.arguments.iter().map(|string| place(string)));
        block.push(0);
        block.extend(self.environment.iter().map(|string| place(string)));
        block.push(0);
        for &(kind, value) in &self.auxiliary {
            let value = if matches!(kind, AT_PLATFORM | AT_EXECFN) { place(b"a string") } else { value };
            block.extend([kind, value]);
        }
        block.extend([0, 0]);
        let mut bytes: Vec<u8> = block.into_iter().flat_map(u64::to_ne_bytes).collect();
        bytes.extend(strings);
        bytes
    }

    /// Reads a stack from memory as a program's start-up code does.
    pub fn read(memory: &[u8], at: u64, stack_pointer: u64) -> Self {
        let mut next = usize::try_from(stack_pointer - at).unwrap();
        let mut word = || {
            next += 8;
            u64::from_ne_bytes(memory[next - 8..next].try_into().unwrap())
        };
        let string = |pointer: u64| {
            let from = usize::try_from(pointer - at).unwrap();
            memory[from..].split(|&b| b == 0).next().unwrap().to_vec()
        };
        let count = usize::try_from(word()).unwrap();
        let arguments: Vec<u64> = (0..count).map(|_| word()).collect();
        assert_eq!(word(), 0);
        let environment: Vec<u64> = std::iter::from_fn(|| Some(word()).filter(|&word| word != 0)).collect();
        let mut auxiliary = Vec::new();
        loop {
            let (kind, value) = (word(), word());
            match kind {
                0 => break,
                AT_PLATFORM | AT_EXECFN => {
                    assert_eq!(string(value), b"a string");
                    auxiliary.push((kind, 0));
                }
                _ => auxiliary.push((kind, value)),
            }
        }
        Self {
            arguments: arguments.into_iter().map(string).collect(),
            environment: environment.into_iter().map(string).collect(),
            auxiliary,
        }
    }
}

/// Returns the memory and the stack pointer after a relocation: the old stack with room below it, overwritten by the
/// relocated bytes from the new stack pointer on.
pub fn after(before: &[u8], stack_pointer: u64, relocated: &Relocated) -> (Vec<u8>, u64) {
    let moved = usize::try_from(stack_pointer - relocated.stack_pointer).unwrap();
    let mut memory = [vec![0x55; moved], before.to_vec()].concat();
    memory[..relocated.bytes.len()].copy_from_slice(&relocated.bytes);
    (memory, relocated.stack_pointer)
}
