# Imports the modules for a guest and for a host. Neither module changes anything until its options are set. A guest of
# microvm.nix imports ./microvm.nix instead.
{
  imports = [
    ./guest.nix
    ./host.nix
  ];
}
