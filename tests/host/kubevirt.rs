//! `on-define-domain`: what `KubeVirt`'s hook makes of a domain.

use smbios_creds::host::hypervisor::libvirt::edit::{EditError, with_arguments};
use testkit::host::host;
use testkit::{canary, code, holds, run, stderr, stdout};

/// Recorded domains, by their files.
const RECORDED: [&str; 3] = ["hook", "openshift", "lun"];

const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

const ARGUMENTS: [&str; 2] = ["-smbios", "file=/var/run/smbios-creds/0"];

fn recorded(name: &str) -> String {
    std::fs::read_to_string(testkit::testdata("kubevirt").join(format!("{name}.xml"))).unwrap()
}

/// Returns a machine as `KubeVirt` writes it (JSON), with these annotations and this user data for cloud-init.
fn machine(annotations: &str, other: &str) -> String {
    format!(
        r#"{{"kind":"VirtualMachineInstance","metadata":{{"name":"web","annotations":{annotations}}},
            "spec":{{"volumes":[{{"name":"init","cloudInitNoCloud":{{"userData":"{other}"}}}}]}}}}"#
    )
}

fn annotated(files: &str) -> String {
    let annotations = format!(
        r#"{{"kubevirt.io/vm-generation":"1","smbios-creds.io/secret":"web-credentials","smbios-creds.io/files":"{files}"}}"#
    );
    machine(&annotations, "#cloud-config")
}

fn hook(vmi: &str, domain: &str) -> std::process::Output {
    run(&mut host(&["on-define-domain", "--vmi", vmi, "--domain", domain]))
}

/// Returns the piece that was added to `before` to make `after`, and asserts that this is the only change.
fn added(before: &str, after: &str) -> String {
    let same = |(a, b): &(u8, u8)| a == b;
    let head = before.bytes().zip(after.bytes()).take_while(same).count();
    let most = before.len() - head;
    let tail = before.bytes().rev().zip(after.bytes().rev()).take_while(same).count().min(most);
    assert_eq!(head + tail, before.len(), "something else has changed: {after}");
    after[head..after.len() - tail].to_owned()
}

#[test]
fn recorded_domains_differ_only_by_the_arguments() {
    for name in RECORDED {
        let domain = recorded(name);
        let output = hook(&annotated("3"), &domain);
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{name}");
        let added = added(&domain, &stdout(&output));
        let values: Vec<&str> =
            added.split("value='").skip(1).map(|rest| rest.split('\'').next().unwrap()).collect();
        let file = |number| format!("file=/var/run/smbios-creds/{number}");
        assert_eq!(
            values,
            ["-smbios", &file(0), "-smbios", &file(1), "-smbios", &file(2)],
            "{name}: {added}"
        );
        let declarations = stdout(&output).matches(NAMESPACE).count();
        assert_eq!(declarations, 1, "{name}: the namespace is declared once");
    }
}

#[test]
fn arguments_are_added_after_those_that_are_there() {
    let add = |domain: &str| with_arguments(domain, &ARGUMENTS).unwrap();
    let elements = |prefix: &str| {
        format!("  <{prefix}arg value='-smbios'/>\n  <{prefix}arg value='file=/var/run/smbios-creds/0'/>\n")
    };
    let own =
        format!("<qemu:commandline xmlns:qemu='{NAMESPACE}'>\n{}</qemu:commandline>\n", elements("qemu:"));
    for (before, expected, after) in [
        // The new element uses the namespace prefix of the root element, or declares a prefix of its own.
        (
            format!("<domain xmlns:q='{NAMESPACE}'>\n"),
            format!("<q:commandline>\n{}</q:commandline>\n", elements("q:")),
            "</domain>",
        ),
        ("<domain><name>a</name>".to_owned(), own.clone(), "</domain>\n<!-- end -->\n"),
        ("<domain xmlns:qemu='urn:other'>".to_owned(), own.clone(), "</domain>"),
        // An element for arguments that is already there gets the further arguments.
        (
            format!(
                "<domain xmlns:qemu='{NAMESPACE}'><qemu:commandline><qemu:arg value='-fw_cfg'></qemu:arg>\
                 <qemu:arg value='name=opt/com.coreos/config,file=/x'/>"
            ),
            elements("qemu:"),
            "</qemu:commandline><devices/></domain>",
        ),
        (
            format!("<domain><commandline xmlns='{NAMESPACE}'><arg value='-smbios'/>"),
            elements(""),
            "</commandline></domain>",
        ),
        // Comments, metadata and text that only look like the place for arguments are not changed.
        (
            format!(
                "<?xml version='1.0' encoding='utf-8'?><!-- </domain> --><domain xmlns:qemu='{NAMESPACE}'>\
                 <metadata><qemu:commandline><qemu:arg value='{}'/></qemu:commandline></metadata><commandline/>\
                 <description a='>'>&lt;/domain><![CDATA[</domain><qemu:commandline>]]></description>",
                ARGUMENTS[1]
            ),
            format!("<qemu:commandline>\n{}</qemu:commandline>\n", elements("qemu:")),
            "</domain>",
        ),
    ] {
        assert_eq!(add(&format!("{before}{after}")), format!("{before}{expected}{after}"));
    }
    let empty = format!("<domain xmlns:qemu='{NAMESPACE}'><qemu:commandline /></domain>");
    let opened = format!("<qemu:commandline >\n{}</qemu:commandline></domain>", elements("qemu:"));
    assert_eq!(add(&empty), format!("<domain xmlns:qemu='{NAMESPACE}'>{opened}"));
}

#[test]
fn domain_that_can_be_read_in_two_ways_is_refused() {
    let add = |domain: &str| with_arguments(domain, &ARGUMENTS).unwrap_err();
    for damaged in [
        "<domain><name></domain>",
        "<domain><name a='1' a='2'/></domain>",
        "<domain><name a=1/></domain>",
        "<domain>",
        "<domain",
        "<domain></domain",
        "</domain>",
    ] {
        assert!(matches!(add(damaged), EditError::Malformed(_)), "{damaged}: {:?}", add(damaged));
    }
    for other in [
        "",
        "text",
        "<domain/>",
        "<network></network>",
        "<domain xmlns='urn:other'></domain>",
        "<domain></domain><domain></domain>",
        "<domain></domain>text",
        "<domain></domain>&lt;",
        "<![CDATA[<domain></domain>]]>",
    ] {
        assert_eq!(add(other), EditError::NoDomain, "{other}");
    }
    assert_eq!(add("<!DOCTYPE domain [<!ENTITY x 'y'>]><domain></domain>"), EditError::DocumentType);
    assert_eq!(add("<?xml version='1.0' encoding='UTF-16'?><domain></domain>"), EditError::Encoding);
    let line = "<q:commandline></q:commandline>";
    for twice in [[line, line].concat(), [line, "<q:commandline/>"].concat()] {
        assert_eq!(add(&format!("<domain xmlns:q='{NAMESPACE}'>{twice}</domain>")), EditError::Twice);
    }
    let once = with_arguments(&recorded("hook"), &ARGUMENTS).unwrap();
    assert_eq!(add(&once), EditError::Present, "a hook that is asked for twice sends no structure twice");
    let written = "<q:arg value=\"file=/var/run/smbios&#45;creds/0\"/>";
    let other = format!("<domain xmlns:q='{NAMESPACE}'><q:commandline>{written}</q:commandline></domain>");
    assert_eq!(add(&other), EditError::Present);
}

/// Asserts that the hook fails with these words, and that its message shows neither the machine nor the domain.
fn refused(vmi: &str, domain: &str, words: &str, canary: &[u8]) {
    let output = hook(vmi, domain);
    assert_eq!((code(&output), stdout(&output)), (3, String::new()), "{words}");
    assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
    assert!(stderr(&output).contains("the machine does not start"), "{}", stderr(&output));
    assert!(!holds(&output.stderr, canary), "{}", stderr(&output));
}

#[test]
fn hook_fails_without_annotations_and_shows_no_text() {
    let canary = canary();
    let secret = std::str::from_utf8(&canary).unwrap();
    let domain = recorded("hook");
    let of = |annotations: &str| machine(annotations, secret);
    let only_files = r#"{"smbios-creds.io/files":"2"}"#;
    let only_secret = r#"{"smbios-creds.io/secret":"web"}"#;
    let no_name = r#"{"smbios-creds.io/secret":"","smbios-creds.io/files":"2"}"#;
    for (vmi, words) in [
        (of("{}"), "no annotation smbios-creds.io/secret"),
        (of("null"), "no annotation smbios-creds.io/secret"),
        ("{}".to_owned(), "no annotation smbios-creds.io/secret"),
        (of(only_files), "no annotation smbios-creds.io/secret"),
        (of(no_name), "no annotation smbios-creds.io/secret"),
        (of(only_secret), "no annotation smbios-creds.io/files"),
        (
            of(&format!(r#"{{"smbios-creds.io/files":{{"{secret}":1}}}}"#)),
            "is not JSON with annotations as text",
        ),
        (of(&format!(r#""{secret}""#)), "is not JSON with annotations as text"),
        (secret.to_owned(), "is not JSON with annotations as text (line 1, column "),
    ] {
        refused(&vmi, &domain, words, &canary);
    }
    for files in ["", "0", "04", "+4", " 4", "4 ", "-1", "65", "1.0", "99999", secret] {
        refused(&annotated(files), &domain, "smbios-creds.io/files is not a number from 1 to 64", &canary);
    }
    for (domain, words) in [
        (format!("<domain><name>{secret}</{secret}></domain>"), "is not well-formed XML at byte "),
        (format!("<{secret}></{secret}>"), "must be a single <domain> of libvirt"),
        (format!("<domain></domain>{secret}"), "must be a single <domain> of libvirt"),
    ] {
        refused(&annotated("2"), &domain, words, &canary);
    }
    for files in ["1", "64"] {
        let output = hook(&annotated(files), &domain);
        assert_eq!(stdout(&output).matches("'-smbios'").count().to_string(), files);
    }
}
