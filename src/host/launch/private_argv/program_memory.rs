//! Reads the memory of another program.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The memory of a program.
pub(super) trait Memory {
    /// Reads bytes from this address on. Returns how many of them exist.
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize;
}

/// `/proc/PID/mem`.
impl Memory for File {
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
        self.read_at(bytes, address).unwrap_or_default()
    }
}

/// Reads words of 8 bytes.
pub(super) fn words<const N: usize>(memory: &impl Memory, address: u64) -> Option<[u64; N]> {
    array(memory, address).map(|words| words.map(u64::from_ne_bytes))
}

/// Reads `N` items of `SIZE` bytes.
pub(super) fn array<const SIZE: usize, const N: usize>(
    memory: &impl Memory,
    address: u64,
) -> Option<[[u8; SIZE]; N]> {
    let mut items = [[0; SIZE]; N];
    let bytes = items.as_flattened_mut();
    (memory.read(address, bytes) >= bytes.len()).then_some(items)
}
