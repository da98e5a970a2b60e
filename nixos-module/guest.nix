# In a guest: verifies and materializes what the host sent, in the initrd and again in the host stage.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkIf mkOption types;
  names = import ./name.nix;
  cfg = config.services.smbios-creds;
  initrd = config.boot.initrd;

  optionsOf =
    lib.optionals (cfg.required != [ ]) ([ "--require" ] ++ cfg.required)
    ++ lib.optional (cfg.manifest != "use") "--manifest=${cfg.manifest}"
    ++ lib.optional cfg.strict "--strict"
    ++ lib.optional (cfg.confidential != "refuse") "--confidential=${cfg.confidential}"
    ++ lib.optional cfg.closeTable "--close";

  # systemd loads some of them itself. This does not depend on that.
  modules =
    lib.optional cfg.fwCfg "qemu_fw_cfg" ++ lib.optional cfg.receipt.enable "vmw_vsock_virtio_transport";
  loadsModules = lib.optional (modules != [ ]) "systemd-modules-load.service";

  # What the package's own unit does not have. The unit itself stays the package's.
  addition = {
    after = loadsModules;
    overrideStrategy = "asDropin";
    path = lib.mkForce [ ];
    wantedBy = [ "sysinit.target" ];
    environment = lib.optionalAttrs (optionsOf != [ ]) { OPTIONS = lib.concatStringsSep " " optionsOf; };
  };

  # Up to 24.11, NixOS loses at switch-root whatever is mounted below /run (nixpkgs #421388): what the initrd imports is
  # gone then, and is not imported again.
  initrdKeepsRun = lib.versionAtLeast lib.trivial.release "25.05";
  hasInitrd = initrd.enable && initrdKeepsRun;

  # Removed from NixOS together with the scripted initrd.
  hasScriptedHooks = options.boot.initrd ? extraUtilsCommands && options.boot.initrd ? preDeviceCommands;
  isScripted = hasInitrd && !initrd.systemd.enable;
in
{
  options.services.smbios-creds = {
    enable = lib.mkEnableOption "credentials from SMBIOS Type 11, verified and materialized at boot";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package with the agent and its units.";
    };

    required = mkOption {
      type = types.listOf (types.strMatching names.pattern);
      default = [ ];
      example = [ "db-password" ];
      description = ''
        Names of credentials that must arrive and not be empty. If one does not, `smbios-creds.service` fails, and so
        does every service that requires it. A runner of microvm.nix does not start the machine without them.
        If nothing is required and nothing was sent, the unit succeeds.
      '';
    };

    manifest = mkOption {
      type = types.enum [
        "use"
        "require"
      ];
      default = "use";
      description = ''
        `use` verifies what arrived against the host's manifest if there is one, `require` fails without one. Hosts that
        send with `smbios-creds-host` always send one. It is not signed: it finds faults, not attackers.
      '';
    };

    strict = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to materialize nothing unless everything is as it should be, instead of what is intact.";
    };

    fwCfg = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the credentials come by QEMU's fw_cfg, as they do in machines without SMBIOS. The kernel's module
        `qemu_fw_cfg` is loaded before they are imported. `nixosModules.microvm` sets it for the machine `microvm`.
      '';
    };

    closeTable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to refuse every later reader the table once everything is verified and in place, root too: the import of
        the host stage sets mode 0000 on the files in `/sys/firmware` that hold it. dmidecode prints nothing then.
        This stops programs that read the table by habit or by accident, also in containers. It does not stop root, who
        can open the files again with `chmod 400`.
      '';
    };

    receipt.enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the host asks for a receipt: what was imported, told over vsock. The kernel's module
        `vmw_vsock_virtio_transport` is loaded before the import. With `nixosModules.microvm`, the runner asks for it.
      '';
    };

    confidential = mkOption {
      type = types.enum [
        "refuse"
        "allow"
      ];
      default = "refuse";
      description = "Whether to believe the table in a confidential VM, which does not trust its host, or in a container.";
    };
  };

  config = mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = isScripted -> hasScriptedHooks;
            message = ''
              services.smbios-creds: this NixOS has no hooks for a scripted initrd any more, so nothing would be imported
              there. Set boot.initrd.systemd.enable = true.
            '';
          }
          {
            assertion = lib.all names.isName cfg.required;
            message = ''
              services.smbios-creds.required: "." and ".." are no names of credentials, and one has at most
              ${toString names.maximum} characters.
            '';
          }
        ];

        warnings = lib.optional (initrd.enable && !initrdKeepsRun) ''
          services.smbios-creds: NixOS ${lib.trivial.release} loses at switch-root what the initrd imports (nixpkgs
          #421388), so credentials are imported in the host stage alone, after the activation scripts. Use 25.05 or newer.
        '';

        environment.systemPackages = [ cfg.package ];

        systemd.packages = [ cfg.package ];
        # Values do not change without a reboot, and a restart would stop every service that requires the unit.
        systemd.services.smbios-creds = addition // {
          restartIfChanged = false;
        };
      }

      (mkIf hasInitrd {
        # Without it PID 1 of the initrd imports nothing, and services of the initrd have no credentials of their own.
        boot.initrd.availableKernelModules = [ "dmi_sysfs" ];
      })

      (mkIf (modules != [ ]) {
        boot.initrd.kernelModules = mkIf initrd.enable modules;
        boot.kernelModules = modules;
      })

      (mkIf (hasInitrd && initrd.systemd.enable) {
        boot.initrd.systemd = {
          packages = [ cfg.package ];
          # A unit's ExecStart= alone does not put the program into the initrd.
          storePaths = [ "${cfg.package}/bin/smbios-creds" ];
          services.smbios-creds-initrd = addition // {
            # Users' password files, sops-nix and agenix read secrets there.
            before = [ "initrd-nixos-activation.service" ];
          };
        };
      })

      (lib.optionalAttrs hasScriptedHooks (
        mkIf isScripted {
          boot.initrd.extraUtilsCommands = "copy_bin_and_libs ${cfg.package}/bin/smbios-creds";
          boot.initrd.extraUtilsCommandsTest = "$out/bin/smbios-creds --version";
          # PID 1 is a script here, and systemd becomes it later: it merges @initrd into what it imports itself, and would
          # import nothing into an @system that is filled already.
          boot.initrd.preDeviceCommands = lib.mkBefore ''
            smbios-creds import --allow-none --into initrd ${lib.escapeShellArgs optionsOf} ||
              echo "smbios-creds: not every credential is as it should be; see above, and smbios-creds.service"
          '';
        }
      ))
    ]
  );
}
