# Module for the configuration of a guest of microvm.nix. The guest's runner starts the hypervisor through
# smbios-creds-host, with the credentials that the host's unit has (./host.nix), and no secret on a command line.
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
  microvm = config.microvm;
  # The name that the guest gives itself. Its unit on the host, microvm@VM.service, has the name in microvm.vms, which may
  # be another one.
  inherit (config.networking) hostName;
  inherit (pkgs.stdenv.hostPlatform) isx86_64;
  # Packages of the machine that the hypervisor runs on.
  host = microvm.vmHostPackages or pkgs;

  programs = {
    cloud-hypervisor = "cloud-hypervisor";
    crosvm = "crosvm";
    qemu = "qemu-system-*";
  };

  # Usage: launch PROGRAM ARGUMENTS. The kernel gives a script its own path as argv[0], so the script sets the process
  # name of microvm.nix again.
  procname = lib.optional (microvm.prettyProcnames or true) (lib.escapeShellArg "microvm@${hostName}");
  launch =
    hypervisor:
    host.writeShellScript "smbios-creds-launch" ''
      set -euf
      name=${lib.escapeShellArg hostName}
      program=$1
      shift
      # microvm.nix runs a machine in a directory that has the name of its unit, and a link to the runner.
      vm=VM where=" (VM is its name on the host)"
      if [ -e current/bin/microvm-run ]; then
        vm=''${PWD##*/} where=
      fi
      start=(exec ${toString (map (name: "-a ${name}") procname)})
      say() { printf 'smbios-creds: %s\n' "$*" >&2; }

      # What starts no machine.
      case ''${1-} in
        "" | -h | -help | --help | -V | -version | --version) "''${start[@]}" "$program" "$@" ;;
      esac
      ${lib.optionalString (hypervisor == "crosvm") ''
        [ "$1" = run ] || "''${start[@]}" "$program" "$@"
      ''}
      # Names from the host's unit (services.smbios-creds.vms), and those that the guest requires.
      credentials=() sealed=() wanted= options=()
      IFS=:
      for credential in ''${SMBIOS_CREDS_SEALED-}; do
        sealed+=("$credential=${names.prefix}$credential") wanted=''${wanted:+$wanted:}$credential
      done
      for credential in ''${SMBIOS_CREDS-} ${lib.escapeShellArgs cfg.required}; do
        case ":$wanted:" in
          *":$credential:"*) ;;
          *) credentials+=("$credential=${names.prefix}$credential") wanted=''${wanted:+$wanted:}$credential ;;
        esac
      done
      unset IFS

      if [ -z "$wanted" ]; then
        say "$name is started without credentials: none are declared for it" \
          "(services.smbios-creds.vms.$vm.credentials on the host)$where"
        "''${start[@]}" "$program" "$@"
      fi
      if [ -z "''${CREDENTIALS_DIRECTORY-}" ]; then
        say "$name is not started: it has to get ''${wanted//:/, }, and \$CREDENTIALS_DIRECTORY is not set. Its unit sets it" \
          "if the host has services.smbios-creds.vms.$vm.credentials. Start it with" \
          "'systemctl start microvm@$vm.service', not with 'microvm -r' or microvm-run$where"
        exit 3
      fi
      [ ''${#credentials[@]} = 0 ] || options+=(--credential "''${credentials[@]}")
      [ ''${#sealed[@]} = 0 ] || options+=(--encrypted "''${sealed[@]}")
      exec ${cfg.hostPackage}/bin/smbios-creds-host run --hypervisor ${hypervisor} \
        "''${options[@]}" ${asksForReceipt} ${toString (map (name: "--argv0 ${name}") procname)} -- "$program" "$@"
    '';

  hasVsock = microvm.vsock.cid or null != null;
  # File in the machine's directory with which the host verifies the receipt. Its content is no secret.
  verifier = "smbios-creds.verifier";
  asksForReceipt = lib.optionalString cfg.receipt.enable "--receipt ${toString cfg.receipt.port} --verifier ${verifier}";
  # cloud-hypervisor connects its guest to a Unix socket next to its own socket. Other hypervisors connect their
  # guests to a vsock port of the host.
  receiptSocket =
    if microvm.hypervisor == "cloud-hypervisor" then
      "--listen unix:notify.vsock_${toString cfg.receipt.port}"
    else
      "--listen vsock:${toString cfg.receipt.port} --guest-cid ${toString microvm.vsock.cid}";

  # Replaces the hypervisor in a package by a script that starts it through the launcher. Everything else in the package
  # stays: ch-remote, firmware, passthru.
  wrap =
    hypervisor: package:
    if !cfg.enable then
      package
    else
      host.symlinkJoin (
        {
          name = "smbios-creds-${package.name}";
          paths = [ package ];
          passthru = (package.passthru or { }) // {
            unwrapped = package;
          };
          meta = removeAttrs (package.meta or { }) [ "outputsToInstall" ];
          postBuild = ''
            for program in $out/bin/${programs.${hypervisor}}; do
              file=''${program##*/}
              rm "$program"
              printf '#!%s\nexec %s %s "$@"\n' ${host.runtimeShell} ${launch hypervisor} "${package}/bin/$file" > "$program"
              chmod 0755 "$program"
            done
          '';
        }
        # microvm.nix chooses the syntax of cloud-hypervisor's command line by the version of the package.
        // lib.optionalAttrs (package ? version) { inherit (package) version; }
      )
      # With these functions, microvm.nix makes QEMU smaller, or adds USB to it.
      // lib.optionalAttrs (package ? override) { override = change: wrap hypervisor (package.override change); }
      // lib.optionalAttrs (package ? overrideAttrs) {
        overrideAttrs = change: wrap hypervisor (package.overrideAttrs change);
      }
      // lib.optionalAttrs (package ? configureFlags) { inherit (package) configureFlags; };

  # Since 2026-02-03, microvm.nix declares the option `package` with a type and a default. Our declaration below has
  # neither, so a default shows that microvm.nix has the option.
  hasPackageOption = options.microvm.${microvm.hypervisor}.package ? default;
  canWrap = programs ? ${microvm.hypervisor};

  base = microvm.runner.${microvm.hypervisor};
  # For an older microvm.nix: its own runner, in which the launcher is put before the hypervisor.
  olderRunner = host.symlinkJoin {
    name = "${base.name}-smbios-creds";
    paths = [ base ];
    passthru = base.passthru or { };
    meta = base.meta or { };
    postBuild = ''
      rm $out/bin/microvm-run
      sed -E "s|^( *exec +(-a +\"[^\"]*\" +)?)'?(/[^' ]*/bin/(cloud-hypervisor\|crosvm\|qemu-system-[^' ]*))'?( .*)?\$|\1${launch microvm.hypervisor} \3\5|" \
        ${base}/bin/microvm-run > $out/bin/microvm-run
      chmod 0755 $out/bin/microvm-run
      if ! grep -qF ${launch microvm.hypervisor} $out/bin/microvm-run; then
        echo "smbios-creds: does not find the hypervisor in ${base}/bin/microvm-run, so it would get no credentials" >&2
        exit 1
      fi
    '';
  };

  # `ownRunner` starts the hypervisor through the launcher. `runnerProblem` is the option that replaces this runner,
  # or null.
  ownRunner = if hasPackageOption then base else olderRunner;
  runners = lib.filter (definition: builtins.isAttrs definition.value && definition.value ? ${microvm.hypervisor}) (
    options.microvm.runner.definitionsWithLocations
  );
  runnerProblem =
    if !canWrap || cfg.startsThroughOwnRunner then
      null
    else if hasPackageOption && lib.length runners > 1 then
      "microvm.runner.${microvm.hypervisor}"
    else if "${microvm.declaredRunner}" != "${ownRunner}" then
      "microvm.declaredRunner"
    else
      null;

  # Options that have credentials in their values, which would be in the Nix store and on a command line.
  isCredential = lib.hasPrefix "io.systemd.credential";
  leaks =
    map (string: "microvm.cloud-hypervisor.platformOEMStrings (${nameOf string})") (
      lib.filter isCredential (microvm.cloud-hypervisor.platformOEMStrings or [ ])
    )
    ++ map (hypervisor: "microvm.${hypervisor}.extraArgs") (
      lib.filter (
        hypervisor:
        lib.any (
          argument: lib.hasInfix "io.systemd.credential:" argument || lib.hasInfix "io.systemd.credential.binary:" argument
        ) (microvm.${hypervisor}.extraArgs or [ ])
      ) (builtins.attrNames programs)
    )
    ++ lib.optional (lib.any (lib.hasPrefix "systemd.set_credential") (
      (config.boot.kernelParams or [ ]) ++ (microvm.kernelParams or [ ])
    )) "boot.kernelParams (systemd.set_credential)"
    ++ map (name: "microvm.credentialFiles.${name}") (
      builtins.attrNames (
        lib.filterAttrs (
          _: file: builtins.isPath file || lib.hasPrefix "${builtins.storeDir}/" file || lib.hasPrefix "/nix/store/" file
        ) (microvm.credentialFiles or { })
      )
    );
  # Returns the part of a string before the '='. The value is after the '='.
  nameOf = string: if lib.hasInfix "=" string then lib.head (lib.splitString "=" string) else "one without a '='";

  firmware = lib.any (argument: argument == "-bios" || lib.hasInfix "pflash" argument) (microvm.qemu.extraArgs or [ ]);
  machine = lib.splitString "," (microvm.qemu.machine or "");
  machineOpts = microvm.qemu.machineOpts or null;
  # Whether the guest is QEMU's machine "microvm", microvm.nix's default. This machine has no SMBIOS, so the host sends
  # credentials by fw_cfg.
  isMicrovmMachine = microvm.hypervisor == "qemu" && isx86_64 && lib.head machine == "microvm";
  # Linux finds the device of fw_cfg by ACPI.
  hidesFwCfg =
    isMicrovmMachine
    && (lib.elem "acpi=off" machine || (machineOpts != null && (machineOpts.acpi or "on") == "off"));
  tooLong = lib.filter (name: builtins.stringLength name > cfg.nameMaximum) cfg.required;
in
{
  imports = [ ./guest.nix ];

  options = {
    services.smbios-creds.hostPackage = mkOption {
      type = types.package;
      default =
        if host.stdenv.hostPlatform.system == pkgs.stdenv.hostPlatform.system then
          cfg.package
        else
          host.callPackage ./package.nix { };
      defaultText = lib.literalExpression "config.services.smbios-creds.package, for the machine of the hypervisor";
      description = "The package with smbios-creds-host, for the machine that the hypervisor runs on.";
    };

    services.smbios-creds.startsThroughOwnRunner = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether this configuration sets `microvm.declaredRunner` or `microvm.runner` itself, to a runner that starts the
        hypervisor through `smbios-creds-host run` or from the wrapped package (`microvm.<hypervisor>.package`). Nothing
        checks that the runner does so. If it does not, the guest gets no credentials.
      '';
    };

    services.smbios-creds.receipt = {
      port = mkOption {
        type = types.ints.between 1 4294967294;
        default = if microvm.hypervisor == "cloud-hypervisor" || !hasVsock then 8889 else 8889 + microvm.vsock.cid;
        defaultText = lib.literalExpression ''
          if microvm.hypervisor == "cloud-hypervisor" then 8889 else 8889 + microvm.vsock.cid
        '';
        description = ''
          Port that the guest sends its receipt to. With QEMU and crosvm it is a port of the host, so each machine needs
          another one. With cloud-hypervisor it is part of the name of a socket in the machine's directory.
        '';
      };

      timeout = mkOption {
        type = types.ints.between 1 86400;
        default = 90;
        description = ''
          Seconds that the host waits for the receipt. Keep it below `microvm.host.startupTimeout`, which is 150.
        '';
      };
    };

    # For ./host.nix: the option that replaces the runner, or null.
    services.smbios-creds.runnerProblem = mkOption {
      type = types.nullOr types.str;
      default = runnerProblem;
      readOnly = true;
      internal = true;
      description = "The option that replaces the runner with one that may not start the launcher.";
    };

    # For ./host.nix: most characters of a name on the way into this guest.
    services.smbios-creds.nameMaximum = mkOption {
      type = types.int;
      default = if isMicrovmMachine then names.fwCfgMaximum else names.maximum;
      readOnly = true;
      internal = true;
      description = "Most characters that the name of a credential has in this guest.";
    };

    # For ./host.nix: whether the guest's runner sends credentials that only the guest can decrypt.
    services.smbios-creds.takesSealed = mkOption {
      type = types.bool;
      default = !isMicrovmMachine;
      readOnly = true;
      internal = true;
      description = "Whether credentials that only the guest can decrypt reach this guest.";
    };

    # These declarations add to microvm.nix's own, so that its default and a package that a user chose are wrapped
    # alike.
    microvm = lib.mapAttrs (hypervisor: _: { package = mkOption { apply = wrap hypervisor; }; }) programs;
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = canWrap;
        message = ''
          services.smbios-creds: microvm.hypervisor = "${microvm.hypervisor}" has no SMBIOS to send credentials over. Use
          "cloud-hypervisor", "crosvm", or "qemu".
        '';
      }
      {
        assertion = !hidesFwCfg;
        message = ''
          services.smbios-creds: QEMU's machine "microvm" gets credentials by fw_cfg, which Linux finds by ACPI. Remove
          acpi=off from microvm.qemu.machineOpts and microvm.qemu.machine, or set microvm.qemu.machine = "q35".
        '';
      }
      {
        assertion = tooLong == [ ];
        message = ''
          services.smbios-creds.required: fw_cfg, by which QEMU's machine "microvm" gets credentials, carries names of at
          most ${toString cfg.nameMaximum} characters. Shorten ${lib.concatStringsSep ", " tooLong}, or set
          microvm.qemu.machine = "q35".
        '';
      }
      {
        assertion = microvm.hypervisor == "qemu" && !isx86_64 -> firmware;
        message = ''
          services.smbios-creds: QEMU hands SMBIOS to a guest of this architecture through UEFI firmware alone. Give it one
          with microvm.qemu.extraArgs (-bios), which the guest has to be booted by.
        '';
      }
      {
        assertion = microvm.hypervisor == "cloud-hypervisor" || microvm.hypervisor == "crosvm" -> isx86_64;
        message = ''
          services.smbios-creds: ${microvm.hypervisor} has SMBIOS on x86-64 alone. It would ignore the credentials.
        '';
      }
      {
        assertion = !(microvm.binScripts or { } ? microvm-run);
        message = ''
          microvm.binScripts.microvm-run is ignored by microvm.nix, without a word (lib/runner.nix puts its own over it).
          To send credentials, remove it: services.smbios-creds is enough. To run something before the hypervisor use
          microvm.preStart, and to add to its arguments microvm.extraArgsScript.
        '';
      }
      {
        assertion = cfg.receipt.enable -> hasVsock;
        message = ''
          services.smbios-creds.receipt: the guest of host name "${hostName}" has no vsock, over which it could send a
          receipt. Set microvm.vsock.cid to a number from 3 on that no other machine of the host has.
        '';
      }
      {
        assertion = cfg.trustedKeys != [ ] -> cfg.startsThroughOwnRunner;
        message = ''
          services.smbios-creds.trustedKeys: this runner sends credentials that nobody has signed, so the guest (host name
          "${hostName}") would refuse them all. microvm.nix also adds vmm.notify_socket, which no signed set has. Remove
          the keys. If a runner of your own starts smbios-creds-host run --set, set
          services.smbios-creds.startsThroughOwnRunner = true.
        '';
      }
      {
        assertion = cfg.runnerProblem == null;
        message = ''
          ${toString cfg.runnerProblem} is set in this guest's configuration (host name "${hostName}"), so the machine would
          be started by another runner, without its credentials. To send credentials, remove it: services.smbios-creds is
          enough. To run something before the hypervisor use microvm.preStart, and to add to its arguments
          microvm.extraArgsScript. If that runner starts smbios-creds-host run itself, set
          services.smbios-creds.startsThroughOwnRunner = true.
        '';
      }
      {
        assertion = leaks == [ ];
        message = ''
          Credentials in these options are in the Nix store and on a command line, for everybody to read:
          ${lib.concatStringsSep ", " leaks}.
          Remove them, and declare services.smbios-creds.vms.VM.credentials.NAME.source on the host. VM is the name of this
          machine's unit there, microvm@VM.service, which may differ from its host name "${hostName}".
        '';
      }
    ];

    services.smbios-creds.fwCfg = mkIf isMicrovmMachine true;

    # The unit on the host (./host.nix) starts this script in the machine's directory.
    microvm.binScripts = mkIf (cfg.receipt.enable && hasVsock) {
      smbios-creds-await = ''
        exec ${cfg.hostPackage}/bin/smbios-creds-host await ${receiptSocket} --verifier ${verifier} --timeout ${toString cfg.receipt.timeout}
      '';
    };

    microvm.declaredRunner = mkIf (canWrap && !hasPackageOption) (lib.mkOverride 900 olderRunner);
  };
}
