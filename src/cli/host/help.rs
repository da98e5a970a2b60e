//! What follows the options in `smbios-creds-host --help`.

/// Examples and exit codes.
pub(super) const AFTER: &str = "\
Examples:
  smbios-creds-host plan --all -- qemu-system-x86_64 -M q35
  smbios-creds-host run --all --expect db-password -- qemu-system-x86_64 -M q35
  smbios-creds-host emit --all --format incus --output /run/web.yaml

Exit status:
  0  success
  1  a system call or a file failed
  2  usage
  3  refused: a credential is missing, cannot be carried, or would be seen. Nothing starts
After 'run' has started the hypervisor, the exit status is the hypervisor's.

Under the name qemu-with-credentials, this program is the <emulator> of a libvirt domain: see qemu-with-credentials(1).";
