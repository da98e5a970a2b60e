# Attributes that the tests of main.rs evaluate and build. Without nixpkgs, `lib` and everything else is a stand-in
# (stand-in/).
#
# Arguments: `lib` is nixpkgs' lib. `upstream` is a checkout of microvm.nix, and needs `nixos`, the directory nixos/ of
# nixpkgs. stand-in/pkgs.nix describes `programs` and `hypervisor`. `documented` is a directory with the examples of the
# documentation.
{
  lib ? import ./stand-in/lib.nix,
  upstream ? null,
  nixos ? null,
  programs ? "/programs",
  hypervisor ? "/hypervisor",
  documented ? null,
}:
let
  pkgs = import ./stand-in/pkgs.nix { inherit lib programs hypervisor; };
  aarch64 = import ./stand-in/pkgs.nix {
    inherit lib programs hypervisor;
    platform = "aarch64-linux";
  };
  inherit (import ../../default.nix { inherit pkgs; }) nixosModules smbios-creds;

  release =
    release:
    lib
    // {
      trivial = lib.trivial // {
        inherit release;
      };
    };

  base =
    if upstream == null then
      {
        guest = [
          ./stand-in/nixos.nix
          (import ./stand-in/microvm.nix true)
        ];
        host = [
          ./stand-in/nixos.nix
          (import ./stand-in/microvm-host.nix (module: machine [ { networking.hostName = "web"; } module ]))
        ];
        evaluate =
          { lib, pkgs }:
          modules:
          lib.evalModules {
            inherit modules;
            specialArgs = { inherit pkgs lib; };
          };
      }
    else
      import ./upstream.nix {
        inherit upstream nixos;
      };

  machine = modules: base.evaluate { inherit lib pkgs; } (base.guest ++ modules);
  guest =
    module:
    machine [
      nixosModules.microvm
      {
        networking.hostName = "web";
        services.smbios-creds.enable = true;
      }
      module
    ];
  host =
    module:
    base.evaluate { inherit lib pkgs; } (
      base.host
      ++ [
        nixosModules.host
        module
      ]
    );
  older =
    module:
    lib.evalModules {
      modules = [
        ./stand-in/nixos.nix
        (import ./stand-in/microvm.nix false)
        nixosModules.microvm
        {
          networking.hostName = "web";
          services.smbios-creds.enable = true;
        }
        module
      ];
      specialArgs = { inherit pkgs; };
    };

  # Throws the failed assertions of a machine, as NixOS does before it builds anything.
  checked =
    machine: value:
    let
      failed = lib.filter (assertion: !assertion.assertion) machine.config.assertions;
    in
    if failed == [ ] then
      value
    else
      throw "Failed assertions:\n${lib.concatMapStringsSep "\n" (assertion: "- ${assertion.message}") failed}";

  secret = source: { services.smbios-creds.vms.web.credentials.api-key.source = source; };
  dropIn =
    module:
    let
      machine = host module;
    in
    checked machine machine.config.systemd.units."microvm@web.service".text;
  runner =
    module:
    let
      machine = guest module;
    in
    checked machine machine.config.microvm.declaredRunner;

  onAarch64 =
    module:
    let
      machine = base.evaluate {
        inherit lib;
        pkgs = aarch64;
      } (
        base.guest
        ++ [
          nixosModules.microvm
          { services.smbios-creds.enable = true; }
          module
        ]
      );
    in
    checked machine machine.config.microvm.declaredRunner;

  onCloudHypervisor = {
    microvm.hypervisor = "cloud-hypervisor";
    microvm.vsock.cid = 3;
  };
  # A guest of QEMU's machine "microvm", which is microvm.nix's default.
  onMicrovm.microvm.hypervisor = "qemu";
  onQ35 = {
    microvm.hypervisor = "qemu";
    microvm.qemu.machine = "q35";
  };

  # A guest that trusts a key and that no runner of microvm.nix starts.
  trusting =
    module:
    let
      guest = machine [
        nixosModules.guest
        {
          services.smbios-creds.enable = true;
          services.smbios-creds.trustedKeys = [ ./keys/owner.pub ];
        }
        module
      ];
    in
    checked guest (seen guest);

  asksForReceipt = {
    services.smbios-creds.receipt.enable = true;
    microvm.vsock.cid = 3;
  };

  # The parts of a guest's configuration that our modules may have set.
  seen =
    machine:
    let
      inherit (machine) config;
      inherit (config.boot) initrd;
    in
    {
      inherit (config) warnings;
      inherit (config.boot) kernelParams;
      assertions = map (assertion: assertion.assertion) config.assertions;
      packages = map toString config.systemd.packages;
      kernelModules = config.boot.kernelModules;
      etc = lib.filterAttrs (name: _: lib.hasPrefix "smbios-creds/" name) (
        lib.mapAttrs (_: file: file.text or null) config.environment.etc
      );
      installed = lib.filter (lib.hasInfix "smbios-creds") (map toString config.environment.systemPackages);
      units = lib.mapAttrs (_: unit: { inherit (unit) text wantedBy overrideStrategy; }) config.systemd.units;
      initrd = {
        inherit (initrd) availableKernelModules kernelModules extraUtilsCommands preDeviceCommands;
        packages = map toString initrd.systemd.packages;
        storePaths = map (path: toString path.source or path) initrd.systemd.storePaths;
        contents = lib.filterAttrs (name: _: lib.hasPrefix "/etc/smbios-creds/" name) (
          lib.mapAttrs (_: file: file.text or null) initrd.systemd.contents
        );
        units = lib.mapAttrs (_: unit: { inherit (unit) text wantedBy overrideStrategy; }) initrd.systemd.units;
      };
    };
  seenOnHost = machine: {
    assertions = map (assertion: assertion.assertion) machine.config.assertions;
    units = lib.mapAttrs (_: unit: { inherit (unit) text wantedBy overrideStrategy; }) machine.config.systemd.units;
  };

  # A package of the user's own.
  mine = pkgs.cloud-hypervisor // {
    mark = "mine";
    name = "mine";
  };
in
{
  package = smbios-creds;
  initrd-units = base.initrdUnits { inherit lib pkgs; } (guest onCloudHypervisor);

  # Values that are printed as JSON.
  values = {
    package = toString smbios-creds;

    guest = seen (guest onCloudHypervisor);
    options = seen (guest {
      imports = [ onCloudHypervisor ];
      services.smbios-creds = {
        required = [
          "db-password"
          "tls-key"
        ];
        manifest = "require";
        strict = true;
        confidential = "allow";
        closeTable = true;
      };
    });
    trust = {
      file = trusting { };
      text = trusting {
        services.smbios-creds.trustedKeys = lib.mkForce [
          "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
          ./keys/next.pub
        ];
      };
      options = trusting {
        services.smbios-creds = {
          audience = [
            "web01"
            "@machine-id"
          ];
          minSerial = 7;
          manifest = "signed";
          confidential = "refuse";
        };
      };
      no-initrd = trusting { boot.initrd.enable = lib.mkForce false; };
      own-runner =
        (runner {
          imports = [ onCloudHypervisor ];
          microvm.declaredRunner = pkgs.coreutils;
          services.smbios-creds.startsThroughOwnRunner = true;
          services.smbios-creds.trustedKeys = [ ./keys/owner.pub ];
        }).name;
    };
    scripted = seen (guest {
      imports = [ onCloudHypervisor ];
      services.smbios-creds.required = [ "db-password" ];
      boot.initrd.systemd.enable = lib.mkForce false;
    });
    old-release = seen (
      base.evaluate { lib = release "24.11"; inherit pkgs; } (
        base.guest
        ++ [
          nixosModules.guest
          { services.smbios-creds.enable = true; }
        ]
      )
    );
    microvm-machine = {
      systemd = seen (guest onMicrovm);
      scripted = seen (guest {
        imports = [ onMicrovm ];
        boot.initrd.systemd.enable = lib.mkForce false;
      });
      q35 = seen (guest onQ35);
    };
    no-initrd = seen (guest {
      imports = [ onCloudHypervisor ];
      boot.initrd.enable = lib.mkForce false;
    });

    # The longest name that fw_cfg carries, and a longer name, which only SMBIOS carries.
    longest-names = {
      microvm = dropIn {
        services.smbios-creds.vms.web.credentials.name-of-twenty-eight-charact.source = "/run/secrets/x";
        microvm.vms.web.evaluatedConfig = guest {
          imports = [ onMicrovm ];
          services.smbios-creds.required = [ "name-of-twenty-eight-charact" ];
        };
      };
      q35 = dropIn {
        services.smbios-creds.vms.web.credentials.name-of-twenty-nine-character.source = "/run/secrets/x";
        microvm.vms.web.evaluatedConfig = guest {
          imports = [ onQ35 ];
          services.smbios-creds.required = [ "name-of-twenty-nine-character" ];
        };
      };
    };

    # Configurations that look like a refused mistake, but are intended and accepted.
    meant = {
      own-runner =
        (runner {
          imports = [ onCloudHypervisor ];
          microvm.declaredRunner = pkgs.coreutils;
          services.smbios-creds.startsThroughOwnRunner = true;
        }).name;
      without-credentials = dropIn {
        services.smbios-creds.vms.web = { };
        microvm.vms.web.evaluatedConfig = guest onCloudHypervisor;
      };
      imperative = dropIn {
        imports = [ (secret "/run/secrets/api-key") ];
        services.smbios-creds.vms.imperative.credentials.api-key.source = "/run/secrets/x";
        microvm.vms.web.evaluatedConfig = guest onCloudHypervisor;
      };
      warnings =
        map
          (
            entries:
            (host {
              services.smbios-creds.vms = entries;
              microvm.vms.web.evaluatedConfig = machine [ onCloudHypervisor ];
            }).config.warnings
          )
          [
            { wbe.credentials.api-key.source = "/run/secrets/x"; }
            {
              imperative.credentials.api-key.source = "/run/secrets/x";
              web = { };
            }
          ];
    };

    # The outputs of flake.nix, with stand-ins for its inputs.
    flake =
      let
        outputs = (import ../../flake.nix).outputs {
          self = { };
          nixpkgs = {
            inherit lib;
            legacyPackages.x86_64-linux = pkgs;
            legacyPackages.aarch64-linux = aarch64;
          };
        };
        machine = (lib.evalModules {
          modules = [
            ./stand-in/nixos.nix
            outputs.checks.x86_64-linux.credential-arrives.test.nodes.machine
          ];
          specialArgs = { inherit pkgs; };
        }).config;
      in
      {
        outputs = builtins.attrNames outputs;
        packages = lib.mapAttrs (_: builtins.mapAttrs (_: package: package.name)) outputs.packages;
        overlay = (outputs.overlays.default pkgs { }).smbios-creds.name;
        modules = lib.mapAttrs (_: module: builtins.pathExists module) outputs.nixosModules;
        checks = builtins.attrNames outputs.checks.x86_64-linux;
        script = outputs.checks.x86_64-linux.credential-arrives.test.testScript;
        options = machine.virtualisation.qemu.options;
        reader = machine.systemd.units."reader.service".text;
      };

    # Each machine with a module that is not enabled must equal the machine without the module.
    disabled =
      let
        both =
          module:
          let
            evaluated = machine [
              onCloudHypervisor
              module
            ];
          in
          seen evaluated
          // {
            runner = evaluated.config.microvm.declaredRunner.drvPath;
            qemu = evaluated.config.microvm.runner.qemu.drvPath;
          };
      in
      {
        without = both { };
        guest = both nixosModules.guest;
        microvm = both nixosModules.microvm;
        default = both nixosModules.default;
        host-without = seenOnHost (base.evaluate { inherit lib pkgs; } base.host);
        host = seenOnHost (host { });
      };

    drop-in = seenOnHost (host {
      services.smbios-creds.vms.web = {
        credentials.api-key.source = "/run/secrets/vars/per-machine/h/g/api-key";
        credentials.tls-key = {
          source = ./eval.nix;
          encrypted = true;
        };
        credentials."a+b".source = "/run/secrets/x";
        restartTriggers = [ "trigger" ];
      };
    });
    sealed = dropIn {
      services.smbios-creds.vms.web.credentials = {
        api-key.source = "/run/secrets/api-key";
        db-password = {
          source = ./keys/sealed.cred;
          encrypted = "guest";
        };
        tls-key = {
          source = "/run/tls-key.cred";
          encrypted = "host";
        };
        token = {
          source = "/srv/token.cred";
          encrypted = "guest";
        };
      };
      microvm.vms.web.evaluatedConfig = guest {
        imports = [ onCloudHypervisor ];
        services.smbios-creds.required = [ "db-password" ];
      };
    };
    imperative = dropIn (secret "/run/secrets/100%");
    receipt =
      let
        asking = base: guest { imports = [ base asksForReceipt ]; };
        awaits = machine: checked machine machine.config.microvm.binScripts.smbios-creds-await;
      in
      {
        guest = seen (asking onCloudHypervisor);
        drop-in = dropIn {
          imports = [ (secret "/run/secrets/api-key") ];
          microvm.vms.web.evaluatedConfig = asking onCloudHypervisor;
        };
        imperative = dropIn {
          imports = [ (secret "/run/secrets/api-key") ];
          services.smbios-creds.vms.web.receipt = true;
        };
        cloud-hypervisor = awaits (asking onCloudHypervisor);
        qemu = awaits (asking onQ35);
        chosen = awaits (guest {
          imports = [
            onQ35
            asksForReceipt
          ];
          services.smbios-creds.receipt = {
            port = 5000;
            timeout = 30;
          };
        });
      };
    rotation =
      map
        (
          credentials:
          let
            machine = guest onCloudHypervisor;
          in
          {
            drop-in = dropIn {
              services.smbios-creds.vms.web = { inherit credentials; };
              microvm.vms.web.evaluatedConfig = machine;
            };
            runner = machine.config.microvm.declaredRunner.drvPath;
          }
        )
        [
          { api-key.source = "/run/secrets/a"; }
          {
            api-key.source = "/run/secrets/b";
            new.source = "/run/secrets/c";
          }
        ];
    declarative = dropIn {
      imports = [ (secret "/run/secrets/api-key") ];
      microvm.vms.web.evaluatedConfig = guest {
        imports = [ onCloudHypervisor ];
        services.smbios-creds.required = [ "api-key" ];
      };
    };

    wrapped =
      let
        package = (guest onCloudHypervisor).config.microvm.cloud-hypervisor.package;
        chosen =
          (guest {
            imports = [ onCloudHypervisor ];
            microvm.cloud-hypervisor.package = mine;
          }).config.microvm.cloud-hypervisor.package;
        qemu = (guest onQ35).config.microvm.qemu.package;
        off = (machine [ nixosModules.microvm onCloudHypervisor ]).config.microvm.cloud-hypervisor.package;
        run = runner onCloudHypervisor;
      in
      {
        inherit (package) name version;
        unwrapped = package.unwrapped.mark;
        inherit (package) mark;
        chosen = chosen.unwrapped.mark;
        qemu = (qemu.override (_: { })).unwrapped.mark;
        attributes = (qemu.overrideAttrs (_: { })).unwrapped.mark;
        flags = qemu.configureFlags;
        off = off.name;
        passthru = run.passthru;
        older = (older onCloudHypervisor).config.microvm.declaredRunner.passthru;
        program = run.meta.mainProgram;
      };
  };

  # Runners that the tests build and execute.
  runners = {
    cloud-hypervisor = runner onCloudHypervisor;
    required = runner {
      imports = [ onCloudHypervisor ];
      services.smbios-creds.required = [ "db-password" ];
    };
    receipt = runner {
      imports = [
        onCloudHypervisor
        asksForReceipt
      ];
    };
    crosvm = runner { microvm.hypervisor = "crosvm"; };
    qemu = runner onQ35;
    qemu-microvm = runner onMicrovm;
    older = (older { microvm.hypervisor = "cloud-hypervisor"; }).config.microvm.declaredRunner;
    older-qemu = (older onQ35).config.microvm.declaredRunner;
    plain =
      (machine [
        { networking.hostName = "web"; }
        onCloudHypervisor
      ]).config.microvm.declaredRunner;
  };
  hypervisors = {
    cloud-hypervisor = (guest onCloudHypervisor).config.microvm.cloud-hypervisor.package;
    crosvm = (guest onCloudHypervisor).config.microvm.crosvm.package;
  };

  # Configurations whose evaluation must fail with a message.
  refused = import ./refused.nix {
    inherit
      dropIn
      guest
      lib
      machine
      nixosModules
      onAarch64
      onCloudHypervisor
      onMicrovm
      onQ35
      pkgs
      runner
      secret
      trusting
      ;
    older =
      module:
      let
        machine = older module;
      in
      checked machine machine.config.microvm.declaredRunner;
  };

  # Examples of the documentation, exactly as the pages show them.
  examples =
    let
      inherit (import ./stand-in/providers.nix lib) age clan sops;

      # The real microvm.nix would evaluate the machine with all of nixpkgs, so this example needs its stand-in.
      flake =
        (import "${documented}/flake.nix").outputs {
          self = { };
          nixpkgs.lib.nixosSystem = { modules, ... }: host { imports = modules ++ [ clan ]; };
          microvm.nixosModules.host = { };
          smbios-creds = { inherit nixosModules; };
        };
      onHost =
        file: provider:
        dropIn {
          imports = [
            provider
            "${documented}/${file}"
          ];
        };
      # A block of a page that is a part of a module.
      part = file: arguments: import "${documented}/${file}" ({ smbios-creds = { inherit nixosModules; }; } // arguments);
      onPage = machine [
        { networking.hostName = "web"; }
        onCloudHypervisor
        (part "page-guest.nix" { })
      ];
      hostOnPage = base.evaluate { inherit lib pkgs; } (
        base.host
        ++ [
          sops
          { sops.secrets.db-password = { }; }
          { microvm.vms.web.evaluatedConfig = onPage; }
          (part "page-host.nix" { })
        ]
      );
      inGuest = (seen (machine [
        nixosModules.microvm
        { networking.hostName = "web"; }
        "${documented}/guest.nix"
        "${documented}/service.nix"
      ])).units."app.service".text;
    in
    {
      clan = onHost "host-clan.nix" clan;
      sops = onHost "host-sops.nix" sops;
      agenix = onHost "host-agenix.nix" age;
      encrypted = onHost "host-encrypted.nix" { };
      service = inGuest;
      page = {
        host = checked hostOnPage hostOnPage.config.systemd.units."microvm@web.service".text;
        runner = (checked onPage onPage.config.microvm.declaredRunner).name;
        wantedBy = (seen onPage).units."smbios-creds.service".wantedBy;
      };
      libvirt =
        if upstream != null then
          null
        else
          let
            machine =
              (lib.evalModules {
                modules = [
                  ./stand-in/nixos.nix
                  (part "page-libvirt.nix" {
                    smbios-creds = toString ../..;
                    smbiosCreds = smbios-creds;
                  })
                ];
                specialArgs.pkgs = pkgs // {
                  writeScript = _: text: text;
                };
              }).config;
          in
          {
            hook = machine.virtualisation.libvirtd.hooks.qemu.smbios-creds;
            inherit (machine.systemd.services.libvirtd-config) script;
          };
      signed =
        (seen (machine [
          nixosModules.guest
          { services.smbios-creds.enable = true; }
          "${documented}/guest-signed.nix"
        ])).units."smbios-creds.service".text;
      flake =
        if upstream != null then
          null
        else
          let
            machine = flake.nixosConfigurations.host;
          in
          checked machine {
            drop-in = machine.config.systemd.units."microvm@web.service".text;
            runner = (checked machine.config.microvm.vms.web.config machine.config.microvm.vms.web.config).config.microvm.declaredRunner.name;
            service = machine.config.microvm.vms.web.config.config.systemd.units."app.service".text;
          };
    };
}
