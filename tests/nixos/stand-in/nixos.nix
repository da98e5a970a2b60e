# A stand-in for the NixOS modules whose options our modules set: it declares the options, and makes units as text.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  option =
    type: default:
    mkOption {
      inherit type default;
    };
  list = option (types.listOf types.raw) [ ];

  service =
    { config, ... }:
    {
      options = {
        overrideStrategy = option types.str "asDropinIfExists";
        before = list;
        after = list;
        wantedBy = list;
        wants = list;
        requires = list;
        script = option types.lines "";
        path = list;
        restartTriggers = list;
        restartIfChanged = option types.bool true;
        environment = option (types.attrsOf types.str) { };
        serviceConfig = option (types.attrsOf types.raw) { };
      };
      config.path = [ pkgs.coreutils ];
    };

  boolean = value: if value then "true" else "false";

  unit = service: {
    inherit (service) wantedBy overrideStrategy;
    text =
      "[Unit]\n"
      + lib.optionalString (service.before != [ ]) "Before=${toString service.before}\n"
      + lib.optionalString (service.requires != [ ]) "Requires=${toString service.requires}\n"
      + lib.optionalString (service.after != [ ]) "After=${toString service.after}\n"
      + lib.optionalString (service.restartTriggers != [ ]) "X-Restart-Triggers=${toString service.restartTriggers}\n"
      + "\n[Service]\n"
      + lib.optionalString (service.path != [ ]) "Environment=\"PATH=${toString service.path}\"\n"
      + lib.concatStringsSep "" (
        lib.mapAttrsToList (name: value: "Environment=${builtins.toJSON "${name}=${value}"}\n") service.environment
      )
      + lib.concatStringsSep "" (lib.mapAttrsToList line service.serviceConfig)
      + lib.optionalString (!service.restartIfChanged) "X-RestartIfChanged=false\n";
  };
  line =
    name: value:
    lib.concatMapStrings (value: "${name}=${if builtins.isBool value then boolean value else toString value}\n") (
      if builtins.isList value then value else [ value ]
    );

  units = services: lib.mapAttrs' (name: service: lib.nameValuePair "${name}.service" (unit service)) services;
  systemd = {
    packages = list;
    services = option (types.attrsOf (types.submodule service)) { };
    units = option types.raw { };
  };
in
{
  options = {
    assertions = list;
    warnings = list;
    virtualisation.qemu.options = list;
    virtualisation.libvirtd.hooks.qemu = option (types.attrsOf types.raw) { };
    environment.systemPackages = list;
    environment.etc = option (types.attrsOf types.raw) { };
    networking.hostName = option types.str "nixos";
    inherit systemd;
    boot = {
      kernelParams = list;
      kernelModules = list;
      initrd = {
        enable = option types.bool true;
        availableKernelModules = list;
        kernelModules = list;
        extraUtilsCommands = option types.lines "";
        extraUtilsCommandsTest = option types.lines "";
        preDeviceCommands = option types.lines "";
        systemd = systemd // {
          enable = option types.bool true;
          storePaths = list;
          contents = option (types.attrsOf types.raw) { };
        };
      };
    };
  };

  config = {
    systemd.units = units config.systemd.services;
    boot.initrd.systemd.units = units config.boot.initrd.systemd.services;
  };
}
