# The real modules of microvm.nix, with the NixOS modules that make assertions and units. All other options that these
# modules set or read are declared here without any effect.
{
  upstream,
  nixos,
}:
let
  common =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    let
      any =
        default:
        lib.mkOption {
          type = lib.types.unspecified;
          inherit default;
        };
      # An option that several modules set.
      set = lib.mkOption {
        type = lib.types.attrsOf lib.types.anything;
        default = { };
      };
      list = lib.mkOption {
        type = lib.types.listOf lib.types.unspecified;
        default = [ ];
      };
      text = lib.mkOption {
        type = lib.types.lines;
        default = "";
      };
    in
    {
      imports = map (file: "${nixos}/modules/${file}") [
        "misc/assertions.nix"
        "misc/meta.nix"
        "system/boot/systemd.nix"
        "system/boot/systemd/initrd.nix"
      ];
      options = {
        environment = {
          systemPackages = list;
          etc = set;
          variables = set;
        };
        networking = {
          hostName = any "nixos";
          proxy.envVars = set;
        };
        nix = set;
        services = {
          openssh = set;
          dbus = set;
          logrotate = set;
        };
        security = set;
        users = set;
        hardware = set;
        virtualisation = set;
        documentation = set;
        programs = set;
        fileSystems = lib.mkOption {
          type = lib.types.attrsOf (
            lib.types.submodule (
              { name, ... }:
              {
                freeformType = lib.types.attrsOf lib.types.anything;
                options.mountPoint = lib.mkOption { default = name; };
              }
            )
          );
        };
        swapDevices = list;
        system = {
          build = set;
          activationScripts = set;
          fsPackages = list;
          requiredKernelConfig = list;
          switch = set;
          stateVersion = any "25.11";
          nssModules = any { path = ""; };
        };
        time = set;
        i18n = set;
        console = set;
        powerManagement = set;
        boot = {
          kernelPackages = any { kernel = pkgs.coreutils // { dev = "/kernel"; out = "/kernel"; config = { }; version = "6.12"; }; };
          kernelParams = list;
          kernelModules = list;
          blacklistedKernelModules = list;
          extraModulePackages = list;
          kernel = set;
          loader = set;
          supportedFilesystems = set;
          resumeDevice = any "";
          isContainer = any false;
          swraid = set;
          zfs = set;
          bcache = set;
          tmp = set;
          modprobeConfig = set;
          initrd = {
            enable = any true;
            osRelease = any "/os-release";
            availableKernelModules = list;
            kernelModules = list;
            supportedFilesystems = set;
            compressor = any "zstd";
            compressorArgs = list;
            secrets = set;
            extraUtilsCommands = text;
            extraUtilsCommandsTest = text;
            preDeviceCommands = text;
            preLVMCommands = text;
            preFailCommands = text;
            postDeviceCommands = text;
            postResumeCommands = text;
            postMountCommands = text;
            extraUdevRulesCommands = text;
            network.postCommands = text;
            systemd.strip = any true;
            luks = set;
            services = set;
          };
        };
      };
      config = {
        _module.check = false;
        _module.args.utils = import "${nixos}/lib/utils.nix" { inherit config lib pkgs; };
        system.build = {
          toplevel = pkgs.coreutils;
          etc = pkgs.coreutils;
          bootStage1 = "";
          initialRamdisk = "/initrd";
        };
        system.nssModules.path = "";
        users.users.root = { };
        nix = {
          enable = false;
          optimise.automatic = false;
          settings.auto-optimise-store = false;
        };
        services.openssh.enable = false;
        virtualisation.libvirtd.enable = false;
        fileSystems."/" = { };
        boot.initrd.systemd.enableTpm2 = false;
      };
    };
in
{
  guest = [
    common
    "${upstream}/nixos-modules/microvm"
    (
      { lib, pkgs, ... }:
      {
        microvm.kernel = lib.mkForce (pkgs.coreutils // { dev = "/kernel"; out = "/kernel"; });
        microvm.initrdPath = lib.mkForce "/initrd";
        microvm.shares = [
          {
            proto = "virtiofs";
            tag = "store";
            source = "/nix/store";
            mountPoint = "/nix/.ro-store";
            socket = "store.sock";
          }
        ];
        microvm.interfaces = [
          {
            type = "macvtap";
            # Every machine has the interface lo. The runner opens the macvtap device by the number of this interface.
            id = "lo";
            mac = "02:00:00:00:00:01";
            macvtap = {
              link = "eth0";
              mode = "bridge";
            };
          }
        ];
      }
    )
  ];
  host = [
    common
    "${upstream}/nixos-modules/host"
  ];
  evaluate =
    { lib, pkgs }:
    modules:
    (import "${nixos}/lib" {
      inherit lib;
      featureFlags.minimalModules = { };
    }).evalModules
      {
        inherit modules;
        specialArgs = {
          inherit pkgs lib;
        };
      };

  # The smbios-creds units of the initrd, as NixOS's own code generates them.
  initrdUnits =
    { lib, pkgs }:
    { config, ... }:
    let
      cfg = config.boot.initrd.systemd;
      ours = lib.hasInfix "smbios-creds";
      utils = import "${nixos}/lib/utils.nix" { inherit config lib pkgs; };
    in
    utils.systemdUtils.lib.generateUnits {
      type = "initrd";
      units = lib.filterAttrs (name: _: ours name) cfg.units;
      packages = lib.filter (package: ours (toString package)) cfg.packages;
      inherit (cfg) package;
      upstreamUnits = [ ];
      upstreamWants = [ ];
    };
}
