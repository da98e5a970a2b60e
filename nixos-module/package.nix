# The programs, static, with the units that the modules use. Needs Rust 1.93 or newer.
{
  lib,
  pkgsStatic,
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
      ../.cargo
      ../Cargo.lock
      ../Cargo.toml
      ../README.md
      ../examples
      ../integration
      ../src
      ../testdata
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # What tests/ has needs machines, hypervisors and root; ./tests/run has them.
  cargoTestFlags = [ "--lib" ];

  # Manual pages and completions belong here as well, as soon as there are any.
  postInstall = ''
    install -D -m 0644 -t $out/lib/systemd/system integration/systemd/*.service
    substituteInPlace $out/lib/systemd/system/*.service \
      --replace-fail /usr/bin/smbios-creds $out/bin/smbios-creds
  '';

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
