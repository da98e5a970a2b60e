//! Finds the C library in a program's memory, and in this library the functions at which a program must stop. This
//! module does no I/O, except through [`Memory`].
//!
//! The dynamic linker keeps a list of the loaded objects for debuggers (`struct r_debug` and `struct link_map`, link.h;
//! glibc and musl). Each loaded object (the program or a library) has a table of its symbols ([`super::symbols`]). The
//! list and the tables are read from the program's memory, because the program's files may be replaced while it runs.
//! The memory may contain anything, so every loop in this module has a maximum number of rounds.

use super::program_memory::{Memory, array, words};
use super::symbols::{Symbols, for_each_entry};

/// Tag of the entry in a dynamic section that contains the address of the `struct r_debug`.
const DT_DEBUG: u64 = 21;

/// Types of program headers.
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PT_PHDR: u32 = 6;

/// Size in bytes of a program header.
const HEADER: usize = 56;

/// Maximum number of program headers, of loaded objects, and of entries in a list of notes. Each of these three limits
/// is far above the numbers in real programs.
const HEADERS_MAX: u64 = 64;
const OBJECTS_MAX: usize = 256;
const NOTES_MAX: usize = 64;

/// Value of `r_state` while no library is being loaded or unloaded (`RT_CONSISTENT`).
const CONSISTENT: u32 = 0;

/// The name in Go's ELF notes. Every Go program has such a note (`.note.go.buildid`).
const GO: &[u8; 4] = b"Go\0\0";

/// The name of the function that makes the system call with which a program ends. exit(3), `quick_exit` and `_exit`
/// call this function. The C library also calls it after `main` returns. In glibc, `_Exit` and `_exit` are two names of
/// the same function.
const EXIT: &[u8] = b"_Exit";

/// The function with which a program can make any system call (syscall(2)).
const SYSTEM_CALL: &[u8] = b"syscall";

/// The name of the function that makes the system call prctl(2).
const PRCTL: &[u8] = b"prctl";

/// Where a program's headers are in its memory. The values are from the program's auxiliary vector.
#[derive(Clone, Copy)]
pub(super) struct Headers {
    /// Address of the program headers (`AT_PHDR`).
    pub(super) address: u64,
    /// Number of program headers (`AT_PHNUM`).
    pub(super) count: u64,
    /// Address of the code that the kernel maps into every program (`AT_SYSINFO_EHDR`), if there is one.
    pub(super) vdso: Option<u64>,
}

/// Addresses in a program's C library and dynamic linker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct CLibrary {
    /// The function with which the program ends.
    pub(super) exit: u64,
    /// The function with which a program can make any system call (syscall(2)).
    pub(super) system_call: u64,
    /// The function with which a program can forbid that its memory is changed (`PR_SET_DUMPABLE`, prctl(2)).
    pub(super) prctl: u64,
    /// The function that the dynamic linker calls before and after it loads a library (`r_brk`).
    pub(super) loads: u64,
}

impl CLibrary {
    /// Finds the C library of a program whose libraries are loaded. Returns `None` if a function is not found, if a
    /// library is just being loaded, or if the program may end without calling the functions: it has no C library, it
    /// has more than one, or it is a Go program.
    pub(super) fn find(memory: &impl Memory, headers: Headers) -> Option<Self> {
        let debug = debug(memory, headers)?;
        // struct r_debug: r_version (4 bytes and padding), r_map, r_brk, r_state.
        let [_, mut object, loads] = words(memory, debug)?;
        let [state] = array(memory, debug.checked_add(24)?)?;
        if u32::from_ne_bytes(state) != CONSISTENT || loads == 0 {
            return None;
        }
        let mut found = None;
        for _ in 0..OBJECTS_MAX {
            if object == 0 {
                return found;
            }
            // struct link_map: l_addr, l_name, l_ld, l_next.
            let [base, _, section, next] = words(memory, object)?;
            object = next;
            if Some(base) == headers.vdso {
                continue;
            }
            let symbols = Symbols::of(memory, base, section)?;
            if let Some(exit) = symbols.find(EXIT).ok()? {
                let system_call = symbols.find(SYSTEM_CALL).ok()??;
                let prctl = symbols.find(PRCTL).ok()??;
                if found.replace(Self { exit, system_call, prctl, loads }).is_some() {
                    return None;
                }
            }
        }
        None
    }
}

/// Returns the address of the `struct r_debug`. Returns `None` if the program has no such structure, or is a Go
/// program.
fn debug(memory: &impl Memory, headers: Headers) -> Option<u64> {
    let (mut base, mut section) = (0, None);
    for index in 0..headers.count.min(HEADERS_MAX) {
        let mut header = [0; HEADER];
        let address = headers.address.checked_add(index * HEADER as u64)?;
        if memory.read(address, &mut header) < HEADER {
            return None;
        }
        // p_type and p_flags, p_offset, p_vaddr, p_paddr, p_filesz
        let ([kind, [..], _, ..], _) = header.as_chunks::<4>() else { return None };
        let ([_, _, address, _, size, ..], _) = header.as_chunks::<8>() else { return None };
        let (address, size) = (u64::from_ne_bytes(*address), u64::from_ne_bytes(*size));
        match u32::from_ne_bytes(*kind) {
            // A header of the type `PT_PHDR` comes before all other headers. It contains the address of the program
            // headers, without the offset at which the program was loaded.
            PT_PHDR => base = headers.address.wrapping_sub(address),
            PT_DYNAMIC => section = Some(base.wrapping_add(address)),
            PT_NOTE if has_go_note(memory, base.wrapping_add(address), size) => return None,
            _ => {}
        }
    }
    let mut debug = None;
    for_each_entry(memory, section?, |tag, value| {
        if tag == DT_DEBUG {
            debug = Some(value);
        }
    })?;
    debug.filter(|&debug| debug != 0)
}

/// Whether a list of notes contains a note that every Go program has. `size` is the size of the list in bytes.
fn has_go_note(memory: &impl Memory, mut address: u64, size: u64) -> bool {
    let end = address.saturating_add(size);
    for _ in 0..NOTES_MAX {
        // n_namesz, n_descsz, n_type, and the name
        let Some([name_size, size, _, name]) = array(memory, address).filter(|_| address < end) else {
            return false;
        };
        let [name_size, size] = [name_size, size].map(u32::from_ne_bytes);
        if name_size == 4 && name == *GO {
            return true;
        }
        let padded = |size: u32| u64::from(size).next_multiple_of(4);
        address = address.saturating_add(12 + padded(name_size) + padded(size));
    }
    false
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;

    use nix::libc;

    use super::super::symbols::{DT_GNU_HASH, DT_NULL, DT_STRTAB, DT_SYMTAB};
    use super::*;

    /// The memory of this process, in which the result of one read is changed.
    struct Changed {
        memory: File,
        /// Number of the read whose result is changed, counted from 1.
        at: usize,
        how: fn(&mut [u8], usize) -> usize,
        reads: Cell<usize>,
    }

    impl Changed {
        fn new(at: usize, how: fn(&mut [u8], usize) -> usize) -> Self {
            Self { memory: File::open("/proc/self/mem").unwrap(), at, how, reads: Cell::new(0) }
        }
    }

    impl Memory for Changed {
        fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
            let read = Memory::read(&self.memory, address, bytes);
            self.reads.set(self.reads.get() + 1);
            if self.reads.get() == self.at { (self.how)(bytes, read) } else { read }
        }
    }

    fn own() -> Headers {
        let of = |kind| super::super::tracee::auxiliary(nix::unistd::getpid(), [kind]).unwrap()[0];
        Headers { address: of(3).unwrap(), count: of(5).unwrap(), vdso: of(33) }
    }

    #[test]
    fn functions_of_own_c_library_are_found() {
        let memory = Changed::new(0, |_, read| read);
        let found = CLibrary::find(&memory, own()).unwrap();
        assert_eq!(found.exit, libc::_exit as *const () as u64);
        assert_eq!(found.system_call, libc::syscall as *const () as u64);
        assert_eq!(found.prctl, libc::prctl as *const () as u64);
        assert!(memory.reads.get() < 100, "{}", memory.reads.get());
    }

    #[test]
    fn hostile_memory_ends_in_few_reads_and_no_panic() {
        let all = Changed::new(0, |_, read| read);
        let found = CLibrary::find(&all, own());
        let hows: [fn(&mut [u8], usize) -> usize; 6] = [
            |_, _| 0,
            |_, read| read / 2,
            |_, _| usize::MAX,
            |bytes, read| {
                bytes.fill(0);
                read
            },
            |bytes, read| {
                bytes.fill(0xff);
                read
            },
            |bytes, read| {
                for byte in bytes {
                    *byte ^= 0x81;
                }
                read
            },
        ];
        let mut refused = 0;
        for at in 1..=all.reads.get() {
            for how in hows {
                let memory = Changed::new(at, how);
                refused += usize::from(CLibrary::find(&memory, own()) != found);
                assert!(memory.reads.get() < OBJECTS_MAX * 300, "{at}: {}", memory.reads.get());
            }
        }
        assert!(refused > 50, "{refused}");
    }

    /// Memory that contains only these bytes, at address 0x1000.
    struct Small(Vec<u8>);

    impl Memory for Small {
        fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
            let from = address.checked_sub(0x1000).and_then(|at| self.0.get(usize::try_from(at).ok()?..));
            let from = from.unwrap_or_default();
            let size = from.len().min(bytes.len());
            bytes[..size].copy_from_slice(&from[..size]);
            size
        }
    }

    #[test]
    fn loops_in_hostile_memory_end() {
        let words = |words: &[u64]| Small(words.iter().flat_map(|word| word.to_ne_bytes()).collect());
        // A list of objects whose only object is its own successor. The words are: program header, dynamic section with
        // DT_DEBUG, r_debug, link_map, and the dynamic section of an object without hash buckets.
        let header = |kind: u32, address: u64| [u64::from(kind), 0, address, 0, 0, 0, 0];
        let mut all = header(PT_DYNAMIC, 0x1038).to_vec();
        all.extend([DT_DEBUG, 0x1058, DT_NULL, 0]);
        all.extend([1, 0x1078, 0x1000, 0]);
        all.extend([0, 0, 0x1098, 0x1078]);
        all.extend([DT_STRTAB, 0x1000, DT_SYMTAB, 0x1000, DT_GNU_HASH, 0x10d8, DT_NULL, 0]);
        all.extend([0, 0]);
        let headers = Headers { address: 0x1000, count: 1, vdso: None };
        assert_eq!(CLibrary::find(&words(&all), headers), None);
        // The first memory contains a dynamic section without an end. The other memories contain a hash chain without
        // an end, or notes without an end.
        assert_eq!(for_each_entry(&words(&vec![1; 20_000]), 0x1000, |_, _| {}), None);
        let mut all = vec![DT_STRTAB, 0x1000, DT_SYMTAB, 0x1000, DT_GNU_HASH, 0x1040, DT_NULL, 0];
        // A hash table with one bucket, first symbol 0 and no filter. The bucket starts with symbol 2. The hashes in
        // this bucket's chain differ from the hash that is searched for, and none of them marks the end of the chain.
        all.extend([1, 0]);
        all.extend(vec![0x0000_0002_0000_0002; 20_000]);
        let chain = words(&all);
        assert!(Symbols::of(&chain, 0, 0x1000).unwrap().find(b"name").is_err());
        assert!(!has_go_note(&words(&vec![0; 20_000]), 0x1000, u64::MAX));
        assert!(!has_go_note(&words(&[u64::MAX; 20]), 0x1000, u64::MAX));
    }

    #[test]
    fn note_of_go_is_found_after_others() {
        let note = |name: &[u8], size: u32| {
            let [length, kind] = [u32::try_from(name.len()).unwrap(), 4];
            let head = [length, size, kind].into_iter().flat_map(u32::to_ne_bytes);
            let content = vec![b'x'; size.next_multiple_of(4) as usize];
            head.chain(name.iter().copied()).chain(content).collect::<Vec<_>>()
        };
        let others = [note(b"GNU\0", 20), note(b"LongName", 3)].concat();
        let all = [others.clone(), note(b"Go\0\0", 83)].concat();
        let has = |bytes: &[u8], size: usize| has_go_note(&Small(bytes.to_vec()), 0x1000, size as u64);
        assert!(has(&all, all.len()));
        assert!(!has(&others, others.len()));
        assert!(!has(&all, others.len()));
    }
}
