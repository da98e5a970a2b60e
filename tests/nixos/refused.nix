# Configurations whose evaluation must fail: refusals.rs has the message of each.
{
  dropIn,
  guest,
  lib,
  machine,
  nixosModules,
  onAarch64,
  onCloudHypervisor,
  onMicrovm,
  onQ35,
  older,
  pkgs,
  runner,
  secret,
  trusting,
}:
let
  stringsOf =
    strings:
    runner {
      imports = [ onCloudHypervisor ];
      microvm.cloud-hypervisor.platformOEMStrings = strings;
    };
  trustedKeys = keys: trusting { services.smbios-creds.trustedKeys = lib.mkForce keys; };
  withoutKey = options: trustedKeysAnd options [ ];
  trustedKeysAnd =
    options: keys:
    trusting {
      imports = [ { services.smbios-creds = options; } ];
      services.smbios-creds.trustedKeys = lib.mkForce keys;
    };
  sealed = source: {
    services.smbios-creds.vms.web.credentials.api-key = {
      inherit source;
      encrypted = "guest";
    };
  };
  receiptWithoutVsock = runner {
    imports = [ onQ35 ];
    services.smbios-creds.receipt.enable = true;
  };
  requiring =
    name:
    guest {
      imports = [ onCloudHypervisor ];
      services.smbios-creds.required = [ name ];
    };
  # Stands for a runner of a user's own: a changed copy of microvm.nix's runner.
  foreign = pkgs.runCommand "own-runner" {
    passthru = {
      supportsNotifySocket = true;
      tapMultiQueue = false;
      canShutdown = true;
    };
  } "mkdir $out";
  setsRunner = {
    imports = [ onCloudHypervisor ];
    microvm.declaredRunner = foreign;
  };
in
{
  receipt-without-vsock = receiptWithoutVsock;
  secret-key = trustedKeys [ ./keys/secret.key ];
  secret-key-as-public = trustedKeys [ ./keys/secret.pub ];
  secret-key-text = trustedKeys [ (builtins.readFile ./keys/secret.key) ];
  damaged-key = trustedKeys [ ./keys/damaged.pub ];
  key-text = trustedKeys [ "hunter2" ];
  key-name = trustedKeys [ ./keys/owner.txt ];
  key-of-running-system = trustedKeys [ "/etc/keys/owner.pub" ];
  key-twice = trustedKeys [
    ./keys/owner.pub
    ./keys/owner.pub
  ];
  key-scripted = trusting { boot.initrd.systemd.enable = lib.mkForce false; };
  key-other-directory = trusting { boot.kernelParams = [ "CREDENTIALS_DIRECTORY=/run/other" ]; };
  key-kernel-credential = trusting { boot.kernelParams = [ "systemd.set_credential=api-key:hunter2" ]; };
  key-microvm = runner {
    imports = [ onCloudHypervisor ];
    services.smbios-creds.trustedKeys = [ ./keys/owner.pub ];
  };
  signed-without-key = withoutKey { manifest = "signed"; };
  audience-without-key = withoutKey { audience = [ "web01" ]; };
  serial-without-key = withoutKey { minSerial = 7; };
  audience-with-blank = trusting { services.smbios-creds.audience = [ "web 01" ]; };
  sealed-plain = dropIn (sealed ./keys/plain.cred);
  sealed-null-key = dropIn (sealed ./keys/null.cred);
  sealed-literal = dropIn (sealed "hunter2");
  sealed-microvm = dropIn {
    imports = [ (sealed "/srv/x.cred") ];
    microvm.vms.web.evaluatedConfig = guest onMicrovm;
  };
  sealed-kind = dropIn {
    services.smbios-creds.vms.web.credentials.api-key = {
      source = "/srv/x.cred";
      encrypted = "tpm2";
    };
  };
  literal = dropIn (secret "hunter2");
  empty-path = dropIn (secret "");
  lines = dropIn (secret "/begin\nhunter2");
  path = dropIn (secret ./eval.nix);
  store = dropIn (secret "${builtins.storeDir}/00000000000000000000000000000000-x");
  other-store = dropIn (secret "/nix/store/00000000000000000000000000000000-x");
  context = dropIn (secret "/proc/self/root${pkgs.coreutils}");
  not-generated = dropIn (secret "/no-such-path");
  no-source = dropIn { services.smbios-creds.vms.web.credentials.api-key = { }; };
  name = dropIn { services.smbios-creds.vms.web.credentials."a,b".source = "/run/secrets/x"; };
  not-wrapped = dropIn {
    imports = [ (secret "/run/secrets/api-key") ];
    microvm.vms.web.evaluatedConfig = machine [ onCloudHypervisor ];
  };
  not-enabled = dropIn {
    imports = [ (secret "/run/secrets/api-key") ];
    microvm.vms.web.evaluatedConfig = machine [
      nixosModules.microvm
      onCloudHypervisor
    ];
  };
  required-not-sent = dropIn {
    imports = [ (secret "/run/secrets/api-key") ];
    microvm.vms.web.evaluatedConfig = guest {
      imports = [ onCloudHypervisor ];
      services.smbios-creds.required = [
        "api-key"
        "db-password"
      ];
    };
  };
  required-without-entry = dropIn { microvm.vms.web.evaluatedConfig = requiring "db-password"; };
  required-by-other-host-name = dropIn {
    microvm.vms.web.evaluatedConfig = guest {
      imports = [ onCloudHypervisor ];
      networking.hostName = lib.mkForce "frontend";
      services.smbios-creds.required = [ "db-password" ];
    };
  };
  required-with-empty-entry = dropIn {
    services.smbios-creds.vms.web = { };
    microvm.vms.web.evaluatedConfig = requiring "db-password";
  };
  misspelt = dropIn {
    services.smbios-creds.vms.wbe.credentials.db-password.source = "/run/secrets/x";
    microvm.vms.web.evaluatedConfig = requiring "db-password";
  };
  misspelt-optional = dropIn {
    services.smbios-creds.vms.wbe.credentials.db-password.source = "/run/secrets/x";
    microvm.vms.web.evaluatedConfig = guest onCloudHypervisor;
  };
  declared-runner = runner setsRunner;
  declared-runner-forced = runner {
    imports = [ onQ35 ];
    microvm.declaredRunner = lib.mkForce foreign;
  };
  declared-runner-around-ours = runner (
    { config, ... }:
    {
      imports = [ onCloudHypervisor ];
      microvm.declaredRunner = pkgs.symlinkJoin {
        name = "around";
        paths = [ config.microvm.runner.cloud-hypervisor ];
      };
    }
  );
  declared-runner-older = older setsRunner;
  declared-runner-on-host = dropIn {
    imports = [ (secret "/run/secrets/api-key") ];
    microvm.vms.web.evaluatedConfig = guest {
      imports = [ setsRunner ];
      networking.hostName = lib.mkForce "frontend";
    };
  };
  runner-option = runner {
    imports = [ onCloudHypervisor ];
    microvm.runner.cloud-hypervisor = lib.mkForce foreign;
  };
  required-name = runner {
    imports = [ onCloudHypervisor ];
    services.smbios-creds.required = [ "a b" ];
  };
  dots = runner {
    imports = [ onCloudHypervisor ];
    services.smbios-creds.required = [ ".." ];
  };
  firecracker = runner { microvm.hypervisor = "firecracker"; };
  without-acpi = runner {
    imports = [ onMicrovm ];
    microvm.qemu.machineOpts.acpi = "off";
  };
  without-acpi-by-machine = runner {
    imports = [ onMicrovm ];
    microvm.qemu.machine = "microvm,acpi=off";
  };
  long-required-name = runner {
    imports = [ onMicrovm ];
    services.smbios-creds.required = [ "name-of-twenty-nine-character" ];
  };
  long-name-on-host = dropIn {
    services.smbios-creds.vms.web.credentials.name-of-twenty-nine-character.source = "/run/secrets/x";
    microvm.vms.web.evaluatedConfig = guest onMicrovm;
  };
  bin-scripts = runner {
    imports = [ onCloudHypervisor ];
    microvm.binScripts.microvm-run = "echo custom";
  };
  oem-string = stringsOf [ "io.systemd.credential:api-key=hunter2" ];
  oem-string-without-name = stringsOf [ "io.systemd.credential:hunter2" ];
  extra-args = runner {
    imports = [ onQ35 ];
    microvm.qemu.extraArgs = [
      "-smbios"
      "type=11,value=io.systemd.credential:api-key=hunter2"
    ];
  };
  aarch64 = onAarch64 onCloudHypervisor;
  aarch64-qemu = onAarch64 {
    microvm.hypervisor = "qemu";
    microvm.qemu.machine = "virt";
  };
  kernel-parameter = runner {
    imports = [ onCloudHypervisor ];
    boot.kernelParams = [ "systemd.set_credential=api-key:hunter2" ];
  };
  credential-file-in-store = runner {
    imports = [ onQ35 ];
    microvm.credentialFiles.api-key = "/nix/store/00000000000000000000000000000000-x";
  };
  credential-file = runner {
    imports = [ onQ35 ];
    microvm.credentialFiles.api-key = ./eval.nix;
  };
}
