# Real NixOS machines, in nixpkgs' test framework: `nix flake check`, or `nix-build -A tests`. These tests need
# nixpkgs, so ./tests/run does not run them. It runs those of main.rs.
{
  lib,
  testers,
}:
let
  # The value "a,b\n" in the form that smbios-creds-host sends. Option parsers and shells can damage its comma and
  # newline.
  oemStrings = [ "io.systemd.credential.binary:db-password=YSxiCg==" ];

  machine = strings: {
    imports = [ ../../nixos-module/guest.nix ];
    boot.initrd.systemd.enable = true;
    services.smbios-creds = {
      enable = true;
      required = [ "db-password" ];
    };
    virtualisation.qemu.options = lib.concatMap (string: [
      "-smbios"
      "type=11,value=${string}"
    ]) strings;

    systemd.services.reader = {
      wantedBy = [ "multi-user.target" ];
      requires = [ "smbios-creds.service" ];
      after = [ "smbios-creds.service" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        LoadCredential = "db-password";
      };
      script = ''cp "$CREDENTIALS_DIRECTORY/db-password" /run/read'';
    };
  };

  test =
    name: strings: testScript:
    testers.runNixOSTest {
      name = "smbios-creds-${name}";
      nodes.machine = machine strings;
      inherit testScript;
    };
in
{
  credential-arrives = test "credential-arrives" oemStrings ''
    machine.wait_for_unit("reader.service")
    assert machine.succeed("od -An -c /run/read").split() == ["a", ",", "b", "\\n"]
    machine.succeed("smbios-creds check --require db-password")
    machine.succeed("journalctl -b -u smbios-creds-initrd.service | grep -q db-password")
    machine.fail("journalctl -b | grep -q YSxiCg")
  '';

  missing-credential-is-reported = test "missing-credential-is-reported" [ "io.systemd.credential:other=x" ] ''
    machine.wait_for_unit("multi-user.target")
    assert machine.succeed("systemctl show -P Result smbios-creds.service").strip() == "exit-code"
    assert machine.succeed("systemctl show -P ActiveState reader.service").strip() == "inactive"
    machine.succeed("journalctl -b -u smbios-creds.service | grep -q db-password")
  '';
}
