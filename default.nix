# Without flakes: `nix-build -A smbios-creds`, and `(import ./. { }).nixosModules.microvm` in an `imports`.
{
  pkgs ? import <nixpkgs> { },
}:
{
  smbios-creds = pkgs.callPackage ./nixos-module/package.nix { };

  nixosModules = {
    default = ./nixos-module;
    guest = ./nixos-module/guest.nix;
    host = ./nixos-module/host.nix;
    microvm = ./nixos-module/microvm.nix;
  };

  # Real virtual machines, with nixpkgs' test framework.
  tests = pkgs.callPackage ./tests/nixos/machines.nix { };
}
