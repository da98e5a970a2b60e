//! Finds out whether the firmware has an SMBIOS entry point. The program checks the firmware if the kernel exports no
//! table.
//!
//! If the firmware has no entry point, nothing was sent over SMBIOS. If the firmware has an entry point, the kernel
//! found a table but refused it.

use std::fs::{File, read_to_string};
use std::os::unix::fs::FileExt as _;

use zeroize::Zeroizing;

use crate::format::smbios::entry_point::{EntryPoint, SIZE_MAX};
use crate::guest::system::System;

/// The memory area in which firmware other than UEFI puts the entry point (DSP0134 §5.2.1): physical address, and size
/// in bytes.
const AREA: (u64, usize) = (0xf_0000, 0x1_0000);

/// The address of an entry point is a multiple of this number (DSP0134 §5.2.1).
const BOUNDARY: usize = 16;

/// Whether an entry point exists. If this cannot be found out, the result is `false`.
pub(super) fn exists(system: &System) -> bool {
    let efi = system.firmware().join("efi");
    if efi.exists() {
        // The file `systab` has lines such as `SMBIOS3=0x…` and `SMBIOS=0x…` (`systab_show()`, Linux
        // `drivers/firmware/efi/efi.c`).
        return read_to_string(efi.join("systab")).is_ok_and(|tables| tables.contains("SMBIOS"));
    }
    cfg!(target_arch = "x86_64") && is_in_area(system)
}

/// Searches for an entry point in the same memory area as Linux (`dmi_scan_machine()`, `drivers/firmware/dmi_scan.c`).
/// Only root can read `/dev/mem`.
fn is_in_area(system: &System) -> bool {
    let (address, size) = AREA;
    // A small table may be in this memory area too, so the buffer may contain secrets.
    let mut area = Zeroizing::new(vec![0; size]);
    let read =
        File::open(system.path("/dev/mem")).and_then(|memory| memory.read_exact_at(&mut area, address));
    let is_at = |at: usize| {
        let end = at.saturating_add(SIZE_MAX).min(size);
        area.get(at..end).is_some_and(|bytes| EntryPoint::parse(bytes).is_ok())
    };
    read.is_ok() && (0..size).step_by(BOUNDARY).any(is_at)
}
