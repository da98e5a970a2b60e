//! Reads the memory of another process.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The memory of a process.
pub(super) trait Memory {
    /// Fills `bytes` with the memory from this address on. Returns how many bytes could be read.
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize;
}

/// The memory of a process as the open file `/proc/PID/mem`.
impl Memory for File {
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
        self.read_at(bytes, address).unwrap_or_default()
    }
}

/// Reads `N` words of 8 bytes from this address on. Returns `None` if not all of them can be read.
pub(super) fn words<const N: usize>(memory: &impl Memory, address: u64) -> Option<[u64; N]> {
    array(memory, address).map(|words| words.map(u64::from_ne_bytes))
}

/// Reads `N` items of `SIZE` bytes from this address on. Returns `None` if not all of them can be read.
pub(super) fn array<const SIZE: usize, const N: usize>(
    memory: &impl Memory,
    address: u64,
) -> Option<[[u8; SIZE]; N]> {
    let mut items = [[0; SIZE]; N];
    let bytes = items.as_flattened_mut();
    (memory.read(address, bytes) >= bytes.len()).then_some(items)
}
