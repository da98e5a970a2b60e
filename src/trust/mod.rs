//! Signatures, which prove who signed a set, and encrypted credentials, which only the guest's own key can decrypt.
//! Host and guest use these modules, which do no input or output.

pub mod sealed;
pub mod signature;
