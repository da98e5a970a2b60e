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
        (&["run", "--smbios", "oem-strings=[],uuid=u"], &[], "uuid=u,"),
        (&["run", "--smbios", "vendor"], &[], "vendor,"),
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
        (&["stop", "socket"], "starts no machine"),
        (&["run", "--oem-strings", "Canary"], "deprecated"),
        (&["run", "--smbios", "uuid=a", "--smbios=uuid=b"], "--smbios is there twice"),
        (&["run", "--smbios", "oem-strings=Canary"], "not a list in brackets"),
        (&["run", "--smbios", "oem-strings=[Canary"], "not balanced"),
        (&["run", "--smbios", "oem-strings=[\"Canary]"], "not balanced"),
        (&["run", "--smbios", "oem-strings=[Canary\"x\"]"], "quotes that are not around"),
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
