//! The formats that host and guest share: credentials, OEM strings, the manifest and the SMBIOS table. The modules for
//! these formats do no input or output.

pub mod base64;
pub mod credential;
pub mod fw_cfg;
pub mod hex;
pub mod manifest;
pub mod oem_string;
pub mod receipt;
pub mod smbios;
pub mod systemd;
