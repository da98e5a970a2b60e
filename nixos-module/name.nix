# Names of credentials that mean the same to systemd's units, to the environment and to every hypervisor's command line.
# systemd and SMBIOS take more: docs/host.md says what to do about those.
rec {
  # 255 bytes (systemd's limit) without the prefix that ./host.nix puts before them.
  maximum = 255 - builtins.stringLength prefix;

  # In a machine that gets them by fw_cfg: 55 bytes of QEMU's name for an item without "opt/io.systemd.credentials/".
  fwCfgMaximum = 28;

  # Keeps a unit's other credentials from its guest.
  prefix = "smbios-creds.";

  pattern = "[A-Za-z0-9_@+.][A-Za-z0-9_@+.-]*";

  isName =
    name:
    builtins.match pattern name != null && name != "." && name != ".." && builtins.stringLength name <= maximum;
}
