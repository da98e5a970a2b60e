//! The text after the options in `smbios-creds --help`.

/// The examples and the table of exit codes, which clap prints after the options.
pub(super) const AFTER: &str = "\
Examples:
  smbios-creds check                                         what is wrong, and what to do
  smbios-creds import --require db-password                  into /run/credentials/@system
  smbios-creds exec --require db-password -- /usr/bin/app    import, then run a program

Exit status:
  0  success
  1  a system call failed, or a file could not be read or written
  2  the command line is wrong
  3  the credentials differ from those that were sent, or a required one is missing
  4  nothing was sent by SMBIOS or fw_cfg
  5  refused, because this is a confidential VM or a container";
