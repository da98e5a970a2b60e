# Names of credentials that mean the same to systemd's units, to the environment and to every hypervisor's command line.
# systemd and SMBIOS accept more names: docs/host.md says what to do if a credential has such a name.
rec {
  # systemd's limit of 255 bytes, less the length of the prefix that ./host.nix puts before names.
  maximum = 255 - builtins.stringLength prefix;

  # Limit for a machine that gets credentials by fw_cfg: QEMU's limit of 55 bytes for the name of an item, less the
  # length of "opt/io.systemd.credentials/".
  fwCfgMaximum = 28;

  # The guest gets only those credentials of its unit that have this prefix.
  prefix = "smbios-creds.";

  pattern = "[A-Za-z0-9_@+.][A-Za-z0-9_@+.-]*";

  isName =
    name:
    builtins.match pattern name != null && name != "." && name != ".." && builtins.stringLength name <= maximum;
}
