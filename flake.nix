{
  description = "Credentials for virtual machines over SMBIOS Type 11";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      forEach = nixpkgs.lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsOf = system: nixpkgs.legacyPackages.${system};
      outputsOf = system: import ./. { pkgs = pkgsOf system; };
    in
    {
      packages = forEach (system: rec {
        inherit (outputsOf system) smbios-creds;
        default = smbios-creds;
      });

      overlays.default = final: _: { inherit (import ./. { pkgs = final; }) smbios-creds; };

      # These need no packages.
      inherit (import ./. { }) nixosModules;

      checks = forEach (system: { inherit (outputsOf system) smbios-creds; } // (outputsOf system).tests);

      devShells = forEach (system: {
        default = (pkgsOf system).mkShell {
          packages = with (pkgsOf system); [
            cargo
            clippy
            dmidecode
            nix
            qemu
            rustc
            rustfmt
            strace
          ];
        };
      });

      formatter = forEach (system: (pkgsOf system).nixfmt);
    };
}
