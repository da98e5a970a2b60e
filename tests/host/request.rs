//! A whole request for cloud-hypervisor's API.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use testkit::host::{delivered, directory, host_with, one_structure};
use testkit::{code, run, stderr, stdout};

/// Most bytes of a request that cloud-hypervisor up to v53 accepts (measured).
const MAX: usize = 51_200;

/// Has the credentials put into this request.
fn emit(credentials: &Path, request: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), request).unwrap();
    let options = ["emit", "--all", "--format=json", "--request", file.path().to_str().unwrap()];
    run(&mut host_with(credentials, &options))
}

fn strings(request: &Value) -> Vec<String> {
    serde_json::from_value(request["platform"]["oem_strings"].clone()).unwrap()
}

#[test]
fn request_keeps_what_it_has_and_gets_the_strings() {
    let credentials = directory(&[("a\"b\\", b"secret"), ("db", b"x")]);
    let notify = "io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888";
    let disks = json!([{"path": "/a,b\"c", "readonly": true}]);
    let requests = [
        json!({}),
        json!({"platform": null, "cpus": {"boot_vcpus": 1, "max_vcpus": 18_446_744_073_709_551_615_u64}}),
        json!({"payload": {"kernel": "/k"}, "platform": {"oem_strings": [notify, "foreign \"\\ é"]}}),
        json!({"zz": [], "platform": {"num_pci_segments": 2, "oem_strings": null, "serial_number": "s"}, "disks": disks}),
    ];
    for request in requests {
        let output = emit(credentials.path(), &serde_json::to_string_pretty(&request).unwrap());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let written: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (mut rest, mut expected) = (written.clone(), request.clone());
        for value in [&mut rest, &mut expected] {
            let platform = value["platform"].take();
            let mut platform = platform.as_object().cloned().unwrap_or_default();
            platform.remove("oem_strings");
            value["platform"] = platform.into();
        }
        assert_eq!(rest, expected);
        let before: Vec<String> =
            serde_json::from_value(request["platform"]["oem_strings"].clone()).unwrap_or_default();
        let strings = strings(&written);
        assert_eq!(strings[..before.len()], before, "they keep their order");
        let delivery = delivered(&[one_structure(&strings)]);
        assert!(delivery.passed() && delivery.proof.is_proven(), "its credentials are in the manifest");
        assert_eq!(delivery.intact().count(), 2 + usize::from(!before.is_empty()));
    }
}

#[test]
fn request_is_refused_one_byte_above_the_limit() {
    let credentials = directory(&[("db", &vec![b'x'; 30_000]), ("e\"\\", b"y")]);
    let request = |padding: usize| {
        json!({"payload": {"kernel": "k".repeat(padding)}, "platform": {"oem_strings": ["a\"b"]}}).to_string()
    };
    let size = emit(credentials.path(), &request(1)).stdout.len();
    let most = 1 + MAX - size;
    let output = emit(credentials.path(), &request(most));
    assert_eq!((code(&output), output.stdout.len()), (0, MAX), "{}", stderr(&output));
    let output = emit(credentials.path(), &request(most + 1));
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    let words = "cloud-hypervisor: size of an API request: ";
    assert!(stderr(&output).contains(words) && stderr(&output).contains(" bytes, 1 more than the "));
}

#[test]
fn array_that_fits_into_no_request_is_refused() {
    let emitted = |size: usize| {
        let credentials = directory(&[("db", &vec![b'x'; size])]);
        run(&mut host_with(credentials.path(), &["emit", "--all", "--format=json"]))
    };
    // base64 has four characters for three bytes. The newline at the end is no part of the array.
    let rest = r#"{"platform":{"oem_strings":}}"#.len();
    let size = 36_000;
    let array = emitted(size).stdout.len() - 1;
    let most = size + (MAX - rest - array) / 4 * 3;
    let output = emitted(most);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let used = stdout(&output).trim_end().len() + rest;
    assert!((MAX - 3..=MAX).contains(&used), "{used}");
    assert_eq!(code(&emitted(most + 3)), 3);
}

#[test]
fn field_that_is_in_the_table_is_counted_there() {
    let credentials = directory(&[("db", b"x")]);
    let request = |size: usize| json!({"platform": {"serial_number": "s".repeat(size)}}).to_string();
    assert_eq!(code(&emit(credentials.path(), &request(40_000))), 0);
    let output = emit(credentials.path(), &request(65_300));
    assert_eq!(code(&output), 3);
    assert!(
        stderr(&output).contains("cloud-hypervisor: size of the strings in the table: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn request_that_cannot_be_read_is_refused_without_showing_it() {
    let credentials = directory(&[("db", b"secret")]);
    for (request, words) in [
        ("", "not JSON (line 1, column 0)"),
        ("{\"platform\": hunter2}", "not JSON (line 1, column "),
        ("[\"hunter2\"]", "not JSON (line 1, column "),
        ("{\"platform\": \"hunter2\"}", "'platform' is not an object"),
        ("{\"platform\": {\"oem_strings\": \"hunter2\"}}", "'platform.oem_strings' is not an array"),
        ("{\"platform\": {\"oem_strings\": [\"hunter2\", 1]}}", "an element that is not a string"),
        ("{\"platform\": {\"oem_strings\": [\"hunter2\\n\"]}}", "has a control character"),
        ("{\"platform\": {\"oem_strings\": [\"\"]}}", "is empty"),
        (
            "{\"platform\": {\"oem_strings\": [\"io.systemd.credential:db=hunter2\"]}}",
            "it would be sent twice",
        ),
    ] {
        let output = emit(credentials.path(), request);
        assert_eq!((code(&output), output.stdout.len()), (3, 0), "{request}");
        assert!(stderr(&output).contains(words), "{request}: {}", stderr(&output));
        assert!(!stderr(&output).contains("hunter2"), "{}", stderr(&output));
    }
    let options = ["emit", "--all", "--format=json", "--request", "/nonexistent"];
    let output = run(&mut host_with(credentials.path(), &options));
    assert_eq!((code(&output), stderr(&output).contains("cannot read /nonexistent")), (3, true));
    let options = ["emit", "--all", "--format=qemu", "--request", "/nonexistent"];
    assert_eq!(code(&run(&mut host_with(credentials.path(), &options))), 2);
}
