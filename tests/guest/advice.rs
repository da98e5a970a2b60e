//! Advice fits the machine that the table describes: it does not name options that the hypervisor and firmware do not
//! have, or a limit that the table does not come near.

use smbios_creds::format::smbios::Table;
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{END, codes, entry_point_2, entry_point_3, oem, run_on, stdout, structure, testdata};

/// Types 0 and 1 of a recording.
fn recorded(case: &str) -> Vec<u8> {
    let read = |file: &str| std::fs::read(testdata(case).join(file)).unwrap();
    let table = Table::parse(&read("smbios_entry_point"), read("DMI"));
    let wanted = table.structures().iter().filter(|structure| structure.kind < 2);
    wanted.flat_map(|structure| table.data()[structure.offset..structure.end].to_vec()).collect()
}

/// Types 0 and 1 as crosvm writes them (`x86_64/src/smbios.rs`), of which there is no recording.
fn crosvm() -> Vec<u8> {
    let firmware = structure(0, &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[b"crosvm", b"0"]);
    let model = structure(1, &[&[1, 2, 0, 0][..], &[0; 19]].concat(), &[b"ChromiumOS", b"crosvm"]);
    [firmware, model].concat()
}

/// Machines: for each one its name, its Types 0 and 1, and words that its advice must not contain, because they are
/// for other machines.
fn machines() -> [(&'static str, Vec<u8>, &'static [&'static str]); 5] {
    let others_of_qemu: &[&str] = &["cloud-hypervisor", "crosvm", "oem_strings", "oem-strings", "Hyper-V"];
    let qemus: &[&str] = &["QEMU", "SeaBIOS", "UEFI", "type=11", "file=", "path=", "Hyper-V", "4091"];
    [
        ("SeaBIOS", recorded("qemu-7.2-pc"), others_of_qemu),
        ("SeaBIOS", recorded("qemu-10-silent-loss"), others_of_qemu),
        ("OVMF", recorded("qemu-10-ovmf"), others_of_qemu),
        ("cloud-hypervisor", recorded("cloud-hypervisor-53-api"), qemus),
        ("crosvm", crosvm(), qemus),
    ]
}

/// Verifies a table of a machine's Types 0 and 1, followed by `rest`. The entry point announces `more` bytes more
/// than there are.
fn delivery(machine: &[u8], rest: &[u8], more: usize) -> Delivery {
    let data = [machine, rest].concat();
    verify_table(&Table::parse(&entry_point_3(data.len() + more), data), &Policy::default())
}

/// Returns the advice for the first finding with this code.
fn advice(delivery: &Delivery, code: &str) -> String {
    let at = codes(delivery).iter().position(|known| known == code);
    let at = at.unwrap_or_else(|| panic!("{code}: {:?}", codes(delivery)));
    delivery.findings[at].advice(&delivery.machine).into_owned()
}

#[test]
fn no_advice_names_what_the_machine_does_not_have() {
    let empty = |strings: &[&[u8]]| [oem(strings).as_slice(), END].concat();
    let mut announced = oem(&[b"x"]);
    announced[4] = 3;
    let mut split = oem(&[b"io.systemd.credential:a=1", b"rest"]);
    split[4] = 1;
    let many = [&b"x"[..]; 256];
    let ended_early: &[u8] = b"\x0b\x05\0\0\x02x\0\0io.systemd.credential:b=1\0\0";
    let cases: [(&[u8], usize); 11] = [
        (END, 0),
        (&empty(&[b"x"]), 0),
        (&[announced.as_slice(), END].concat(), 0),
        (&[split.as_slice(), END].concat(), 0),
        (&[&[11, 5, 0, 0, 2, 0, 0][..], END].concat(), 0),
        (&[&[11, 5, 0, 0, 2, 0, b'x', 0, 0][..], END].concat(), 0),
        (&empty(&many), 0),
        (&empty(&[&[b'x'; 5000]]), 0),
        (&[ended_early, END].concat(), 0),
        (&oem(&[b"io.systemd.credential:a=1"])[..20], 0),
        (&empty(&[b"io.systemd.credential:a=1"]), 9),
    ];
    for (name, machine, others) in machines() {
        for (rest, more) in cases {
            let delivery = delivery(&machine, rest, more);
            for finding in &delivery.findings {
                let advice = finding.advice(&delivery.machine);
                for other in others {
                    assert!(!advice.contains(other), "{name}: {finding}: {advice}");
                }
            }
        }
    }
}

#[test]
fn small_table_that_is_cut_or_damaged_is_not_told_of_64_kib() {
    let strings = oem(&[b"io.systemd.credential:a=1", &[b'x'; 2000]]);
    for (name, machine, _) in machines() {
        for (code, delivery) in [
            ("table-cut", delivery(&machine, &strings, 400)),
            ("damaged", delivery(&machine, &strings[..1000], 0)),
        ] {
            let advice = advice(&delivery, code);
            for limit in ["65536", "65535", "65512", "64 KiB"] {
                assert!(!advice.contains(limit), "{name}: {code}: {advice}");
            }
        }
    }
    // The same strings after a 32-bit entry point, in a table of an unknown machine.
    let table = Table::parse(&entry_point_2(31, 2706, 9), strings);
    let delivery = verify_table(&table, &Policy::default());
    assert!(!advice(&delivery, "table-cut").contains("65536"), "{}", advice(&delivery, "table-cut"));
}

#[test]
fn large_table_that_is_cut_names_the_limit_of_its_machine() {
    let strings = oem(&[&vec![b'x'; 60_000]]);
    for (name, machine, _) in machines() {
        let cut = delivery(&machine, &strings, 20_000);
        let wanted = match name {
            "SeaBIOS" => "SeaBIOS 1.16 cuts tables above 64 KiB: keep it below 65536 bytes",
            "OVMF" => "this firmware is not known to cut tables",
            _ => "'s table must end below 1 MiB: keep it at 65512 bytes or less",
        };
        assert!(advice(&cut, "table-cut").contains(wanted), "{name}: {}", advice(&cut, "table-cut"));
    }
    let unknown = delivery(&[], &strings, 20_000);
    assert!(advice(&unknown, "table-cut").contains("use SeaBIOS 1.17 or newer, or UEFI firmware"));
}

#[test]
fn large_structure_is_advised_on_by_what_its_hypervisor_can_write() {
    let strings = [oem(&[&[b'x'; 5000]]).as_slice(), END].concat();
    for (name, machine, _) in machines() {
        let advice = advice(&delivery(&machine, &strings, 0), "long-structure");
        let wanted = match name {
            "cloud-hypervisor" => "and cloud-hypervisor writes one structure only: import with smbios-creds",
            "crosvm" => "and crosvm writes one structure only: import with smbios-creds",
            _ => "or start QEMU with smbios-creds-host, which writes smaller structures",
        };
        assert!(advice.contains(wanted) && !advice.contains("4091"), "{name}: {advice}");
    }
    let advice = advice(&delivery(&[], &strings, 0), "long-structure");
    assert!(advice.contains("4091 bytes or less if the hypervisor takes structures"), "{advice}");
}

#[test]
fn recording_without_credentials_is_told_how_its_hypervisor_takes_them() {
    for (case, wanted) in [
        ("qemu-7.2-none", "start QEMU with smbios-creds-host, or pass credentials with '-smbios type=11'"),
        ("cloud-hypervisor-53-none", "or pass credentials in oem_strings of '--platform'"),
    ] {
        let text = stdout(&run_on(&testdata(case), &["check"]));
        assert!(text.split("What to do\n").nth(1).unwrap().contains(wanted), "{text}");
    }
    assert!(advice(&delivery(&crosvm(), END, 0), "no-oem-strings").contains("in oem-strings of '--smbios'"));
}

#[test]
fn dropped_strings_are_advised_on_by_the_firmware_that_must_carry_them() {
    let dropped = [&[11, 5, 0, 0, 2, 0, 0][..], END].concat();
    for (name, machine, _) in machines() {
        let advice = advice(&delivery(&machine, &dropped, 0), "strings-missing");
        let wanted = match name {
            "SeaBIOS" => {
                "smbios-entry-point-type=64 with SeaBIOS 1.17 or newer or UEFI firmware instead of SeaBIOS 1.16"
            }
            "OVMF" => "smbios-entry-point-type=64, which this firmware can carry",
            "cloud-hypervisor" => "look for an empty element in oem_strings of '--platform'",
            _ => "look for an empty element in oem-strings of '--smbios'",
        };
        assert!(advice.contains(wanted), "{name}: {advice}");
    }
}
