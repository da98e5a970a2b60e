//! What `./benches/run` says of a results file, compared with an earlier one.

use std::process::{Command, Output};

use serde_json::{Value, json};

fn results(change: impl Fn(&mut Value)) -> Value {
    let mut results = json!({
        "date": "2026-11-24", "machine": "a machine", "noise": 0.05,
        "import": [{"count": 16, "size": 256, "names": ["smbios-creds", "C floor"], "times": [0.001, 0.0005]}],
        "close": {"smbios-creds": {"calls": 93, "instructions": 2_000_000}},
        "scaling": {"instructions": {"slope": 100.0}},
        "run": {"plain exec": 0.001, "run, private argument": 0.004},
        "boots": {"stages": {"254, host": {"unit.unit": [12_000, 12_100]}}},
        "sizes": {"agent": 800_000, "busybox_initrd_gzip": 1, "peaks": {}},
    });
    change(&mut results);
    results
}

fn compared(old: &Value, new: &Value) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let files = [("old", old), ("new", new)].map(|(name, results)| {
        let file = directory.path().join(name);
        std::fs::write(&file, results.to_string()).unwrap();
        file
    });
    Command::new("python3").arg(testkit::project("benches/compare.py")).args(files).output().unwrap()
}

#[test]
fn figure_that_got_worse_by_more_than_its_noise_is_named() {
    let old = results(|_| {});
    let cases: [(&str, &str, Value); 6] = [
        ("/import/0/times/0", "import of 16 × 256 B, milliseconds: 1 before, 1.2 now", json!(0.0012)),
        ("/close/smbios-creds/calls", "import, system calls: 93 before, 94 now", json!(94)),
        ("/scaling/instructions/slope", "import, instructions for each byte of the table: 100", json!(103)),
        ("/run/run, private argument", "run, private argument, milliseconds: 4 before, 5 now", json!(0.005)),
        (
            "/boots/stages/254, host/unit.unit",
            "boot, unit, systemd 254, host, milliseconds: 12.05 before",
            json!([12_600]),
        ),
        ("/sizes/agent", "size: agent, bytes", json!(800_001)),
    ];
    for (path, named, value) in cases {
        let new = results(|results| *results.pointer_mut(path).unwrap() = value.clone());
        let output = compared(&old, &new);
        let text = testkit::stdout(&output);
        assert_eq!((testkit::code(&output), text.lines().count()), (1, 1), "{path}: {text}");
        assert!(text.starts_with(&format!("worse: {named}")), "{text}");
        // Compared the other way round, the figure got better.
        assert_eq!(testkit::code(&compared(&new, &old)), 0);
    }
}

#[test]
fn figure_within_its_noise_and_another_program_are_not_named() {
    let old = results(|_| {});
    let new = results(|results| {
        results["import"][0]["times"] = json!([0.00109, 0.1]);
        results["run"]["plain exec"] = json!(1);
        results["close"]["smbios-creds"]["instructions"] = json!(2_030_000);
    });
    let output = compared(&old, &new);
    assert_eq!(testkit::stdout(&output), "no figure is worse by more than its noise\n");
    assert_eq!(testkit::code(&output), 0);
}

#[test]
fn kept_results_can_be_compared() {
    let kept = std::fs::read_to_string(testkit::project("benches/results/results.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let output = compared(&kept, &kept);
    assert_eq!(testkit::code(&output), 0, "{}", testkit::stderr(&output));
}
