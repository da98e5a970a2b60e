//! What is refused while it is evaluated, and what the message says.

use crate::nix::routes;

/// An attribute of `refused` in eval.nix, and parts of the message.
const REFUSALS: [(&str, &[&str]); 26] = [
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
    ("required-name", &["services.smbios-creds.required", "is not of type"]),
    ("dots", &["services.smbios-creds.required", "are no names"]),
    (
        "firecracker",
        &["microvm.hypervisor = \"firecracker\" has no SMBIOS", "microvm.qemu.machine = \"q35\""],
    ),
    ("machine-microvm", &["machine \"microvm\"", "has no SMBIOS", "Set microvm.qemu.machine = \"q35\""]),
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

const SOURCE: &str = "services.smbios-creds.vms.web.credentials.api-key.source: ";
const ON_HOST: &str = "services.smbios-creds.vms.\"web\".credentials.NAME.source on the host";

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
fn no_refusal_shows_what_may_be_the_secret() {
    let cases =
        ["literal", "lines", "oem-string", "oem-string-without-name", "extra-args", "kernel-parameter"];
    for route in routes() {
        for case in cases {
            let message = route.refusal(&format!("refused.{case}"));
            assert!(!message.contains("hunter2"), "{}, {case}: {message}", route.name);
        }
    }
}
