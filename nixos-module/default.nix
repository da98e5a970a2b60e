# For a guest and for a host. Neither does anything before it is told to. A guest of microvm.nix imports ./microvm.nix.
{
  imports = [
    ./guest.nix
    ./host.nix
  ];
}
