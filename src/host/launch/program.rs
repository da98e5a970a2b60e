//! Finds programs, and checks how execve(2) treats a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::sys::program::is_executable;

/// Position and size of `e_machine` in the header of an ELF file (System V gABI, chapter 4).
const MACHINE: std::ops::Range<usize> = 18..20;

/// First six bytes (`e_ident`) of a 64-bit program's ELF file with this machine's byte order: magic, class, data
/// encoding.
const IDENT: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, if cfg!(target_endian = "little") { 1 } else { 2 }];

/// The ELF machine number of this machine: `EM_X86_64` or `EM_AARCH64`.
const NATIVE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// How execve(2) treats a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Executable {
    /// A program for this machine's architecture.
    Native,
    /// A script whose first line names its interpreter (`#!`).
    Script,
    /// Any other file.
    Other,
}

/// Returns how execve(2) treats the file.
pub(super) fn executable(path: &Path) -> io::Result<Executable> {
    let mut header = Vec::with_capacity(MACHINE.end);
    File::open(path)?.take(MACHINE.end as u64).read_to_end(&mut header)?;
    Ok(Executable::of(&header))
}

impl Executable {
    /// Returns how execve(2) treats a file. `header` contains the first bytes of the file.
    pub(super) fn of(header: &[u8]) -> Self {
        let machine = header.get(MACHINE).unwrap_or_default();
        if header.starts_with(b"#!") {
            Self::Script
        } else if header.starts_with(&IDENT) && machine == NATIVE.to_ne_bytes() {
            Self::Native
        } else {
            Self::Other
        }
    }
}

/// Returns the path of a program's executable file, or `None` if there is no such file. A name without `/` is searched
/// for in `$PATH`, as execvp(3) does.
#[must_use]
pub fn find(program: &Path) -> Option<PathBuf> {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Some(program.to_path_buf()).filter(|path| is_executable(path));
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories)
        .map(|directory| directory.join(program))
        .find(|path| is_executable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(bytes: &[u8]) -> Executable {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, bytes).unwrap();
        executable(&path).unwrap()
    }

    #[test]
    fn a_program_of_this_machine_is_told_from_all_others() {
        assert_eq!(executable(Path::new("/proc/self/exe")).unwrap(), Executable::Native);
        assert_eq!(kind_of(b"#!/bin/sh\n"), Executable::Script);
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(kind_of(&own[..20]), Executable::Native);
        assert_eq!(kind_of(&own[..19]), Executable::Other);
        assert_eq!(kind_of(b""), Executable::Other);
        for at in [0, 1, 2, 3, 4, 5, 18, 19] {
            let mut other = own[..64].to_vec();
            other[at] ^= 1;
            assert_eq!(kind_of(&other), Executable::Other, "byte {at}");
        }
    }
}
