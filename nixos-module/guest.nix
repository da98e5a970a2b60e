# Module for a guest. The agent verifies the credentials that the host sent, and writes them to files: in the initrd and
# again after switch-root.
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

  trusted = import ./trusted.nix { inherit lib; } cfg.trustedKeys;
  hasKeys = cfg.trustedKeys != [ ];
  # systemd imports credentials before any program verifies a signature. If the kernel's command line sets this
  # variable, systemd has it in its environment. Then systemd imports nothing itself, and passes on what the agent
  # puts into the directory.
  importsNothing = "CREDENTIALS_DIRECTORY=/run/credentials/@system";
  kernelParams = map toString config.boot.kernelParams;

  optionsOf =
    lib.optionals (cfg.required != [ ]) ([ "--require" ] ++ cfg.required)
    ++ lib.optional (cfg.manifest != "use") "--manifest=${cfg.manifest}"
    ++ lib.optional cfg.strict "--strict"
    ++ lib.optional (cfg.confidential != "signed") "--confidential=${cfg.confidential}"
    ++ lib.optionals (cfg.audience != [ ]) ([ "--audience" ] ++ cfg.audience)
    ++ lib.optional (cfg.minSerial != null) "--min-serial=${toString cfg.minSerial}"
    ++ lib.optional cfg.closeTable "--close";

  # systemd loads some of these kernel modules itself, but the import must not depend on it.
  modules =
    lib.optional cfg.fwCfg "qemu_fw_cfg" ++ lib.optional cfg.receipt.enable "vmw_vsock_virtio_transport";
  loadsModules = lib.optional (modules != [ ]) "systemd-modules-load.service";

  # Drop-in for the unit, which comes from the package: it has only what the unit in the package does not have.
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

  # NixOS removes these options together with the scripted initrd.
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
        "signed"
      ];
      default = "use";
      description = ''
        `use` verifies what arrived against the host's manifest if there is one, `require` fails without one. Hosts that
        send with `smbios-creds-host` always send one. If it is not signed, it finds faults, not attackers. `signed`
        fails unless a key of `trustedKeys` has signed it, which every value means as soon as there is such a key.
      '';
    };

    trustedKeys = mkOption {
      type = types.listOf (types.either types.path types.str);
      default = [ ];
      example = lib.literalExpression "[ ./owner.pub ]";
      description = ''
        Public keys of minisign, as files (`NAME.pub`) or as text (`RW...`). The guest takes only a set that one of them has
        signed, and all of it or nothing. They are put into `/etc/smbios-creds/trusted`, in the initrd too, and systemd is
        told on the kernel's command line to import nothing by itself. A runner of microvm.nix signs nothing.
      '';
    };

    audience = mkOption {
      type = types.listOf (types.strMatching "@machine-id|@uuid|[A-Za-z0-9._:-]+");
      default = [ ];
      example = [ "web01" ];
      description = ''
        Names of this machine. A signed set counts if it was packed for one of them (`pack --audience`). `@machine-id` and
        `@uuid` stand for the machine ID and for the UUID of SMBIOS, which the host chooses.
      '';
    };

    minSerial = mkOption {
      type = types.nullOr (types.ints.between 0 9223372036854775807);
      default = null;
      example = 7;
      description = "Lowest serial of a signed set that is accepted (`pack --serial`). `null` accepts every serial.";
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
        the stage after switch-root sets mode 0000 on the files in `/sys/firmware` that hold it. dmidecode prints nothing then.
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
        "signed"
        "allow"
      ];
      default = "signed";
      description = ''
        What to believe in a confidential VM, which does not trust its host, or in a container: nothing, a set that is signed
        for `audience` by a key of `trustedKeys`, or everything. Without a key and an audience, `signed` refuses.
      '';
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
          {
            assertion = cfg.manifest == "signed" -> hasKeys;
            message = ''
              services.smbios-creds.manifest: "signed" needs a key. Without one, nothing would be imported. Set
              services.smbios-creds.trustedKeys.
            '';
          }
          {
            assertion = cfg.audience != [ ] -> hasKeys;
            message = ''
              services.smbios-creds.audience: it is a part of a signed set. Without a key the guest would take sets for every
              machine. Set services.smbios-creds.trustedKeys.
            '';
          }
          {
            assertion = cfg.minSerial != null -> hasKeys;
            message = ''
              services.smbios-creds.minSerial: it is a part of a signed set. Without a key the guest would take old sets. Set
              services.smbios-creds.trustedKeys.
            '';
          }
          {
            assertion = hasKeys -> trusted.twice == [ ];
            message = ''
              services.smbios-creds.trustedKeys: more than one key has the file name ${lib.concatStringsSep ", " trusted.twice},
              so only one of them would be trusted. Rename the others.
            '';
          }
          {
            assertion = hasKeys && initrd.enable -> initrd.systemd.enable;
            message = ''
              services.smbios-creds.trustedKeys: a scripted initrd starts systemd without the kernel's environment, so systemd
              would import credentials that nobody has verified, and the guest refuses to go on from there. Set
              boot.initrd.systemd.enable = true.
            '';
          }
          {
            assertion =
              hasKeys
              -> lib.all (
                parameter: parameter == importsNothing || !lib.hasPrefix "CREDENTIALS_DIRECTORY=" parameter
              ) kernelParams;
            message = ''
              services.smbios-creds.trustedKeys: boot.kernelParams sets CREDENTIALS_DIRECTORY to another directory, so that
              systemd would not find what is imported. Remove it from boot.kernelParams.
            '';
          }
          {
            assertion = hasKeys -> !lib.any (lib.hasPrefix "systemd.set_credential") kernelParams;
            message = ''
              services.smbios-creds.trustedKeys: with a key, systemd imports nothing by itself, so the credentials in
              boot.kernelParams (systemd.set_credential) would be lost. Remove them, and pack them into the signed set.
            '';
          }
        ];

        warnings = lib.optional (initrd.enable && !initrdKeepsRun) ''
          services.smbios-creds: NixOS ${lib.trivial.release} loses at switch-root what the initrd imports (nixpkgs
          #421388), so credentials are imported only after switch-root, after the activation scripts. Use 25.05 or newer.
        '';

        environment.systemPackages = [ cfg.package ];

        systemd.packages = [ cfg.package ];
        # Credentials do not change without a reboot, and a restart would stop every service that requires the unit.
        systemd.services.smbios-creds = addition // {
          restartIfChanged = false;
        };
      }

      (mkIf hasKeys {
        boot.kernelParams = [ importsNothing ];
        environment.etc = lib.mapAttrs' (
          name: text: lib.nameValuePair "smbios-creds/trusted/${name}" { inherit text; }
        ) trusted.files;
      })

      (mkIf hasInitrd {
        # Without dmi_sysfs, PID 1 of the initrd imports nothing, and systemd passes no credentials to services of the
        # initrd.
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
          contents = lib.mapAttrs' (
            name: text: lib.nameValuePair "/etc/smbios-creds/trusted/${name}" { inherit text; }
          ) trusted.files;
          services.smbios-creds-initrd = addition // {
            # In this service, NixOS reads users' password files, and sops-nix and agenix read secrets.
            before = [ "initrd-nixos-activation.service" ];
          };
        };
      })

      (lib.optionalAttrs hasScriptedHooks (
        mkIf isScripted {
          boot.initrd.extraUtilsCommands = "copy_bin_and_libs ${cfg.package}/bin/smbios-creds";
          boot.initrd.extraUtilsCommandsTest = "$out/bin/smbios-creds --version";
          # PID 1 of this initrd is a script that executes systemd later. systemd adds the credentials in @initrd to
          # those that it imports itself. If @system were filled already, systemd would import nothing.
          boot.initrd.preDeviceCommands = lib.mkBefore ''
            smbios-creds import --allow-none --into initrd ${lib.escapeShellArgs optionsOf} ||
              echo "smbios-creds: not every credential is as it should be; see above, and smbios-creds.service"
          '';
        }
      ))
    ]
  );
}
