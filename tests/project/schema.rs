//! docs/schema.json: what `--json` prints.

use std::fs::read_to_string;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{agent, project, recorded, run, stdout};

fn schema() -> Value {
    serde_json::from_str(&read_to_string(project("docs/schema.json")).unwrap()).unwrap()
}

/// Returns where a value is not as a schema says. This function knows only the parts of JSON Schema that
/// docs/schema.json uses.
fn faults(all: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        several => several.as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&kind) {
        return vec![format!("{at} is {kind}, not {types:?}")];
    }
    let mut found = Vec::new();
    if let Some(reference) = schema["$ref"].as_str() {
        let target = all.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        found.extend(faults(all, target, value, at));
    }
    for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
        if value.get(name).is_none() {
            found.push(format!("{at} has no {name}"));
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            found.extend(faults(all, schema, value, &format!("{at}.{name}")));
        }
    }
    if schema["items"].is_object() {
        for value in value.as_array().into_iter().flatten() {
            found.extend(faults(all, &schema["items"], value, &format!("{at}[]")));
        }
    }
    found
}

#[test]
fn schema_is_made_from_the_man_page() {
    let man = read_to_string(project("man/smbios-creds-format.7")).unwrap();
    let written = read_to_string(project("docs/schema.json")).unwrap();
    assert!(docs::schema::json(&man).unwrap() == written, "run: ./do pages");
}

#[test]
fn output_of_every_recorded_table_is_as_the_schema_says() {
    let all = schema();
    let mut seen = 0;
    for recording in recorded() {
        for verb in ["list", "check"] {
            let output = run(agent(&[verb, "--json", "--from"]).arg(&recording));
            let value: Value = serde_json::from_str(&stdout(&output)).unwrap();
            assert_eq!(
                faults(&all, &all["$defs"][verb], &value, verb),
                Vec::<String>::new(),
                "{recording:?}"
            );
            seen += 1;
        }
        for name in ["foo", "c0", "a"] {
            let output = run(agent(&["check", name, "--json", "--from"]).arg(&recording));
            let value: Value = serde_json::from_slice(&output.stdout).unwrap();
            let faults = faults(&all, &all["$defs"]["check name"], &value, name);
            assert_eq!(faults, Vec::<String>::new(), "{recording:?}");
        }
    }
    assert!(seen >= 20, "{seen}");
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("db-password"), "secret").unwrap();
    let mut plan = Command::new(env!("CARGO_BIN_EXE_smbios-creds-host"));
    plan.args(["plan", "--json", "--all", "--credentials"]).arg(credentials.path());
    let output = run(plan.args(["--hypervisor", "qemu", "--", "/bin/true", "-M", "q35"]));
    let value: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(faults(&all, &all["$defs"]["plan"], &value, "plan"), Vec::<String>::new(), "{value}");
}

#[test]
fn field_that_is_missing_or_of_another_type_is_found() {
    let all = schema();
    let mut value = json!({"verdict": "passed", "proven": 1, "credentials": [{"name": "a"}], "findings": {}});
    let found = faults(&all, &all["$defs"]["check"], &value, "check");
    for fault in ["check.proven is number", "check.findings is object", "check.credentials[] has no size"] {
        assert!(found.iter().any(|found| found.starts_with(fault)), "{fault}: {found:#?}");
    }
    value.as_object_mut().unwrap().remove("verdict");
    assert!(
        faults(&all, &all["$defs"]["check"], &value, "check").contains(&"check has no verdict".to_owned())
    );
}
