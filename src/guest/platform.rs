//! Detects confidential VMs and containers, in which secrets from SMBIOS must not be trusted.
//!
//! A confidential VM does not trust its host, and nothing proves that the table is genuine. In a container, the table
//! belongs to the machine that runs the container. Detection works as in systemd (`src/basic/confidential-virt.c` and
//! `src/basic/virt.c`, v262), with two differences. If the CPU offers SEV but the guest cannot read whether SEV is
//! active, this module assumes that SEV is active: in doubt, secrets are refused. And this module does not treat a file
//! such as `/.dockerenv` as a sign of a container, because a VM made from a container's image still has this file.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use super::system::System;
use crate::text::help::Help;

/// A platform whose SMBIOS table must not be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Platform {
    /// AMD SEV, SEV-ES or SEV-SNP.
    Sev,
    /// The CPU offers AMD SEV, but the guest cannot read whether SEV is active.
    MaybeSev,
    /// Intel TDX.
    Tdx,
    /// IBM Secure Execution.
    ProtectedVirtualization,
    /// Arm CCA.
    Cca,
    /// A container.
    Container,
}

impl Display for Platform {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sev => "this is a confidential VM (AMD SEV)",
            Self::MaybeSev => {
                "this may be a confidential VM: its CPU offers AMD SEV, but without /dev/cpu/0/msr (module 'msr') \
                 the guest cannot see whether SEV is on"
            }
            Self::Tdx => "this is a confidential VM (Intel TDX)",
            Self::ProtectedVirtualization => "this is a confidential VM (IBM Secure Execution)",
            Self::Cca => "this is a confidential VM (Arm CCA)",
            Self::Container => {
                "this is a container, and the SMBIOS table belongs to the machine that runs it"
            }
        })
    }
}

/// The error of an import on a platform whose SMBIOS table must not be trusted: no credential is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}; credentials from SMBIOS and fw_cfg are refused here")]
pub struct Distrusted(pub Platform);

impl Help for Distrusted {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(match self.0 {
            Platform::Container => "run this in the virtual machine itself, outside the container; --confidential=allow reads the table anyway".into(),
            _ => "if you trust the host, use --confidential=allow".into(),
        })
    }
}

/// Returns the platform of the running system if its SMBIOS table must not be trusted; otherwise `None`.
#[must_use]
pub fn detect(system: &System) -> Option<Platform> {
    is_container(system).then_some(Platform::Container).or_else(|| confidential(system))
}

/// The first PID namespace, as `/proc/PID/ns/pid` shows it. The number is its inode, which never changes
/// (`PROC_PID_INIT_INO`, Linux `include/linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether this process runs in a container. If an SMBIOS table is visible in a container, it belongs to the machine
/// that runs the container.
#[must_use]
pub fn is_container(system: &System) -> bool {
    let manager = system.path("/run/host/container-manager").exists();
    let namespace = std::fs::read_link(system.path("/proc/self/ns/pid"));
    let inside = namespace.is_ok_and(|namespace| namespace.as_os_str() != FIRST_PID_NAMESPACE);
    manager || inside || system.pid_1_has("container")
}

#[cfg(target_arch = "x86_64")]
fn confidential(system: &System) -> Option<Platform> {
    x86::confidential(&x86::Native { system })
}

#[cfg(target_arch = "s390x")]
fn confidential(system: &System) -> Option<Platform> {
    let guest = std::fs::read(system.path("/sys/firmware/uv/prot_virt_guest")).unwrap_or_default();
    guest.starts_with(b"1").then_some(Platform::ProtectedVirtualization)
}

#[cfg(target_arch = "aarch64")]
fn confidential(system: &System) -> Option<Platform> {
    system.path("/sys/devices/platform/arm-cca-dev").exists().then_some(Platform::Cca)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "s390x", target_arch = "aarch64")))]
fn confidential(_: &System) -> Option<Platform> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::Platform;
    use crate::guest::system::System;

    /// The information that a CPU gives about itself.
    pub(super) trait Cpu {
        /// Returns the registers EAX, EBX, ECX and EDX for subleaf 0 of a CPUID leaf.
        fn cpuid(&self, leaf: u32) -> [u32; 4];
        /// Returns the value of a model-specific register, if it can be read.
        fn msr(&self, index: u64) -> Option<u64>;
    }

    /// The CPU of the running system.
    pub(super) struct Native<'a> {
        pub(super) system: &'a System,
    }

    impl Cpu for Native<'_> {
        fn cpuid(&self, leaf: u32) -> [u32; 4] {
            let result = raw_cpuid::native_cpuid::cpuid_count(leaf, 0);
            [result.eax, result.ebx, result.ecx, result.edx]
        }

        fn msr(&self, index: u64) -> Option<u64> {
            let mut bytes = [0; 8];
            let file = File::open(self.system.path("/dev/cpu/0/msr")).ok()?;
            file.read_exact_at(&mut bytes, index).ok()?;
            Some(u64::from_le_bytes(bytes))
        }
    }

    /// Bit in ECX of CPUID leaf 1 that is set if a hypervisor is present (AMD APM vol. 3 appendix E, Intel SDM vol. 2A
    /// CPUID).
    const HYPERVISOR: u32 = 1 << 31;
    /// CPUID leaf for encrypted memory (AMD APM vol. 3 appendix E.4.17). Bit 1 of EAX is set if the CPU offers SEV.
    const AMD_ENCRYPTED_MEMORY: u32 = 0x8000_001f;
    const AMD_SEV: u32 = 1 << 1;
    /// `SEV_STATUS` (AMD APM vol. 2 §15.34.10): bits 0 to 2 show that SEV, SEV-ES and SEV-SNP are active.
    const SEV_STATUS: u64 = 0xc001_0131;
    const SEV_STATUS_ON: u64 = 0b111;
    /// CPUID leaf for TDX (Intel TDX module specification).
    const INTEL_TDX: u32 = 0x21;
    /// CPUID leaves and bits of Hyper-V (Hypervisor Top Level Functional Specification, feature identification). In an
    /// isolated (confidential) VM, the bit for CPU management is not set.
    const HYPERV_VENDOR: u32 = 0x4000_0000;
    const HYPERV_FEATURES: u32 = 0x4000_0003;
    const HYPERV_FEATURES_MIN: u32 = 0x4000_0005;
    const HYPERV_FEATURES_MAX: u32 = 0x4000_ffff;
    const HYPERV_CPU_MANAGEMENT: u32 = 1 << 12;
    const HYPERV_ISOLATION: u32 = 1 << 22;
    const HYPERV_ISOLATION_CONFIGURATION: u32 = 0x4000_000c;
    const HYPERV_SNP: u32 = 2;
    const HYPERV_TDX: u32 = 3;

    pub(super) fn confidential(cpu: &impl Cpu) -> Option<Platform> {
        let [highest, ..] = cpu.cpuid(0);
        let [_, _, features, _] = cpu.cpuid(1);
        if features & HYPERVISOR == 0 {
            return None;
        }
        match &signature(cpu, 0) {
            b"AuthenticAMD" => sev(cpu),
            b"GenuineIntel" => {
                let tdx = highest >= INTEL_TDX && &signature(cpu, INTEL_TDX) == b"IntelTDX    ";
                (tdx || hyperv_isolation(cpu) == Some(HYPERV_TDX)).then_some(Platform::Tdx)
            }
            _ => None,
        }
    }

    fn sev(cpu: &impl Cpu) -> Option<Platform> {
        let [highest, ..] = cpu.cpuid(0x8000_0000);
        let offered = highest >= AMD_ENCRYPTED_MEMORY && cpu.cpuid(AMD_ENCRYPTED_MEMORY)[0] & AMD_SEV != 0;
        // Hyper-V hides AMD's CPUID leaf for encrypted memory from its SEV-SNP guests.
        if !offered {
            return (hyperv_isolation(cpu) == Some(HYPERV_SNP)).then_some(Platform::Sev);
        }
        match cpu.msr(SEV_STATUS) {
            Some(status) => (status & SEV_STATUS_ON != 0).then_some(Platform::Sev),
            None => Some(Platform::MaybeSev),
        }
    }

    fn hyperv_isolation(cpu: &impl Cpu) -> Option<u32> {
        let [highest, b, c, d] = cpu.cpuid(HYPERV_VENDOR);
        if [b, c, d].map(u32::to_le_bytes).as_flattened() != b"Microsoft Hv"
            || !(HYPERV_FEATURES_MIN..=HYPERV_FEATURES_MAX).contains(&highest)
        {
            return None;
        }
        let [_, features, ..] = cpu.cpuid(HYPERV_FEATURES);
        let isolated = features & HYPERV_ISOLATION != 0 && features & HYPERV_CPU_MANAGEMENT == 0;
        isolated.then(|| cpu.cpuid(HYPERV_ISOLATION_CONFIGURATION)[1] & 0xf)
    }

    /// Returns the twelve letters in the registers of a CPUID leaf, in the order EBX, EDX, ECX.
    fn signature(cpu: &impl Cpu, leaf: u32) -> [u8; 12] {
        let [_, b, c, d] = cpu.cpuid(leaf);
        let mut letters = [0; 12];
        for (to, from) in letters.iter_mut().zip([b, d, c].iter().flat_map(|register| register.to_le_bytes()))
        {
            *to = from;
        }
        letters
    }

    #[cfg(test)]
    mod tests {
        use std::collections::HashMap;

        use super::*;

        /// A CPU with the values that a test sets.
        #[derive(Default)]
        struct Made {
            leaves: HashMap<u32, [u32; 4]>,
            msr: Option<u64>,
        }

        impl Cpu for Made {
            fn cpuid(&self, leaf: u32) -> [u32; 4] {
                self.leaves.get(&leaf).copied().unwrap_or_default()
            }

            fn msr(&self, index: u64) -> Option<u64> {
                assert_eq!(index, 0xc001_0131);
                self.msr
            }
        }

        fn word(text: &[u8], at: usize) -> u32 {
            u32::from_le_bytes(text[at..at + 4].try_into().unwrap())
        }

        fn made(vendor: &[u8], leaves: &[(u32, [u32; 4])]) -> Made {
            let vendor = [0x30, word(vendor, 0), word(vendor, 8), word(vendor, 4)];
            let mut all =
                HashMap::from([(0, vendor), (1, [0, 0, 1 << 31, 0]), (0x8000_0000, [0x8000_0028, 0, 0, 0])]);
            all.extend(leaves.iter().copied());
            Made { leaves: all, msr: None }
        }

        const AMD: &[u8] = b"AuthenticAMD";
        const INTEL: &[u8] = b"GenuineIntel";

        fn hyperv(kind: u32, features: u32) -> [(u32, [u32; 4]); 3] {
            let name = b"Microsoft Hv";
            [
                (0x4000_0000, [0x4000_000c, word(name, 0), word(name, 4), word(name, 8)]),
                (0x4000_0003, [0, features, 0, 0]),
                (0x4000_000c, [0, kind, 0, 0]),
            ]
        }

        #[test]
        fn sev_is_detected_by_its_status_register_and_assumed_in_doubt() {
            let sev = |msr| Made { msr, ..made(AMD, &[(0x8000_001f, [2, 0, 0, 0])]) };
            for status in [0b1, 0b11, 0b111] {
                assert_eq!(confidential(&sev(Some(status))), Some(Platform::Sev));
            }
            assert_eq!(confidential(&sev(Some(0))), None);
            assert_eq!(confidential(&sev(None)), Some(Platform::MaybeSev));
            assert_eq!(confidential(&made(AMD, &[(0x8000_001f, [1, 0, 0, 0])])), None, "SME is no SEV");
            let mut old = sev(None);
            old.leaves.insert(0x8000_0000, [0x8000_001e, 0, 0, 0]);
            assert_eq!(confidential(&old), None, "the leaf is not there");
        }

        #[test]
        fn tdx_is_detected_by_its_signature() {
            let name = b"IntelTDX    ";
            let leaf = (0x21, [0, word(name, 0), word(name, 8), word(name, 4)]);
            assert_eq!(confidential(&made(INTEL, &[leaf])), Some(Platform::Tdx));
            assert_eq!(confidential(&made(INTEL, &[])), None);
            let mut old = made(INTEL, &[leaf]);
            old.leaves.get_mut(&0).unwrap()[0] = 0x20;
            assert_eq!(confidential(&old), None, "the leaf is not there");
        }

        #[test]
        fn hyper_v_isolation_is_detected() {
            let isolated = 1 << 22;
            assert_eq!(confidential(&made(AMD, &hyperv(2, isolated))), Some(Platform::Sev));
            assert_eq!(confidential(&made(INTEL, &hyperv(3, isolated))), Some(Platform::Tdx));
            assert_eq!(confidential(&made(INTEL, &hyperv(2, isolated))), None);
            assert_eq!(
                confidential(&made(AMD, &hyperv(2, isolated | 1 << 12))),
                None,
                "the host's own partition"
            );
            assert_eq!(confidential(&made(AMD, &hyperv(2, 0))), None);
            let mut other = made(AMD, &hyperv(2, isolated));
            other.leaves.get_mut(&0x4000_0000).unwrap()[1] ^= 1;
            assert_eq!(confidential(&other), None, "another hypervisor");
        }

        #[test]
        fn bare_metal_and_other_vendors_are_not_confidential() {
            let mut bare = Made { msr: Some(7), ..made(AMD, &[(0x8000_001f, [2, 0, 0, 0])]) };
            bare.leaves.insert(1, [0; 4]);
            assert_eq!(confidential(&bare), None);
            assert_eq!(confidential(&made(b"CentaurHauls", &[])), None);
        }
    }
}
