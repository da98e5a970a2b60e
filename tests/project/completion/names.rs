//! Completion of the names of credentials. They come from outside: no shell may execute one, or split it.

use std::collections::BTreeSet;
use std::fs::{self, create_dir_all};
use std::process::Command;

use testkit::table::{entry_point_3, table};
use testkit::{run, stdout, write_program};

use super::{Installed, Shell};

const SHELLS: [Shell; 4] = [Shell::Bash, Shell::BashCompletion, Shell::Zsh, Shell::Fish];

/// Names that a shell would expand, execute, split or take for syntax. `EXECUTED` is the file that a shell would make
/// if it executed a name.
const HOSTILE: [&str; 17] = [
    "$(touch EXECUTED)",
    "`touch EXECUTED`",
    "${x[$(touch EXECUTED)]}",
    "a b",
    " blank",
    "a;touch EXECUTED",
    "a&touch EXECUTED",
    "it's",
    "q\"q",
    "back\\slash",
    "\\\"",
    "*",
    "~",
    "#comment",
    "!!",
    "{a,b}",
    "db-password",
];

/// Names that the agent could take for options.
const OPTIONS: [&str; 2] = ["--close", "-q"];

/// File names that cannot be names of credentials, or would be read as GUEST=HOST.
const UNFIT: [&str; 5] = ["new\nline", "end\n", "esc\x1b[31m", "caf\u{e9}", "a=b"];

impl Installed {
    /// Installs an agent whose table has credentials with these names. The agent makes the file `LOUD` if a person
    /// would see its messages.
    fn with_table(names: &[&str]) -> Self {
        let installed = Self::new();
        let root = installed.root.path().join("system");
        let tables = root.join("sys/firmware/dmi/tables");
        create_dir_all(&tables).unwrap();
        let strings: Vec<String> =
            names.iter().map(|name| format!("io.systemd.credential:{name}=value")).collect();
        let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
        let table = table(&strings);
        fs::write(tables.join("smbios_entry_point"), entry_point_3(table.len())).unwrap();
        fs::write(tables.join("DMI"), table).unwrap();
        installed.agent(root.to_str().unwrap());
        installed
    }

    /// Installs an agent that always runs on the system below this directory.
    fn agent(&self, root: &str) {
        let program = env!("CARGO_BIN_EXE_smbios-creds");
        create_dir_all(self.programs()).unwrap();
        write_program(
            &self.programs().join("smbios-creds"),
            format!(
                "#!/bin/sh\n[ \"$(readlink /proc/$$/fd/2)\" = /dev/null ] || touch LOUD\nexec {program} --root {root} \"$@\"\n"
            ),
            0o755,
        );
    }

    /// Installs the programs, and makes a credentials directory that has files with these names.
    fn with_directory(names: &[&str]) -> Self {
        let mut installed = Self::new();
        let directory = installed.root.path().join("my credentials");
        create_dir_all(directory.join("a-directory")).unwrap();
        for name in names {
            fs::write(directory.join(name), "value").unwrap();
        }
        installed.variables.push(("CREDENTIALS_DIRECTORY", directory.into()));
        installed
    }

    /// The files in the directory that the shells run in.
    fn files(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.working_directory()).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The words that a shell passes to a program if a person completes a line and then executes it.
    fn passed(&self, shell: Shell, line: &str) -> BTreeSet<String> {
        let completed = self.completed(shell, &[line.to_owned()]).remove(0);
        let (program, script) = match shell {
            Shell::Bash | Shell::BashCompletion => ("bash", "eval \"set -- $LINE\"; printf '%s\\n' \"$@\""),
            Shell::Zsh => ("zsh", "eval \"set -- $LINE\"; printf '%s\\n' \"$@\""),
            Shell::Fish => ("fish", "eval \"set words $LINE\"; printf '%s\\n' $words"),
        };
        let output = run(Command::new(program)
            .args(["-c", script])
            .env("LINE", &completed)
            .env("HOME", self.root.path())
            .current_dir(self.working_directory()));
        // Skip the words before the last one: only the last word was completed.
        let words = line.matches(' ').count();
        stdout(&output).lines().skip(words).map(str::to_owned).collect()
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn names_that_arrived_are_completed_where_a_name_is_expected() {
    let installed = Installed::with_table(&["db-password", "db-user", "tls-key"]);
    let before = installed.files();
    let all = set(&["db-password", "db-user", "tls-key"]);
    let cases = [
        ("smbios-creds cat ", all.clone()),
        ("smbios-creds cat db", set(&["db-password", "db-user"])),
        ("smbios-creds cat db-user t", set(&["tls-key"])),
        ("smbios-creds --log-level debug check ", all.clone()),
        ("smbios-creds check --require ", all.clone()),
        ("smbios-creds check --require=t", set(&["tls-key"])),
        ("smbios-creds import --allow-empty t", set(&["tls-key"])),
        ("smbios-creds exec --require tl", set(&["tls-key"])),
        ("smbios-creds cat --newline a", set(&["auto"])),
    ];
    for shell in SHELLS {
        let lines = cases.clone().map(|(line, _)| line.to_owned());
        for ((line, expected), found) in cases.iter().zip(installed.candidates(shell, &lines)) {
            assert_eq!(found, *expected, "{shell:?}: {line:?}");
        }
    }
    assert_eq!(installed.files(), before, "messages were shown");
}

#[test]
fn second_name_of_an_option_is_completed() {
    let guest = Installed::with_table(&["db-password", "tls-key"]);
    let host = Installed::with_directory(&["db-password", "tls-key"]);
    for shell in SHELLS {
        for (installed, line) in [
            (&guest, "smbios-creds import --require tls-key d"),
            (&guest, "smbios-creds import --require=tls-key d"),
            (&guest, "smbios-creds check --manifest require --require tls-key d"),
            (&host, "smbios-creds-host run --credential tls-key d"),
        ] {
            let found = installed.candidates(shell, &[line.to_owned()]);
            assert_eq!(found, [set(&["db-password"])], "{shell:?}: {line}");
        }
    }
}

#[test]
fn files_of_the_credentials_directory_are_completed_on_the_host() {
    let installed = Installed::with_directory(&["db-password", "tls-key"]);
    let all = set(&["db-password", "tls-key"]);
    let cases = [
        ("smbios-creds-host run --credential ", all.clone()),
        ("smbios-creds-host run --credential=d", set(&["db-password"])),
        ("smbios-creds-host plan --all --expect ", all.clone()),
        ("smbios-creds-host pack --encrypted t", set(&["tls-key"])),
        ("smbios-creds-host emit --allow-empty ", all.clone()),
    ];
    for shell in SHELLS {
        let lines = cases.clone().map(|(line, _)| line.to_owned());
        for ((line, expected), found) in cases.iter().zip(installed.candidates(shell, &lines)) {
            assert_eq!(found, *expected, "{shell:?}: {line:?}");
        }
    }
}

#[test]
fn file_with_a_dot_in_front_is_completed_on_the_host() {
    let installed = Installed::with_directory(&["db-password", ".hidden"]);
    let lines = ["smbios-creds-host run --credential .".to_owned()];
    for shell in SHELLS {
        assert_eq!(installed.candidates(shell, &lines), [set(&[".hidden"])], "{shell:?}");
    }
}

#[test]
fn hostile_name_from_the_host_is_neither_executed_nor_split() {
    let installed = Installed::with_table(&[&HOSTILE[..], &OPTIONS].concat());
    let before = installed.files();
    for shell in SHELLS {
        for line in ["smbios-creds cat ", "smbios-creds check --require "] {
            assert_eq!(installed.passed(shell, line), set(&HOSTILE), "{shell:?}: {line:?}");
        }
        for line in ["smbios-creds cat \\$", "smbios-creds cat \\`", "smbios-creds cat it"] {
            let found = installed.passed(shell, line);
            assert!(!found.is_empty() && found.is_subset(&set(&HOSTILE)), "{shell:?}: {line:?}: {found:?}");
        }
        assert_eq!(installed.files(), before, "{shell:?} executed a name");
    }
}

#[test]
fn hostile_file_name_is_neither_executed_nor_split() {
    let installed = Installed::with_directory(&[&HOSTILE[..], &OPTIONS, &UNFIT].concat());
    let before = installed.files();
    for shell in SHELLS {
        let found = installed.passed(shell, "smbios-creds-host run --credential ");
        assert_eq!(found, set(&HOSTILE), "{shell:?}");
        assert_eq!(installed.files(), before, "{shell:?} executed a name");
    }
}

#[test]
fn without_names_nothing_is_completed_or_said() {
    let installed = Installed::new();
    installed.agent("/nonexistent");
    let before = installed.files();
    assert!(!before.is_empty(), "files could be completed");
    let lines = [
        "smbios-creds cat ",
        "smbios-creds check ",
        "smbios-creds import --require ",
        "smbios-creds-host run --credential ",
    ];
    for shell in SHELLS {
        for (line, found) in lines.iter().zip(installed.candidates(shell, &lines.map(str::to_owned))) {
            assert_eq!(found, set(&[]), "{shell:?}: {line:?}");
        }
    }
    assert_eq!(installed.files(), before, "messages were shown");
}
