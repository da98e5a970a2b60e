//! Finds a symbol that a loaded object (a program or library in memory) defines (System V gABI, chapter 5), with the
//! hash table of binutils (`DT_GNU_HASH`). This module does no I/O, except through [`Memory`].

use super::program_memory::{Memory, array, words};

/// Maximum number of entries in a dynamic section, and in a chain of a hash table. Both limits are far above the
/// numbers that linkers produce.
const ENTRIES_MAX: usize = 512;
const CHAIN_MAX: u32 = 256;

/// Tags of entries in a dynamic section.
pub(super) const DT_NULL: u64 = 0;
pub(super) const DT_STRTAB: u64 = 5;
pub(super) const DT_SYMTAB: u64 = 6;
pub(super) const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// Size in bytes of an entry in a dynamic section, and how many entries are read at a time.
const ENTRY: usize = 16;
const ENTRIES_READ: usize = 64;

/// Size in bytes of a symbol (`Elf64_Sym`), and the value in `st_info` that marks a function (`STT_FUNC`).
const SYMBOL: u64 = 24;
const FUNCTION: u8 = 2;

/// The error of a search for a function: the symbols of the object are invalid, the name belongs to two functions, or
/// the name belongs to a symbol that is not a plain function.
#[derive(Debug)]
pub(super) struct Unclear;

/// Calls `then` with the tag and the value of each entry of a dynamic section. Returns `None` if the section's last
/// entry (`DT_NULL`) is not found.
pub(super) fn for_each_entry(
    memory: &impl Memory,
    section: u64,
    mut then: impl FnMut(u64, u64),
) -> Option<()> {
    let mut address = section;
    for _ in 0..ENTRIES_MAX.div_ceil(ENTRIES_READ) {
        let mut bytes = [0; ENTRY * ENTRIES_READ];
        let read = memory.read(address, &mut bytes).min(bytes.len());
        let (words, _) = bytes.get(..read)?.as_chunks::<8>();
        let (entries, _) = words.as_chunks::<2>();
        for [tag, value] in entries.iter().map(|entry| entry.map(u64::from_ne_bytes)) {
            if tag == DT_NULL {
                return Some(());
            }
            then(tag, value);
        }
        if read < bytes.len() {
            return None;
        }
        address = address.checked_add(read as u64)?;
    }
    None
}

/// The symbols that an object defines.
pub(super) struct Symbols<'a, M> {
    memory: &'a M,
    base: u64,
    names: u64,
    list: u64,
    /// Address of the hash table, and its header: number of buckets, first symbol, and words of the Bloom filter.
    table: u64,
    buckets: u32,
    first: u32,
    filter: u32,
}

impl<'a, M: Memory> Symbols<'a, M> {
    /// Finds the symbols of an object that was loaded at the address `base`. `section` is the address of its dynamic
    /// section.
    pub(super) fn of(memory: &'a M, base: u64, section: u64) -> Option<Self> {
        let (mut names, mut list, mut table) = (None, None, None);
        for_each_entry(memory, section, |tag, value| {
            // The file's dynamic section contains offsets. In memory, glibc replaces them with addresses, but musl
            // keeps the offsets.
            let address = if value < base { base.checked_add(value) } else { Some(value) };
            match tag {
                DT_STRTAB => names = address,
                DT_SYMTAB => list = address,
                DT_GNU_HASH => table = address,
                _ => {}
            }
        })?;
        let [buckets, first, filter, _] = array(memory, table?)?.map(u32::from_ne_bytes);
        let (names, list, table) = (names?, list?, table?);
        Some(Self { memory, base, names, list, table, buckets, first, filter })
    }

    /// Returns the address of the function with this name, or `None` if the object does not define the function.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<u64>, Unclear> {
        let hash = hash(name);
        let Some(bucket) = hash.checked_rem(self.buckets) else { return Ok(None) };
        let buckets = self.table.checked_add(16 + 8 * u64::from(self.filter)).ok_or(Unclear)?;
        let mut index = self.number(buckets, bucket)?;
        if index < self.first {
            return Ok(None);
        }
        let chain = buckets.checked_add(4 * u64::from(self.buckets)).ok_or(Unclear)?;
        let mut found = None;
        for _ in 0..CHAIN_MAX {
            let of_symbol = self.number(chain, index - self.first)?;
            if of_symbol | 1 == hash | 1
                && let Some(address) = self.function(index, name)?
                && found.replace(address).is_some_and(|other| other != address)
            {
                return Err(Unclear);
            }
            // The lowest bit of a hash marks the end of a chain.
            if of_symbol & 1 != 0 {
                return Ok(found);
            }
            index = index.checked_add(1).ok_or(Unclear)?;
        }
        Err(Unclear)
    }

    /// Returns the address of the function that a symbol names. Returns `None` if the symbol has another name, or if
    /// the object does not define it. `index` is the symbol's index in the symbol table.
    fn function(&self, index: u32, name: &[u8]) -> Result<Option<u64>, Unclear> {
        let symbol = self.list.checked_add(SYMBOL * u64::from(index)).ok_or(Unclear)?;
        // st_name (4 bytes), st_info, st_other and st_shndx (2 bytes); st_value; st_size
        let [head, value, _] = words(self.memory, symbol).ok_or(Unclear)?;
        let [a, b, c, d, info, _, section @ ..] = head.to_ne_bytes();
        let mut text = vec![0; name.len() + 1];
        let at = self.names.checked_add(u32::from_ne_bytes([a, b, c, d]).into()).ok_or(Unclear)?;
        let read = self.memory.read(at, &mut text);
        if read < text.len() || text.strip_suffix(&[0]) != Some(name) || section == [0, 0] {
            return Ok(None);
        }
        // A symbol of a type other than `STT_FUNC` is not code, or its address is computed when the program runs
        // (`STT_GNU_IFUNC`).
        if info & 0xf == FUNCTION {
            self.base.checked_add(value).map(Some).ok_or(Unclear)
        } else {
            Err(Unclear)
        }
    }

    /// Returns the 32-bit number at this index of a list of numbers. `list` is the address of the list.
    fn number(&self, list: u64, index: u32) -> Result<u32, Unclear> {
        let address = list.checked_add(4 * u64::from(index)).ok_or(Unclear)?;
        array(self.memory, address).map(|[bytes]| u32::from_ne_bytes(bytes)).ok_or(Unclear)
    }
}

/// Returns the hash of a name, as `DT_GNU_HASH` tables use it.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |hash: u32, &byte| hash.wrapping_mul(33).wrapping_add(byte.into()))
}
