# A stand-in for the packages that the modules and microvm.nix refer to. This machine's own bash builds the packages
# whose programs the tests execute. The other packages are empty, and only have a name.
#
# `programs` is a directory with the project's programs, `hypervisor` an ELF file that prints what it was started with.
{
  lib,
  programs,
  hypervisor,
  platform ? builtins.currentSystem,
}:
let
  system = builtins.currentSystem;

  build =
    name: attributes: script:
    derivation (
      attributes
      // {
        name = builtins.replaceStrings [ "@" ] [ "-" ] name;
        inherit system;
        builder = "/bin/bash";
        args = [
          "-euc"
          ''
            PATH=/usr/bin:/bin
            ${script}
            # nix kills a builder that closes its output, as coreutils do just before they end. Bash does not.
            :
          ''
        ];
      }
    );

  # nixpkgs' own lib.fileset needs builtins that the nix of Debian 12 does not have.
  packageLib = lib // (if builtins ? readFileType then { } else { inherit (import ./lib.nix) fileset; });

  # Adds passthru and meta to a derivation, as mkDerivation does.
  dress =
    derivation: passthru: meta:
    derivation // passthru // { inherit passthru meta; };

  names = builtins.listToAttrs (
    map
      (name: {
        inherit name;
        value = named name;
      })
      [
        "coreutils"
        "curl"
        "gnused"
        "jq"
        "socat"
        "util-linux"
        "virtiofsd"
        "iproute2"
        "glibc"
        "coreutils-full"
        "findutils"
        "gnugrep"
        "bash"
        "kmod-debian-aliases"
        "perl"
      ]
  );
  named = name: dress (build name { inherit name; } "mkdir -p $out/bin") { } { };

  vmm =
    name: file: extra:
    let
      self =
        dress
          (build "${name}-99.0" { version = "99.0"; } ''
            mkdir -p $out/bin $out/share
            cp ${hypervisor} $out/bin/${file}
            printf '#!/bin/sh\necho other "$@"\n' > $out/bin/${extra}
            chmod 0755 $out/bin/*
          '')
          { mark = "kept"; }
          { mainProgram = file; }
        // {
          override = _: self // { mark = "overridden"; };
          overrideAttrs = _: self // { mark = "overridden"; };
          configureFlags = [ "--enable-seccomp" ];
        };
    in
    self;

  pkgs = names // {
    _type = "pkgs";
    inherit lib;
    system = platform;
    stdenv =
      let
        simple = system: {
          inherit system;
          isx86_64 = system == "x86_64-linux";
          isAarch64 = system == "aarch64-linux";
          isLinux = true;
          isDarwin = false;
          linux-kernel.target = "Image";
        };
      in
      {
        hostPlatform = (lib.systems.elaborate or simple) platform;
        # Nix does not build the programs here, so package.nix must not execute the program that writes man pages.
        buildPlatform = pkgs.stdenv.hostPlatform // {
          canExecute = _: false;
        };
        targetPlatform = pkgs.stdenv.hostPlatform;
      };
    linux.target = "bzImage";
    buildPackages = pkgs;
    installShellFiles = named "installShellFiles";
    python3Packages.supervisor = named "supervisor";
    xorg.lndir = named "lndir";
    runtimeShell = "/bin/bash";

    callPackage =
      file: arguments:
      let
        function = import file;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) (pkgs // { lib = packageLib; }) // arguments);

    testers.runNixOSTest = test: named test.name // { inherit test; };
    mkShell = _: named "shell";
    writers = {
      writeJSON = name: value: pkgs.writeText name (builtins.toJSON value);
      writePython3 =
        name: _: _:
        named name;
    };
    replaceVars = file: _: file;
    writeText = name: text: build name {
      inherit text;
      passAsFile = [ "text" ];
    } "cat $textPath > $out";
    writeShellScript =
      name: text:
      build name {
        inherit text;
        passAsFile = [ "text" ];
      } ''{ printf '#!/bin/bash\n'; cat "$textPath"; } > $out; chmod 0755 $out'';
    writeShellScriptBin =
      name: text:
      let
        script = build name { } "mkdir -p $out/bin; cp ${pkgs.writeShellScript name text} $out/bin/${name}";
      in
      script // { overrideAttrs = _: script; };
    makeInitrdNG = _: named "initrd";
    buildEnv = _: named "env";
    makeModulesClosure = _: named "modules";
    closureInfo = _: named "closure";
    writeClosure = _: named "closure";
    runCommand =
      name: attributes: script:
      dress (build name (removeAttrs attributes [
        "passthru"
        "meta"
      ]) script) (attributes.passthru or { }) (attributes.meta or { });
    symlinkJoin =
      {
        name,
        paths,
        postBuild ? "",
        passthru ? { },
        meta ? { },
        ...
      }@arguments:
      dress
        (build name
          (removeAttrs arguments [
            "passthru"
            "meta"
            "name"
            "postBuild"
          ])
          ''
            mkdir -p $out
            for path in $paths; do cp -rs --no-preserve=mode "$path/." $out; done
            ${postBuild}
          ''
        )
        passthru
        meta;

    # Copies the finished programs from `programs`, and runs the real postInstall of the package.
    pkgsStatic.rustPlatform.buildRustPackage =
      {
        pname,
        version,
        src,
        postInstall,
        meta,
        ...
      }:
      dress (build "${pname}-static-${version}" { inherit version; } ''
        substituteInPlace() {
          files=()
          while [ "$1" != --replace-fail ]; do files+=("$1"); shift; done
          grep -qF -- "$2" "''${files[@]}"
          sed -i "s|$2|$3|g" "''${files[@]}"
        }
        installManPage() {
          for page; do
            mkdir -p $out/share/man/man''${page##*.}
            cp $page $out/share/man/man''${page##*.}
          done
        }
        mkdir -p $out/bin
        cp ${programs}/smbios-creds ${programs}/smbios-creds-host $out/bin
        # The third program, which is not one of those that the package installs.
        printf '#!/bin/sh\nexit 1\n' > $out/bin/smbios-creds-docs
        cd ${src}
        ${postInstall}
      '') { inherit pname; } meta;

    systemd = named "systemd" // {
      version = "257";
      interfaceVersion = 2;
      withEfi = true;
      withCryptsetup = false;
      withTpm2Tss = false;
      withUtmp = true;
      kmod = named "kmod";
      util-linux = named "util-linux";
    };

    cloud-hypervisor = vmm "cloud-hypervisor" "cloud-hypervisor" "ch-remote";
    cloud-hypervisor-graphics = pkgs.cloud-hypervisor;
    crosvm = vmm "crosvm" "crosvm" "other";
    qemu_kvm = vmm "qemu" "qemu-system-${builtins.head (builtins.split "-" system)}" "qemu-img";
    qemu = pkgs.qemu_kvm;
    firecracker = named "firecracker";
  };
in
pkgs
