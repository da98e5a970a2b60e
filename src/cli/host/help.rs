//! The text after the options in `smbios-creds-host --help`.

/// The examples and the table of exit codes.
pub(super) const AFTER: &str = "\
Examples:
  smbios-creds-host plan --all -- qemu-system-x86_64 -M q35
  smbios-creds-host run --all --expect db-password -- qemu-system-x86_64 -M q35
  smbios-creds-host emit --all --format incus --output /run/web.yaml

Exit status:
  0  success
  1  a system call failed, or a file could not be read or written
  2  the command line is wrong
  3  refused, because a credential is missing, cannot be sent, or could be seen by other users; nothing starts
After 'run' has started the hypervisor, the exit status is the hypervisor's.

Under the name qemu-with-credentials, this program is the <emulator> of a libvirt domain: see qemu-with-credentials(1).";
