//! Whether the firmware has an SMBIOS entry point, asked where the kernel exports no table.
//!
//! Without it, nothing was sent over SMBIOS. With it, the kernel found a table and refused it.

use std::fs::{File, read_to_string};
use std::os::unix::fs::FileExt as _;

use zeroize::Zeroizing;

use crate::format::smbios::entry_point::{EntryPoint, SIZE_MAX};
use crate::guest::system::System;

/// Where firmware other than UEFI has its entry point (DSP0134 §5.2.1): physical address, and size in bytes.
const AREA: (u64, usize) = (0xf_0000, 0x1_0000);

/// What the address of an entry point is a multiple of (DSP0134 §5.2.1).
const BOUNDARY: usize = 16;

/// Whether there is one. What cannot be read has none.
pub(super) fn exists(system: &System) -> bool {
    let efi = system.firmware().join("efi");
    if efi.exists() {
        // `systab_show()`, Linux `drivers/firmware/efi/efi.c`: `SMBIOS3=0x…`, `SMBIOS=0x…`.
        return read_to_string(efi.join("systab")).is_ok_and(|tables| tables.contains("SMBIOS"));
    }
    cfg!(target_arch = "x86_64") && is_in_area(system)
}

/// Looks where Linux looks (`dmi_scan_machine()`, `drivers/firmware/dmi_scan.c`). `/dev/mem` is for root only.
fn is_in_area(system: &System) -> bool {
    let (address, size) = AREA;
    // Small tables are there too, so that this may hold secrets.
    let mut area = Zeroizing::new(vec![0; size]);
    let read = File::open(system.path("dev/mem")).and_then(|memory| memory.read_exact_at(&mut area, address));
    let is_at = |at: usize| {
        let end = at.saturating_add(SIZE_MAX).min(size);
        area.get(at..end).is_some_and(|bytes| EntryPoint::parse(bytes).is_ok())
    };
    read.is_ok() && (0..size).step_by(BOUNDARY).any(is_at)
}
