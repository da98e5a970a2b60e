# Module for a host of microvm.nix. It passes secrets to the units of virtual machines, as credentials of systemd. Only
# the host's configuration has these declarations, so the guest's closure has neither a secret nor the name of one.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkOption types;
  names = import ./name.nix;
  cfg = config.services.smbios-creds;

  # How a file of systemd-creds begins, in base64: 16 bytes that name the kind of key, and the sizes of AES-256-GCM.
  blob = "[A-Za-z0-9+/]{24}AAABAAAADAAAABAA";
  beginningOf = file: builtins.substring 0 40 (builtins.readFile file);
  nullKey = "BYRp2vb1QySABUnaD46i";

  # Returns why a file must not be the source of a credential, or null. No message shows the value of `source`, which
  # may be the secret itself.
  problemOf =
    encrypted: source:
    if builtins.isString source && source != "" && builtins.substring 0 1 source != "/" then
      ''
        it is not an absolute path. If it is the secret itself: that would be in the Nix store, for everybody to read.
        Name a file that exists at run time on the host, for instance config.sops.secrets.NAME.path.''
    else if source == "" then
      "it is empty. Name a file that exists at run time on the host."
    else if source == "/no-such-path" then
      ''
        clan has no file for it. Generate it ("clan vars generate"), and see that the generator's file is deployed
        (files.NAME.deploy = true).''
    else if lib.hasInfix "\n" (toString source) then
      "it has a line break, so it is no path. If it is the secret itself: that would be in the Nix store."
    else if encrypted == "guest" && builtins.isPath source && builtins.match blob (beginningOf source) == null then
      ''
        it is a path literal, which Nix copies into its store, and its content was not written by "systemd-creds encrypt".
        Encrypt the file with a key of the guest's.''
    else if encrypted == "guest" && builtins.isPath source && lib.hasPrefix nullKey (beginningOf source) then
      ''
        it was encrypted with the null key, which everybody has. Encrypt it with a key of the guest's:
        systemd-creds encrypt --with-key=tpm2.''
    else if encrypted != false then
      null
    else if builtins.isPath source then
      ''
        it is a path literal, which Nix copies into its store, for everybody to read. Write a string with an absolute path
        outside of the store, or encrypt the file with systemd-creds and set "encrypted = true".''
    else if builtins.hasContext source || lib.hasPrefix "${builtins.storeDir}/" source || lib.hasPrefix "/nix/store/" source then
      ''
        it is in the Nix store, where everybody can read it. Name a file that exists at run time on the host, for instance
        config.sops.secrets.NAME.path, or encrypt the file with systemd-creds and set "encrypted = true".''
    else
      null;

  credential =
    vm:
    { config, name, ... }:
    {
      options = {
        source = mkOption {
          type = types.either types.path types.str;
          example = lib.literalExpression "config.sops.secrets.db-password.path";
          description = ''
            File on the host that has the value, byte for byte, when the virtual machine is started. Root reads it. It
            must not be in the Nix store, unless it is `encrypted`.
          '';
          apply =
            source:
            let
              problem = problemOf config.encrypted source;
              option = "services.smbios-creds.vms.${vm}.credentials.${name}.source";
            in
            if problem != null then throw "${option}: ${problem}" else "${source}";
        };

        encrypted = mkOption {
          type = types.either types.bool (types.enum [
            "guest"
            "host"
          ]);
          default = false;
          description = ''
            Who can decrypt the file. `"host"`, or `true`: this host, by `systemd-creds encrypt --name=smbios-creds.NAME`.
            `"guest"`: systemd in the guest, by a key of the guest's (`systemd-creds encrypt --with-key=tpm2 --name=NAME`). It
            is sent as it is (`--encrypted`). Such a file may be in the Nix store.
          '';
          # `true` means the same as "host", so that the code below compares with "host" only.
          apply = kind: if kind == true then "host" else kind;
        };
      };
    };

  vm =
    { name, ... }:
    {
      options = {
        credentials = mkOption {
          type = types.attrsOf (types.submodule (credential name));
          default = { };
          description = "Credentials of the virtual machine, by the names that they have in the guest.";
        };

        receipt = mkOption {
          type = types.bool;
          default = ((guestOf name).services.smbios-creds.receipt or { }).enable or false;
          defaultText = lib.literalExpression "services.smbios-creds.receipt.enable of the guest, if this host declares it";
          description = ''
            Whether the start of `microvm@NAME.service` waits for the guest's receipt and fails without a good one. Set it
            for a machine that this host does not declare if its guest has `services.smbios-creds.receipt.enable`. The unit
            has started when the guest has its credentials, and no longer when the guest has booted (`Type=exec`).
          '';
        };

        restartTriggers = mkOption {
          type = types.listOf types.raw;
          default = [ ];
          example = lib.literalExpression "[ config.age.secrets.db-password.file ]";
          description = ''
            What restarts the virtual machine when it changes: the *encrypted* files of secrets, for instance. A value that
            was changed reaches the guest with its next start. Works for machines that microvm.nix restarts
            (`microvm.vms.NAME.restartIfChanged`).
          '';
        };
      };
    };

  # Throws for a name with a character that has a meaning on the launcher's or a hypervisor's command line.
  checked =
    vm: name:
    if names.isName name then
      name
    else
      throw ''
        services.smbios-creds.vms.${vm}.credentials: the name "${name}" cannot be used: letters, digits and "_@+.-" are
        what systemd's units and every hypervisor read alike, "-" not at its beginning, ${toString names.maximum} of them at most.'';

  # "%" begins a specifier in a unit.
  load =
    vm: isLoaded: credentials:
    lib.mapAttrsToList (
      name: credential:
      "${names.prefix}${checked vm name}:${builtins.replaceStrings [ "%" ] [ "%%" ] credential.source}"
    ) (lib.filterAttrs (_: credential: isLoaded credential.encrypted) credentials);

  isSealed = kind: kind == "guest";
  namesOf =
    vm: isMeant: credentials:
    map (checked vm) (
      builtins.attrNames (lib.filterAttrs (_: credential: isMeant credential.encrypted) credentials)
    );

  unit = name: vm: {
    # NixOS does not know the instances of imperative machines, and would write a whole unit without ExecStart=.
    overrideStrategy = "asDropin";
    path = lib.mkForce [ ];
    # The values of these variables are names of credentials, and no secrets. The runner refuses to start if one of these
    # credentials is missing.
    environment = lib.mapAttrs (_: lib.concatStringsSep ":") (
      {
        SMBIOS_CREDS = namesOf name (kind: !isSealed kind) vm.credentials;
      }
      // lib.filterAttrs (_: list: list != [ ]) { SMBIOS_CREDS_SEALED = namesOf name isSealed vm.credentials; }
    );
    serviceConfig =
      lib.filterAttrs (_: list: list != [ ]) {
        LoadCredential = load name (kind: kind != "host") vm.credentials;
        LoadCredentialEncrypted = load name (kind: kind == "host") vm.credentials;
      }
      // lib.optionalAttrs vm.receipt {
        ExecStartPost = [ "${config.microvm.stateDir or "/var/lib/microvms"}/${name}/current/bin/smbios-creds-await" ];
        # With Type=notify, systemd would run smbios-creds-await only after the guest has booted and sent its receipt.
        Type = lib.mkForce "exec";
      };
    inherit (vm) restartTriggers;
  };

  vms = lib.filterAttrs (_: vm: vm.credentials != { }) cfg.vms;

  # The configuration of a guest that this host knows, or null.
  guestOf =
    name:
    let
      vm = config.microvm.vms.${name} or { };
    in
    if !(options ? microvm) then
      null
    else if vm.flake or null != null then
      (vm.flake.nixosConfigurations.${name} or { }).config or null
    else if vm.evaluatedConfig or null != null then
      vm.evaluatedConfig.config
    else if vm.config or null != null then
      vm.config.config
    else
      null;

  # `declared` has the machines that this host declares. `unknown` has the names of all other entries: imperative
  # machines, or misspelt names.
  declared = config.microvm.vms or { };
  unknown = builtins.attrNames (removeAttrs vms (builtins.attrNames declared));
  othersAre = lib.optionalString (unknown != [ ]) ''
    These entries are for machines that microvm.vms does not have: ${lib.concatStringsSep ", " unknown}. If one of them is
    meant, correct its name.'';

  # Declared machines without an entry in `vms`, which would be started without credentials.
  withoutEntry = builtins.attrNames (removeAttrs declared (builtins.attrNames cfg.vms));
  assertionOfGuestWithoutEntry =
    name:
    let
      guest = guestOf name;
      creds = guest.services.smbios-creds or { };
      required = creds.required or [ ];
    in
    lib.optional (guest != null) {
      assertion = !(creds.enable or false);
      message = ''
        services.smbios-creds.vms has no entry "${name}", and the guest of microvm@${name}.service takes part
        (services.smbios-creds.enable)${
          lib.optionalString (required != [ ]) " and requires ${lib.concatStringsSep ", " required}"
        }. Declare services.smbios-creds.vms.${name}.credentials.NAME.source${
          lib.optionalString (required == [ ]) ", or services.smbios-creds.vms.${name} = { } if it gets none"
        }.
        ${othersAre}
      '';
    };

  # Assertions that fail if the guest would be started without the credentials that the host has for it.
  assertionsOf =
    name: vm:
    let
      guest = guestOf name;
      creds = guest.services.smbios-creds or { };
      # Only ./microvm.nix declares the option hostPackage. A guest that has it imports this module.
      wrapped = creds.enable or false && creds ? hostPackage;
      missing = lib.subtractLists (builtins.attrNames vm.credentials) (creds.required or [ ]);
      getsNone = vm.credentials == { };
      maximum = creds.nameMaximum or names.maximum;
      sealed = namesOf name isSealed vm.credentials;
      tooLong = lib.filter (name: builtins.stringLength name > maximum) (builtins.attrNames vm.credentials);
    in
    lib.optionals (guest != null) [
      {
        assertion = getsNone || wrapped;
        message = ''
          services.smbios-creds.vms.${name}: the guest's runner would not hand its credentials on. Import
          nixosModules.microvm in the guest's configuration, and set services.smbios-creds.enable = true there.
        '';
      }
      {
        assertion = getsNone || creds.runnerProblem or null == null;
        message = ''
          services.smbios-creds.vms.${name}: the guest sets ${toString (creds.runnerProblem or null)}, so microvm@${name}.service
          would start it by another runner, without its credentials. Remove it from the guest's configuration, or set
          services.smbios-creds.startsThroughOwnRunner = true there if that runner starts smbios-creds-host run.
        '';
      }
      {
        assertion = creds.enable or false -> tooLong == [ ];
        message = ''
          services.smbios-creds.vms.${name}.credentials: the guest is QEMU's machine "microvm", which gets credentials by
          fw_cfg. That carries names of at most ${toString maximum} characters. Shorten
          ${lib.concatStringsSep ", " tooLong}, or set microvm.qemu.machine = "q35" in the guest.
        '';
      }
      {
        assertion = sealed != [ ] -> creds.takesSealed or false;
        message = ''
          services.smbios-creds.vms.${name}.credentials: the guest cannot take ${lib.concatStringsSep ", " sealed}
          (encrypted = "guest"). QEMU's machine "microvm" carries none by fw_cfg: set microvm.qemu.machine = "q35" in the
          guest. If it is another machine, update nixosModules.microvm in the guest's configuration.
        '';
      }
      {
        assertion = creds.enable or false -> missing == [ ];
        message = ''
          services.smbios-creds.vms.${name}: the guest requires ${lib.concatStringsSep ", " missing}
          (services.smbios-creds.required), for which there is no services.smbios-creds.vms.${name}.credentials.NAME.source.
        '';
      }
    ];
in
{
  options.services.smbios-creds.vms = mkOption {
    type = types.attrsOf (types.submodule vm);
    default = { };
    description = ''
      Virtual machines of microvm.nix that get credentials, by their names: `microvm@NAME.service`, declarative or not.
    '';
  };

  config = {
    assertions =
      lib.concatLists (lib.mapAttrsToList assertionsOf cfg.vms) ++ lib.concatMap assertionOfGuestWithoutEntry withoutEntry;

    warnings = lib.optional (unknown != [ ] && withoutEntry != [ ]) ''
      services.smbios-creds.vms: ${othersAre}
      For a machine that gets no credentials, set services.smbios-creds.vms.NAME = { } to say so, for each of these:
      ${lib.concatStringsSep ", " withoutEntry}.
    '';

    systemd.services = lib.mkMerge [
      (lib.mapAttrs' (name: vm: lib.nameValuePair "microvm@${name}" (unit name vm)) vms)
      # All virtual machines run as the same user. A unit with its own mount namespace sees only its own credentials, so
      # units without credentials need a mount namespace as well.
      (lib.optionalAttrs (options ? microvm) (
        lib.mkIf (vms != { }) { "microvm@".serviceConfig.PrivateMounts = lib.mkDefault true; }
      ))
    ];
  };
}
