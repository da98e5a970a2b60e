# A stand-in for the guest module of microvm.nix: the options that our modules read, and a runner. The runner starts
# the hypervisor as microvm.nix's runner does, with a process name, --platform, descriptors and arguments. Before
# 2026-02, microvm.nix had no options for packages: `hasPackages` is false for such a version.
hasPackages:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (config.networking) hostName;
  cfg = config.microvm;
  option = type: default: mkOption { inherit type default; };
  strings = option (types.listOf types.str) [ ];
  packages = {
    inherit (pkgs) cloud-hypervisor crosvm;
    qemu = pkgs.qemu_kvm;
  };
  package = hypervisor: lib.optionalAttrs hasPackages { package = option types.package packages.${hypervisor}; };
  chosen = hypervisor: if hasPackages then cfg.${hypervisor}.package else packages.${hypervisor};

  platform = lib.concatStringsSep "," (
    cfg.cloud-hypervisor.platformOEMStrings
    ++ lib.optional (cfg.vsock.cid != null) "io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888"
  );
  commands = {
    cloud-hypervisor =
      [
        "${chosen "cloud-hypervisor"}/bin/cloud-hypervisor"
        "--kernel"
        "/kernel"
        "--platform"
        (lib.optionalString (platform != "") "oem_strings=[${platform}]")
      ]
      ++ lib.optionals (cfg.vsock.cid != null) [
        "--vsock"
        "cid=${toString cfg.vsock.cid},socket=notify.vsock"
      ]
      ++ [
        "--net"
        "fd=[3],mac=02:00:00:00:00:01"
      ]
      ++ cfg.cloud-hypervisor.extraArgs;
    crosvm = [
      "${chosen "crosvm"}/bin/crosvm"
      "run"
      "-m"
      "512"
      "/kernel"
    ] ++ cfg.crosvm.extraArgs;
    qemu =
      let
        # microvm.nix overrides QEMU to make it smaller.
        qemu = (chosen "qemu").override (_: { });
      in
      [
        "${qemu}/bin/qemu-system-${builtins.head (builtins.split "-" pkgs.system)}"
        "-M"
        (lib.concatStringsSep "," (
          [ cfg.qemu.machine ]
          ++ lib.mapAttrsToList (name: value: "${name}=${value}") (
            if cfg.qemu.machineOpts == null then { acpi = "on"; } else cfg.qemu.machineOpts
          )
        ))
      ]
      ++ cfg.qemu.extraArgs;
    firecracker = [ "${pkgs.firecracker}/bin/firecracker" ];
  };

  runner =
    hypervisor: command:
    pkgs.runCommand "microvm-${hypervisor}-${hostName}"
      {
        meta.mainProgram = "microvm-run";
        passthru = {
          supportsNotifySocket = cfg.vsock.cid != null;
          tapMultiQueue = false;
          canShutdown = true;
        };
      }
      ''
        mkdir -p $out/bin $out/share/microvm
        ln -s ${
          pkgs.writeShellScript "microvm-${hostName}-microvm-run" ''
            set -eou pipefail
            exec 3<>/dev/null
            runtime_args=

            exec ${lib.optionalString cfg.prettyProcnames "-a \"microvm@${hostName}\""} ${lib.escapeShellArgs command} ''${runtime_args:-}
          ''
        } $out/bin/microvm-run
        echo ${hypervisor} > $out/share/microvm/hypervisor
      '';
in
{
  options.microvm = {
    hypervisor = option types.str "qemu";
    prettyProcnames = option types.bool true;
    vsock.cid = option types.raw null;
    binScripts = option (types.attrsOf types.lines) { };
    kernelParams = strings;
    credentialFiles = option (types.attrsOf types.path) { };
    vmHostPackages = option types.raw pkgs;
    runner = option (types.attrsOf types.package) { };
    declaredRunner = option types.package cfg.runner.${cfg.hypervisor};
    cloud-hypervisor = package "cloud-hypervisor" // {
      platformOEMStrings = strings;
      extraArgs = strings;
    };
    crosvm = package "crosvm" // {
      extraArgs = strings;
    };
    qemu = package "qemu" // {
      machine = option types.str "microvm";
      machineOpts = option (types.nullOr (types.attrsOf types.str)) null;
      extraArgs = strings;
    };
  };

  config.microvm.runner = lib.mapAttrs runner commands;
}
