//! `integration/kubevirt`: the script of the hook, and values in the manifests that must equal those in the program.

use std::fs;
use std::path::Path;
use std::process::Command;

use saphyr::{LoadableYamlNode as _, Yaml};
use smbios_creds::host::kubevirt::{DIRECTORY, FILES_MAX};
use testkit::{code, project, run, stderr, stdout, write_program};

fn read(file: &str) -> String {
    fs::read_to_string(project("integration/kubevirt").join(file)).unwrap()
}

/// The documents of a manifest, by their kinds.
fn documents(text: &str) -> Vec<(String, Yaml<'_>)> {
    let documents = Yaml::load_from_str(text).unwrap();
    let kind = |document: &Yaml<'_>| document["kind"].as_str().unwrap().to_owned();
    documents.into_iter().map(|document| (kind(&document), document)).collect()
}

fn the<'a>(documents: &'a [(String, Yaml<'a>)], kind: &str) -> &'a Yaml<'a> {
    let mut found = documents.iter().filter(|(found, _)| found == kind);
    let (Some((_, document)), None) = (found.next(), found.next()) else { panic!("not one {kind}") };
    document
}

#[test]
fn hook_of_the_image_writes_a_domain_as_kubevirt_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = read("onDefineDomain");
    let program = testkit::program("smbios-creds-host");
    assert!(script.contains("/usr/bin/smbios-creds-host"));
    let script = script.replace("/usr/bin/smbios-creds-host", program.to_str().unwrap());
    let hook = folder.path().join("onDefineDomain");
    write_program(&hook, script, 0o755);
    let patch = read("machine.yaml");
    let patch = Yaml::load_from_str(&patch).unwrap();
    let annotations = &patch[0]["spec"]["template"]["metadata"]["annotations"];
    let files = annotations["smbios-creds.io/files"].as_str().unwrap();
    let vmi = format!(
        r#"{{"metadata":{{"annotations":{{"smbios-creds.io/secret":"web","smbios-creds.io/files":"{files}"}}}}}}"#
    );
    let output = run(Command::new(&hook).args(["--vmi", &vmi, "--domain", "<domain></domain>"]));
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(stdout(&output).matches("'-smbios'").count().to_string(), files);
    let output = run(Command::new(&hook).args(["--vmi", "{}", "--domain", "<domain></domain>"]));
    assert_eq!((code(&output), stdout(&output).as_str()), (3, ""), "KubeVirt does not start the machine");
}

#[test]
fn policy_mounts_the_secret_where_the_domain_names_its_files() {
    let text = read("policy.yaml");
    let documents = documents(&text);
    let spec = &the(&documents, "MutatingAdmissionPolicy")["spec"];
    let expression = spec["mutations"][0]["applyConfiguration"]["expression"].as_str().unwrap();
    for part in [
        format!("mountPath: '{DIRECTORY}'"),
        "secretName: object.metadata.annotations['smbios-creds.io/secret']".to_owned(),
        // Mode 0440: root owns the files, and KubeVirt gives them the group of the pod, in which QEMU runs.
        format!("defaultMode: {}", 0o440),
        "optional: false".to_owned(),
    ] {
        assert!(expression.contains(&part), "{part}: {expression}");
    }
    assert_eq!(spec["failurePolicy"].as_str(), Some("Fail"));
    for (kind, binding) in [
        ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
        ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    ] {
        let name = the(&documents, kind)["metadata"]["name"].as_str();
        assert_eq!(the(&documents, binding)["spec"]["policyName"].as_str(), name);
    }
}

#[test]
fn policy_allows_the_hook_of_the_machine_and_no_other() {
    let (policy, machine) = (read("policy.yaml"), read("machine.yaml"));
    let documents = documents(&policy);
    let spec = &the(&documents, "ValidatingAdmissionPolicy")["spec"];
    assert_eq!(spec["failurePolicy"].as_str(), Some("Fail"));
    let binding = &the(&documents, "ValidatingAdmissionPolicyBinding")["spec"];
    assert_eq!(binding["validationActions"][0].as_str(), Some("Deny"));
    assert_eq!(binding["paramRef"]["parameterNotFoundAction"].as_str(), Some("Deny"));
    let parameters = the(&documents, "ConfigMap");
    for key in ["name", "namespace"] {
        assert_eq!(parameters["metadata"][key].as_str(), binding["paramRef"][key].as_str());
    }
    let allowed = parameters["data"]["hookSidecars"].as_str().unwrap();
    let machine = Yaml::load_from_str(&machine).unwrap();
    let annotations = &machine[0]["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["hooks.kubevirt.io/hookSidecars"].as_str(), Some(allowed));
    let sidecars: serde_json::Value = serde_json::from_str(allowed).unwrap();
    assert!(sidecars[0]["image"].as_str().unwrap().contains("@sha256:"), "a tag can be moved");
    // The policy must allow the same numbers of files as the program.
    let rules = spec["validations"].as_vec().unwrap();
    let rules: Vec<&str> = rules.iter().map(|rule| rule["expression"].as_str().unwrap()).collect();
    assert!(rules.iter().any(|rule| rule.contains("'^([1-9]|[1-5][0-9]|6[0-4])$'")) && FILES_MAX == 64);
    assert!(Path::new(DIRECTORY).is_absolute());
}
