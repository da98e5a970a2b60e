//! Configurations whose evaluation must fail, and the messages.

use crate::nix::routes;

/// Each attribute of `refused` in eval.nix, with parts of the message that its evaluation must print.
const REFUSALS: [(&str, &[&str]); 62] = [
    ("receipt-without-vsock", &["services.smbios-creds.receipt", "has no vsock", "Set microvm.vsock.cid"]),
    ("secret-key", &[KEYS, "keys/secret.key is a minisign SECRET key", "Give the public key"]),
    ("secret-key-as-public", &[KEYS, "keys/secret.pub is a minisign SECRET key"]),
    ("secret-key-text", &[KEYS, "a text is a minisign SECRET key"]),
    ("damaged-key", &[KEYS, "keys/damaged.pub is no public key", "56 characters"]),
    ("key-text", &[KEYS, "a text is no public key"]),
    ("key-name", &[KEYS, "keys/owner.txt needs another name", "\".pub\" at its end"]),
    ("key-of-running-system", &[KEYS, "/etc/keys/owner.pub is a path of the running system", "path literal"]),
    ("key-twice", &[KEYS, "more than one key has the file name owner.pub,"]),
    ("key-scripted", &[KEYS, "scripted initrd", "boot.initrd.systemd.enable = true"]),
    ("key-other-directory", &[KEYS, "boot.kernelParams sets CREDENTIALS_DIRECTORY"]),
    ("key-kernel-credential", &[KEYS, "boot.kernelParams (systemd.set_credential)", "lost"]),
    ("key-microvm", &[KEYS, "nobody has signed", "services.smbios-creds.startsThroughOwnRunner = true"]),
    ("signed-without-key", &["services.smbios-creds.manifest: ", "services.smbios-creds.trustedKeys"]),
    ("audience-without-key", &["services.smbios-creds.audience: ", "services.smbios-creds.trustedKeys"]),
    ("serial-without-key", &["services.smbios-creds.minSerial: ", "services.smbios-creds.trustedKeys"]),
    ("audience-with-blank", &["services.smbios-creds.audience", "is not of type"]),
    ("sealed-plain", &[SOURCE, "path literal", "not written by \"systemd-creds encrypt\""]),
    ("sealed-null-key", &[SOURCE, "with the null key, which everybody has"]),
    ("sealed-literal", &[SOURCE, "it is not an absolute path"]),
    ("sealed-microvm", &["vms.web.credentials: the guest cannot take api-key", OTHER_MACHINE]),
    ("sealed-kind", &["services.smbios-creds.vms.web.credentials.api-key.encrypted", "is not of type"]),
    ("literal", &[SOURCE, "it is not an absolute path", "in the Nix store", "config.sops.secrets.NAME.path"]),
    ("empty-path", &[SOURCE, "it is empty"]),
    ("lines", &[SOURCE, "it has a line break"]),
    ("path", &[SOURCE, "path literal, which Nix copies into its store", "encrypted = true"]),
    ("store", &[SOURCE, "it is in the Nix store"]),
    ("other-store", &[SOURCE, "it is in the Nix store"]),
    ("context", &[SOURCE, "it is in the Nix store"]),
    ("not-generated", &[SOURCE, "clan vars generate", "deploy = true"]),
    (
        "no-source",
        &["services.smbios-creds.vms.web.credentials.api-key.source' was accessed but has no value defined"],
    ),
    ("name", &["services.smbios-creds.vms.web.credentials: the name \"a,b\" cannot be used"]),
    (
        "not-wrapped",
        &["vms.web: the guest's runner would not hand its credentials on", "nixosModules.microvm"],
    ),
    ("not-enabled", &["vms.web: the guest's runner would not hand its credentials on", "enable = true"]),
    ("required-not-sent", &["vms.web: the guest requires db-password\n", "credentials.NAME.source"]),
    ("required-without-entry", &[NO_ENTRY, "microvm@web.service", "and requires db-password", SOURCE_OF_WEB]),
    ("required-by-other-host-name", &[NO_ENTRY, "microvm@web.service", "and requires db-password"]),
    ("required-with-empty-entry", &["vms.web: the guest requires db-password\n"]),
    (
        "misspelt",
        &[NO_ENTRY, "and requires db-password", "microvm.vms does not have: wbe.", "correct its name"],
    ),
    ("misspelt-optional", &[NO_ENTRY, "services.smbios-creds.vms.web = { }", "does not have: wbe."]),
    ("declared-runner", &["microvm.declaredRunner is set", OWN_RUNNER, "microvm.extraArgsScript"]),
    ("declared-runner-forced", &["microvm.declaredRunner is set", OWN_RUNNER]),
    ("declared-runner-around-ours", &["microvm.declaredRunner is set", OWN_RUNNER]),
    ("declared-runner-older", &["microvm.declaredRunner is set", OWN_RUNNER]),
    (
        "declared-runner-on-host",
        &["vms.web: the guest sets microvm.declaredRunner, so microvm@web.service", OWN_RUNNER],
    ),
    ("runner-option", &["microvm.runner.cloud-hypervisor is set", OWN_RUNNER]),
    ("required-name", &["services.smbios-creds.required", "is not of type"]),
    ("dots", &["services.smbios-creds.required", "are no names"]),
    ("firecracker", &["microvm.hypervisor = \"firecracker\" has no SMBIOS", "\"crosvm\", or \"qemu\"."]),
    ("without-acpi", &["acpi=off from microvm.qemu.machineOpts", "fw_cfg", OTHER_MACHINE]),
    ("without-acpi-by-machine", &["acpi=off from", "microvm.qemu.machine, or", OTHER_MACHINE]),
    (
        "long-required-name",
        &[
            "services.smbios-creds.required: fw_cfg",
            "most 28 characters",
            "Shorten name-of-twenty-nine-character,",
            OTHER_MACHINE,
        ],
    ),
    (
        "long-name-on-host",
        &[
            "services.smbios-creds.vms.web.credentials: ",
            "at most 28 characters",
            "name-of-twenty-nine-character,",
            OTHER_MACHINE,
        ],
    ),
    ("bin-scripts", &["microvm.binScripts.microvm-run is ignored", "remove it", "microvm.preStart"]),
    ("oem-string", &["microvm.cloud-hypervisor.platformOEMStrings (io.systemd.credential:api-key)", ON_HOST]),
    (
        "oem-string-without-name",
        &["microvm.cloud-hypervisor.platformOEMStrings (one without a '=')", ON_HOST],
    ),
    ("extra-args", &["microvm.qemu.extraArgs", ON_HOST]),
    ("kernel-parameter", &["boot.kernelParams (systemd.set_credential)", ON_HOST]),
    ("credential-file-in-store", &["microvm.credentialFiles.api-key", ON_HOST]),
    ("credential-file", &["microvm.credentialFiles.api-key", ON_HOST]),
    ("aarch64", &["cloud-hypervisor has SMBIOS on x86-64 alone"]),
    ("aarch64-qemu", &["through UEFI firmware alone"]),
];

const KEYS: &str = "services.smbios-creds.trustedKeys: ";
const SOURCE: &str = "services.smbios-creds.vms.web.credentials.api-key.source: ";
const ON_HOST: &str = "services.smbios-creds.vms.VM.credentials.NAME.source on the host";
const NO_ENTRY: &str = "services.smbios-creds.vms has no entry \"web\"";
const SOURCE_OF_WEB: &str = "services.smbios-creds.vms.web.credentials.NAME.source";
const OTHER_MACHINE: &str = "microvm.qemu.machine = \"q35\"";
const OWN_RUNNER: &str = "services.smbios-creds.startsThroughOwnRunner = true";

#[test]
fn what_leaks_or_loses_a_secret_is_refused_by_the_name_of_its_option() {
    for route in routes() {
        for (case, parts) in REFUSALS {
            let message = route.refusal(&format!("refused.{case}"));
            for part in parts {
                assert!(message.contains(part), "{}, {case}: no '{part}' in: {message}", route.name);
            }
        }
    }
}

#[test]
fn names_are_accepted_up_to_what_the_way_into_the_machine_carries() {
    for route in routes() {
        let longest = route.value("values.longest-names");
        for (machine, name) in
            [("microvm", "name-of-twenty-eight-charact"), ("q35", "name-of-twenty-nine-character")]
        {
            let line = format!("LoadCredential=smbios-creds.{name}:/run/secrets/x\n");
            assert!(longest[machine].as_str().unwrap().contains(&line), "{}: {longest}", route.name);
        }
    }
}

#[test]
fn own_runner_empty_entry_and_imperative_machine_are_accepted_if_declared() {
    for route in routes() {
        let meant = route.value("values.meant");
        assert_eq!(meant["own-runner"], "coreutils", "{}", route.name);
        assert!(!meant["without-credentials"].as_str().unwrap().contains("LoadCredential"), "{meant}");
        assert!(
            meant["imperative"].as_str().unwrap().contains("LoadCredential=smbios-creds.api-key"),
            "{meant}"
        );
        let warnings = meant["warnings"].as_array().unwrap();
        let misspelt = warnings[0][0].as_str().unwrap();
        assert!(misspelt.contains("does not have: wbe.") && misspelt.contains("these:\nweb."), "{misspelt}");
        assert_eq!(warnings[1].as_array().unwrap().len(), 0, "{meant}");
    }
}

#[test]
fn no_refusal_shows_what_may_be_the_secret() {
    let cases = [
        "literal",
        "lines",
        "oem-string",
        "oem-string-without-name",
        "extra-args",
        "kernel-parameter",
        "sealed-plain",
        "sealed-literal",
        "secret-key",
        "secret-key-as-public",
        "secret-key-text",
        "key-text",
        "key-kernel-credential",
    ];
    for route in routes() {
        for case in cases {
            let message = route.refusal(&format!("refused.{case}"));
            assert!(!message.contains("hunter2"), "{}, {case}: {message}", route.name);
        }
    }
}
