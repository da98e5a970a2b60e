# Package with the static programs, and with the units that the modules use. The build needs Rust 1.93 or newer.
{
  lib,
  callPackage,
  installShellFiles,
  pkgsStatic,
  stdenv,
}:
let
  manifest = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).package;
in
pkgsStatic.rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../README.md
      ../docs/library.md
      ../build.rs
      ../examples
      ../integration
      ../link
      ../man
      ../src
      ../testdata
      ../tests
      ../tools
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # The tests in tests/ need virtual machines, hypervisors and root. ./tests/run runs them.
  cargoTestFlags = [ "--lib" ];

  # smbios-creds-docs writes man pages and completions, if the machine that builds it can execute it.
  cargoBuildFlags = [
    "--package=smbios-creds"
    "--package=smbios-creds-docs"
  ];
  nativeBuildInputs = [ installShellFiles ];

  postInstall = ''
    installManPage man/*
    ln -s smbios-creds-host $out/bin/qemu-with-credentials
    ${lib.optionalString (stdenv.buildPlatform.canExecute pkgsStatic.stdenv.hostPlatform) ''
      $out/bin/smbios-creds-docs written
      installManPage written/man/*.1
      for program in smbios-creds smbios-creds-host; do
        installShellCompletion --bash written/completions/$program.bash --fish written/completions/$program.fish \
          --zsh written/completions/_$program
      done
    ''}
    # It is for the build only.
    rm $out/bin/smbios-creds-docs
    install -D -m 0644 -t $out/lib/systemd/system integration/systemd/*.service
    substituteInPlace $out/lib/systemd/system/*.service \
      --replace-fail /usr/bin/smbios-creds $out/bin/smbios-creds
  '';

  # Tests that boot real virtual machines.
  passthru.tests = callPackage ../tests/nixos/machines.nix { };

  meta = {
    inherit (manifest) description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = manifest.name;
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
