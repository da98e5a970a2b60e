//! What follows the options in `smbios-creds --help`.

/// Examples and exit codes.
pub(super) const AFTER: &str = "\
Examples:
  smbios-creds check                                         what is wrong, and what to do
  smbios-creds import --require db-password                  into /run/credentials/@system
  smbios-creds exec --require db-password -- /usr/bin/app    import, then run a program

Exit status:
  0  success
  1  a system call or a file failed
  2  usage
  3  what arrived is not what was sent, or not what is required
  4  nothing was sent by SMBIOS or fw_cfg
  5  refused: in a confidential VM or a container";
