# A stand-in for the host module of microvm.nix: its option for machines, and the drop-ins that it makes for them.
# `evaluateGuest` evaluates a module as the configuration of a machine.
evaluateGuest:
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.microvm.vms = mkOption {
    default = { };
    type = types.attrsOf (
      types.submodule {
        options = {
          evaluatedConfig = mkOption {
            type = types.raw;
            default = null;
          };
          flake = mkOption {
            type = types.raw;
            default = null;
          };
          config = mkOption {
            type = types.raw;
            default = null;
            apply = module: if module == null then null else evaluateGuest module;
          };
        };
      }
    );
  };

  config.systemd.services =
    lib.mapAttrs' (
      name: vm:
      lib.nameValuePair "microvm@${name}" {
        overrideStrategy = "asDropin";
        path = lib.mkForce [ ];
        serviceConfig.Type =
          if (if vm.config != null then vm.config else vm.evaluatedConfig).config.microvm.declaredRunner.supportsNotifySocket then "notify" else "simple";
      }
    ) config.microvm.vms
    // {
      "microvm@".serviceConfig.ExecStart = "/var/lib/microvms/%i/current/bin/microvm-run";
    };
}
