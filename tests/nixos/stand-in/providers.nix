# Stand-ins for sops-nix, agenix and clan's vars: they declare the options in which these tools give the path of a
# secret.
lib: {
  sops.options = {
    sops.secrets = lib.mkOption {
      default = { };
      type = lib.types.attrsOf (
        lib.types.submodule (
          { name, ... }:
          {
            options = {
              path = lib.mkOption { default = "/run/secrets/${name}"; };
              restartUnits = lib.mkOption { default = [ ]; };
            };
          }
        )
      );
    };
  };
  age.options = {
    age.secrets = lib.mkOption {
      default = { };
      type = lib.types.attrsOf (
        lib.types.submodule (
          { name, ... }:
          {
            options = {
              path = lib.mkOption { default = "/run/agenix/${name}"; };
              file = lib.mkOption { };
            };
          }
        )
      );
    };
  };
  clan.options = {
    clan.core.vars.generators = lib.mkOption {
      default = { };
      type = lib.types.attrsOf (
        lib.types.submodule (
          { name, ... }:
          let
            generator = name;
          in
          {
            options = {
              script = lib.mkOption { };
              runtimeInputs = lib.mkOption { default = [ ]; };
              files = lib.mkOption {
                type = lib.types.attrsOf (
                  lib.types.submodule (
                    { name, ... }:
                    {
                      options = {
                        path = lib.mkOption { default = "/run/secrets/vars/per-machine/h/${generator}/${name}"; };
                        restartUnits = lib.mkOption { default = [ ]; };
                      };
                    }
                  )
                );
              };
            };
          }
        )
      );
    };
  };
}
