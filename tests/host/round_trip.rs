//! What the host sends is what the guest has, whatever the values and names are, through every hypervisor's parser.

use std::collections::BTreeMap;

use proptest::prelude::*;
use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::smbios::write::{FIRST_HANDLE, STRING_AREA_MAX};
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::host::hypervisor::Features;
use smbios_creds::host::plan::Plan;
use smbios_creds::host::strings::OemStrings;
use testkit::host::{
    CLOUD_HYPERVISOR, CROSVM, QEMU, ch_list, crosvm_list, delivered, file_number, one_structure, order,
    qemu_smbios, render,
};

type Set = BTreeMap<String, Vec<u8>>;

/// Names by systemd's rules, except names with `=`, which no OEM string can carry.
const NAME: &str = "[ -.0-9;<>-~]{1,30}";

fn set(names: &'static str) -> impl Strategy<Value = Set> {
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => proptest::collection::vec(any::<u8>(), 3000..9000),
    ];
    let names = names.prop_filter("no file has this name", |name| name != "." && name != "..");
    proptest::collection::btree_map(names, value, 1..8)
}

fn credentials(set: &Set) -> Vec<Credential> {
    set.iter().map(|(name, value)| Credential::new(Name::new(name).unwrap(), value.clone())).collect()
}

fn assert_arrived(set: &Set, delivery: &Delivery) {
    let arrived: Set =
        delivery.intact().map(|c| (c.name.as_str().to_owned(), c.value.expose().to_vec())).collect();
    assert_eq!(&arrived, set);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", testkit::codes(delivery));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_set_arrives_in_structures_with_its_manifest(set in set(NAME)) {
        let strings = OemStrings::new(&credentials(&set)).unwrap();
        let structures: Vec<Vec<u8>> =
            strings.structures().unwrap().iter().map(|s| s.expose().to_vec()).collect();
        assert_arrived(&set, &delivered(&structures));
        for (index, bytes) in structures.iter().enumerate() {
            let walked = testkit::walk(bytes, false);
            prop_assert_eq!(walked.len(), 1);
            prop_assert_eq!((walked[0].kind, walked[0].length), (11, 5));
            prop_assert_eq!(usize::from(walked[0].handle), usize::from(FIRST_HANDLE) + index);
            prop_assert_eq!(usize::from(walked[0].formatted[4]), walked[0].strings.len());
            prop_assert!(bytes.len() <= 5 + STRING_AREA_MAX || walked[0].strings.len() == 1);
        }
    }

    #[test]
    fn any_set_passes_qemus_parser(set in set(NAME), foreign in "[!-~]{1,20}", by_value in any::<bool>()) {
        let escaped = foreign.replace(',', ",,");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &foreign).unwrap();
        let existing = if by_value {
            format!("type=11,value={escaped}")
        } else {
            format!("type=11,path={}", file.path().display())
        };
        let arguments = ["-M", "q35", "-smbios", "type=1,serial=x", "-smbios", &existing, "-nographic"];
        let plan = Plan::new(order(QEMU, &arguments, credentials(&set))).unwrap();
        let (rendered, files) = render(&plan.arguments);
        let mut structures = Vec::new();
        for option in qemu_smbios(&rendered) {
            match option[0].0.as_str() {
                "type" => prop_assert_eq!(&option[0].1, "1", "QEMU refuses type=11 beside file="),
                "file" => structures.push(files[file_number(&option[0].1)].clone()),
                other => panic!("{other}"),
            }
        }
        assert_arrived(&set, &delivered(&structures));
        let first = testkit::walk(&structures[0], false);
        prop_assert_eq!(&first[0].strings[0], foreign.as_bytes());
        let mut others = rendered;
        others.truncate(5);
        prop_assert_eq!(others, ["-M", "q35", "-smbios", "type=1,serial=x", "-nographic"]);
    }

    #[test]
    fn any_set_passes_the_parsers_of_old_and_new_cloud_hypervisors(
        set in set("[ !#-+\\-.0-9;<>-Z\\\\^-~]{1,30}"),
        foreign in proptest::collection::vec("[!#-+\\--Z\\\\^-~]{1,20}", 0..3),
    ) {
        let platform = format!("num_pci_segments=2,oem_strings=[{}],iommu_segments=[1,3]", foreign.join(","));
        let arguments = ["--kernel", "k", "--platform", &platform, "--cpus", "boot=1"];
        let plan = Plan::new(order(CLOUD_HYPERVISOR, &arguments, credentials(&set))).unwrap();
        let (rendered, _) = render(&plan.arguments);
        prop_assert_eq!(&rendered[..3], ["--kernel", "k", "--platform"]);
        prop_assert_eq!(&rendered[4..], ["--cpus", "boot=1"]);
        for new in [false, true] {
            let strings = ch_list(&rendered[3], "oem_strings", new).unwrap();
            prop_assert_eq!(&strings[..foreign.len()], &foreign);
            assert_arrived(&set, &delivered(&[one_structure(&strings)]));
            prop_assert_eq!(ch_list(&rendered[3], "num_pci_segments", new).unwrap(), ["2"]);
            prop_assert_eq!(ch_list(&rendered[3], "iommu_segments", new).unwrap(), ["1", "3"]);
        }
    }

    #[test]
    fn any_set_passes_in_files_where_cloud_hypervisor_reads_them(set in set(NAME)) {
        let mut order = order(CLOUD_HYPERVISOR, &["--kernel=k"], credentials(&set));
        order.features = Features(vec!["oem_string_paths"]);
        let plan = Plan::new(order).unwrap();
        let (rendered, files) = render(&plan.arguments);
        let paths = ch_list(&rendered[2], "oem_string_paths", true).unwrap();
        let strings: Vec<String> =
            paths.iter().map(|path| String::from_utf8(files[file_number(path)].clone()).unwrap()).collect();
        assert_arrived(&set, &delivered(&[one_structure(&strings)]));
    }

    #[test]
    fn any_set_passes_crosvms_parser(set in set(NAME), foreign in "[ -~\n]{1,20}") {
        let quoted = foreign.replace('\\', "\\\\").replace('"', "\\\"");
        let smbios = format!("manufacturer=x,oem-strings=[\"{quoted}\",plain]");
        let plan = Plan::new(order(CROSVM, &["run", "--smbios", &smbios, "k"], credentials(&set))).unwrap();
        let (rendered, _) = render(&plan.arguments);
        prop_assert_eq!((rendered[1].as_str(), rendered[3].as_str()), ("--smbios", "k"));
        let list = rendered[2].strip_prefix("manufacturer=x,oem-strings=").unwrap();
        let strings = crosvm_list(list).unwrap();
        prop_assert_eq!(&strings[..2], [foreign.as_str(), "plain"]);
        assert_arrived(&set, &delivered(&[one_structure(&strings)]));
    }
}

/// Compares the parsers of these tests with results that were measured with cloud-hypervisor v26 to v53.
#[test]
fn the_parsers_of_the_tests_read_what_the_real_ones_read() {
    let rows: [(&str, &[&str], &[&str]); 8] = [
        ("[a=1,b=2]", &["a=1", "b=2"], &["a=1", "b=2"]),
        (r#"["a=x,y",b=2]"#, &["a=x", "y", "b=2"], &[r#""a=x,y""#, "b=2"]),
        ("[a=[x,y],b]", &["a=[x", "y]", "b"], &["a=[x,y]", "b"]),
        ("[ a , b ]", &[" a ", " b "], &["a ", " b"]),
        ("[a\n,b\n]", &["a\n", "b\n"], &["a\n", "b"]),
        (r"[a\,b]", &[r"a\", "b"], &[r"a\", "b"]),
        ("[a=b==]", &["a=b=="], &["a=b=="]),
        ("[a,,b]", &["a", "", "b"], &["a", "", "b"]),
    ];
    for (text, old, new) in rows {
        let text = format!("oem_strings={text}");
        assert_eq!(ch_list(&text, "oem_strings", false).unwrap(), old, "{text}");
        assert_eq!(ch_list(&text, "oem_strings", true).unwrap(), new, "{text}");
    }
    for text in ["[a=x]y]", "[a=x[y]", r#"[a=it"s]"#] {
        assert_eq!(ch_list(&format!("oem_strings={text}"), "oem_strings", true), None, "{text}");
    }
    assert_eq!(crosvm_list(r#"["a=x,y",'b"',c]"#).unwrap(), ["a=x,y", "b\"", "c"]);
    let options = qemu_smbios(&["-smbios".into(), "type=11,value=a,,b,value=c=".into()]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options, [[pair("type", "11"), pair("value", "a,b"), pair("value", "c=")]]);
    let options = qemu_smbios(&["-smbios".into(), "value,type=11,nopath,".into()]);
    assert_eq!(options, [[pair("value", "on"), pair("type", "11"), pair("path", "off")]]);
}

#[test]
fn a_credential_of_the_command_line_is_in_the_manifest() {
    let notify = "io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888";
    let platform = format!("oem_strings=[{notify}]");
    let credentials = vec![testkit::credential("db", b"secret")];
    let plan =
        Plan::new(order(CLOUD_HYPERVISOR, &["--kernel", "k", "--platform", &platform], credentials)).unwrap();
    let (rendered, _) = render(&plan.arguments);
    let strings = ch_list(&rendered[3], "oem_strings", true).unwrap();
    assert_eq!(strings[0], notify);
    let delivery = delivered(&[one_structure(&strings)]);
    let expected = [("vmm.notify_socket", &b"vsock-stream:2:8888"[..]), ("db", b"secret")];
    assert_eq!(testkit::intact(&delivery), expected);
    assert!(delivery.passed() && delivery.proof.is_proven());
    assert_eq!(
        testkit::texts(&plan.warnings),
        [] as [&str; 0],
        "where a guest says that it is up is no secret"
    );
}

#[test]
fn each_set_has_a_salt_of_its_own() {
    let manifest = || {
        let strings = OemStrings::new(&[testkit::credential("db", b"secret")]).unwrap();
        strings.texts().last().unwrap().to_vec()
    };
    assert_ne!(manifest(), manifest());
}
