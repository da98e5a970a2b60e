//! Lets libFuzzer call the target `signature` of the crate `smbios_creds_fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| smbios_creds_fuzz::signature(data));
