//! Lets libFuzzer call the target `private_argv` of the crate `smbios_creds_fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| smbios_creds_fuzz::private_argv(data));
