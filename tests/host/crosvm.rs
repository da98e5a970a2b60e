//! The command line of crosvm: what is merged, and what is refused.

use smbios_creds::host::hypervisor::crosvm;
use testkit::host::{CROSVM, crosvm_list, plan, refusal, render};

#[test]
fn strings_are_merged_into_crosvms_one_smbios() {
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&["run", "k"], &[], ""),
        (&["--log-level", "info", "run", "--smbios", "", "k"], &[], ""),
        (
            &["run", "--smbios=bios-version=\"1,2\",oem-strings=[a,'b,\"c',\"d\\\"\\\\\"]"],
            &["a", "b,\"c", "d\"\\"],
            "bios-version=\"1,2\",",
        ),
        (
            &["run", "--smbios", "oem-strings=[],uuid=01234567-89ab-cdef-0123-456789abcdef"],
            &[],
            "uuid=01234567-89ab-cdef-0123-456789abcdef,",
        ),
        (&["run", "--smbios", "bios-vendor=a-1.2"], &[], "bios-vendor=a-1.2,"),
    ];
    for (arguments, kept, others) in cases {
        let plan = plan(CROSVM, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let (rendered, _) = render(&plan.arguments);
        let at = rendered.iter().position(|argument| argument == "--smbios").unwrap();
        assert!(rendered.iter().position(|argument| argument == "run").unwrap() < at);
        let list = rendered[at + 1].strip_prefix(&format!("{others}oem-strings=")).unwrap();
        let strings = crosvm_list(list).unwrap();
        assert_eq!(strings[..strings.len() - 2], *kept, "{arguments:?}");
    }
    let refused: [(&[&str], &str); 10] = [
        (&["stop", "socket"], "does not start a machine"),
        (&["run", "--oem-strings", "Canary"], "deprecated"),
        (&["run", "--smbios", "manufacturer=a", "--smbios=uuid=b"], "--smbios is given twice"),
        (&["run", "--smbios", "oem-strings=Canary"], "not a list in brackets"),
        (&["run", "--smbios", "oem-strings=[Canary"], "not balanced"),
        (&["run", "--smbios", "oem-strings=[\"Canary]"], "not balanced"),
        (&["run", "--smbios", "oem-strings=[Canary\"x\"]"], "quotes that do not surround"),
        (&["run", "--smbios", "oem-strings=[Canary,,b]"], "nothing between two commas"),
        (&["run", "--smbios", r#"oem-strings=["Canary\n"]"#], "'\\' in quotes"),
        (&["run", "--smbios", "oem-strings=[a],oem-strings=[Canary]"], "twice"),
    ];
    for (arguments, message) in refused {
        let refusal = refusal(CROSVM, arguments);
        assert!(refusal.contains(message) && !refusal.contains("Canary"), "{arguments:?}: {refusal}");
    }
    let line = crosvm::Smbios::read("aarch64", &["run".into()]);
    assert!(line.unwrap_err().to_string().contains("no SMBIOS on aarch64"));
}

/// crosvm prints the whole option, with the secrets, if it refuses any part of the option.
#[test]
fn what_crosvm_refuses_of_smbios_is_refused_first() {
    for (option, message) in [
        ("foo=bar", "does not accept one of the keys"),
        ("oem_strings=[x]", "does not accept one of the keys"),
        ("manufacturer=acme, product-name=web", "does not accept one of the keys"),
        ("MANUFACTURER=acme", "does not accept one of the keys"),
        ("vendor", "value without a key"),
        ("manufacturer=a,manufacturer=b", "a key twice"),
        ("manufacturer=", "has no value"),
        ("manufacturer=\"\"", "has no value"),
        ("manufacturer=a b", "double quotes"),
        ("manufacturer=a=b", "double quotes"),
        ("manufacturer={a}", "double quotes"),
        ("manufacturer=\"a\"b", "quotes that do not surround"),
        ("uuid=notauuid", "is not a UUID"),
        ("uuid=01234567-89ab-cdef-0123-456789abcde", "is not a UUID"),
    ] {
        for option in
            [option.to_owned(), format!("{option},oem-strings=[a]"), format!("serial-number=1,{option}")]
        {
            let refusal = refusal(CROSVM, &["run", "--smbios", &option]);
            assert!(refusal.contains(message), "{option}: {refusal}");
        }
    }
    let every = "bios-vendor=a,bios-version='b c',manufacturer=\"d, \\\"e\",product-name=f,serial-number=1";
    assert!(plan(CROSVM, &["run", "--smbios", every]).is_ok());
}
