//! Completion, tested with the shells themselves: bash with and without bash-completion, zsh and fish.

mod names;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, create_dir_all};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use smbios_creds::cli::agent::args::Agent;
use smbios_creds::cli::host::args::Host;
use testkit::project;

/// A bash script that inserts every candidate into the line that is being edited, prints that line, and removes it.
const BASH: &str = r#"
PS1= HISTFILE= PROMPT_COMMAND=
bind '"\C-xa": insert-completions'
show() { printf 'LINE=%s\n' "$READLINE_LINE"; READLINE_LINE= READLINE_POINT=0; }
bind -x '"\C-xp": show'
"#;

/// A zsh script that does the same. zsh edits lines only on a terminal, so an outer zsh makes a terminal. The outer
/// zsh waits for each line, because a terminal keeps only 4,095 bytes that nobody reads.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell "TERM=dumb PS1= zsh -f -i"
zpty -w shell "stty -echo; fpath=($SHARE/zsh/vendor-completions \$fpath); autoload -Uz compinit; compinit -u -D
zle -C every complete-word _generic
zstyle ':completion:every:*' completer _all_matches _complete
zstyle ':completion:every:*' insert yes
show() { print -r -- \"LINE=\$BUFFER\" >>$SHARE/lines; BUFFER=; print -n 'NE''XT'; }
zle -N show; bindkey '^Xp' show; bindkey '^Xa' every; print -n 'NE''XT'"
zpty -r shell output '*NEXT*'
for line in "$@"; do
    zpty -w -n shell "$line"$'\x18a\x18p'
    zpty -r shell output '*NEXT*'
done
zpty -w shell $'\nexit'
while zpty -r shell output; do :; done
while IFS= read -r line; do print -r -- "$line"; done <$SHARE/lines
"#;

/// A fish script that prints the candidates of each line.
const FISH: &str = r#"
for line in $argv
    set -l words (complete -C $line | string replace -r '\t.*' '' | string escape)
    echo LINE=(string replace -r '[^ ]*$' '' -- $line)"$words"
end
"#;

#[derive(Clone, Copy, Debug)]
enum Shell {
    Bash,
    BashCompletion,
    Zsh,
    Fish,
}

/// Both programs and their completions, where the Debian packages put them.
struct Installed {
    root: tempfile::TempDir,
    /// Variables of the shells' environment.
    variables: Vec<(&'static str, OsString)>,
}

impl Installed {
    fn new() -> Self {
        let installed = Self { root: tempfile::tempdir().unwrap(), variables: Vec::new() };
        let built = installed.root.path().join("built");
        docs::write_to(&built).unwrap();
        for package in ["smbios-creds", "smbios-creds-host"] {
            let list = fs::read_to_string(project(&format!("debian/{package}.install"))).unwrap();
            for line in list.lines() {
                let Some((file, to)) = line.split_once(' ') else { continue };
                let Some(file) = file.strip_prefix("debian/built/completions/") else { continue };
                let to = installed.root.path().join(to);
                create_dir_all(&to).unwrap();
                fs::copy(built.join("completions").join(file), to.join(file)).unwrap();
            }
        }
        installed
    }

    fn share(&self) -> PathBuf {
        self.root.path().join("usr/share")
    }

    fn bash_setup(&self, shell: Shell) -> String {
        if matches!(shell, Shell::BashCompletion) {
            return format!("source /usr/share/bash-completion/bash_completion\n{BASH}");
        }
        let files = self.share().join("bash-completion/completions");
        format!("for file in {}/*; do source $file; done\n{BASH}", files.display())
    }

    fn command(&self, shell: Shell, lines: &[String]) -> Command {
        match shell {
            Shell::Bash | Shell::BashCompletion => {
                let setup = self.root.path().join("bashrc");
                fs::write(&setup, self.bash_setup(shell)).unwrap();
                let mut bash = Command::new("bash");
                bash.args(["--noprofile", "--rcfile"]).arg(setup).arg("-i");
                bash
            }
            Shell::Zsh => {
                // The outer zsh waits for ever if the inner zsh is stuck.
                let mut zsh = Command::new("timeout");
                zsh.args(["300", "zsh", "-f", "-c", ZSH, "zsh"]).args(lines);
                zsh
            }
            Shell::Fish => {
                let mut fish = Command::new("fish");
                fish.args(["-c", FISH]).args(lines);
                fish
            }
        }
    }

    /// The directory of the programs that the shells find before all others.
    fn programs(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    /// The directory that the shells run in.
    fn working_directory(&self) -> PathBuf {
        self.root.path().join("built")
    }

    /// What each line becomes when a shell inserts every candidate.
    fn completed(&self, shell: Shell, lines: &[String]) -> Vec<String> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_smbios-creds"));
        let (own, built) = (self.programs(), program.parent().unwrap());
        let path = format!("{}:{}:{}", own.display(), built.display(), std::env::var("PATH").unwrap());
        let mut child = self
            .command(shell, lines)
            .env("PATH", path)
            .env("HOME", self.root.path())
            .env("XDG_DATA_DIRS", self.share())
            .env("SHARE", self.share())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("CREDENTIALS_DIRECTORY")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.working_directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{shell:?}: {error}: ./tests/prepare installs it"));
        let mut keys = child.stdin.take().unwrap();
        if matches!(shell, Shell::Bash | Shell::BashCompletion) {
            for line in lines {
                write!(keys, "{line}\x18a\x18p").unwrap();
            }
        }
        drop(keys);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let _ = fs::remove_file(self.share().join("lines"));
        let completed: Vec<String> =
            text.lines().filter_map(|line| Some(line.strip_prefix("LINE=")?.to_owned())).collect();
        assert_eq!(completed.len(), lines.len(), "{shell:?}: {text}");
        completed
    }

    /// What a shell completes each line to: the words that may replace the last one.
    fn candidates(&self, shell: Shell, lines: &[String]) -> Vec<BTreeSet<String>> {
        let completed = self.completed(shell, lines);
        completed.iter().zip(lines).map(|(completed, line)| words(completed, line)).collect()
    }
}

/// The candidates in a completed line. Removes the option from a value, such as `--manifest=`: some shells complete
/// both, others only the value.
fn words(completed: &str, line: &str) -> BTreeSet<String> {
    let before = line.rfind(' ').unwrap() + 1;
    let option = line[before..].split_inclusive('=').next().filter(|option| option.ends_with('='));
    let word = |word: &str| {
        let value = option.map_or(word, |option| word.strip_prefix(option).unwrap_or(word));
        value.trim_end_matches('=').to_owned()
    };
    completed[before..].split_whitespace().map(word).collect()
}

/// A line, and what must be among its candidates. If `closed`, nothing else may be.
struct Expected {
    line: String,
    candidates: BTreeSet<String>,
    closed: bool,
}

/// Returns what must be completed according to the definitions of a program: its verbs, the options of each, and the
/// values that an option can have.
fn expected(program: &clap::Command) -> Vec<Expected> {
    let name = program.get_name();
    let verbs = || program.get_subcommands().filter(|verb| verb.get_name() != "help");
    let candidates = verbs().map(|verb| verb.get_name().to_owned()).collect();
    let mut all = vec![Expected { line: format!("{name} "), candidates, closed: false }];
    for verb in verbs() {
        let line = format!("{name} {}", verb.get_name());
        let options: BTreeSet<String> =
            verb.get_arguments().filter_map(|option| Some(format!("--{}", option.get_long()?))).collect();
        all.push(Expected { line: format!("{line} --"), candidates: options, closed: false });
        for option in verb.get_arguments().filter(|option| option.get_long().is_some()) {
            let values = option.get_possible_values();
            if values.is_empty() || !option.get_action().takes_values() {
                continue;
            }
            let values: BTreeSet<String> = values.iter().map(|value| value.get_name().to_owned()).collect();
            let option_name = option.get_long().unwrap();
            let mut forms = vec![format!("{line} --{option_name}=")];
            if !option.is_require_equals_set() {
                forms.push(format!("{line} --{option_name} "));
            }
            let first = values.first().unwrap().clone();
            for form in forms {
                let begun = values.iter().filter(|value| value.starts_with(&first[..1])).cloned().collect();
                all.push(Expected {
                    line: format!("{form}{}", &first[..1]),
                    candidates: begun,
                    closed: true,
                });
                all.push(Expected { line: form, candidates: values.clone(), closed: true });
            }
        }
    }
    all
}

#[track_caller]
fn assert_completed(shell: Shell, expected: &[Expected]) {
    let lines: Vec<String> = expected.iter().map(|expected| expected.line.clone()).collect();
    let found = Installed::new().candidates(shell, &lines);
    let mut wrong = Vec::new();
    for (Expected { line, candidates, closed }, found) in expected.iter().zip(found) {
        if !candidates.is_subset(&found) || *closed && *candidates != found {
            wrong.push(format!("{line:?}: {found:?}, not {candidates:?}"));
        }
    }
    assert!(wrong.is_empty(), "{shell:?}:\n{}", wrong.join("\n"));
}

/// Asserts that a shell completes what both programs define.
fn assert_definitions_are_completed(shell: Shell) {
    for program in [Agent::command(), Host::command()] {
        let mut program = program;
        program.build();
        let expected = expected(&program);
        let values = expected.iter().filter(|expected| expected.closed).count();
        assert!(values >= 4 && expected.len() >= values + 4, "{} has more to complete", program.get_name());
        assert_completed(shell, &expected);
    }
}

#[test]
fn bash_completes_verbs_options_and_values() {
    assert_definitions_are_completed(Shell::Bash);
}

#[test]
fn bash_completion_loads_and_completes_verbs_options_and_values() {
    assert_definitions_are_completed(Shell::BashCompletion);
}

#[test]
fn zsh_completes_verbs_options_and_values() {
    assert_definitions_are_completed(Shell::Zsh);
}

#[test]
fn fish_completes_verbs_options_and_values() {
    assert_definitions_are_completed(Shell::Fish);
}

#[test]
fn bash_completes_after_global_options_and_by_path() {
    let line = |line: String, candidate: &str| Expected {
        line,
        candidates: [candidate.to_owned()].into(),
        closed: true,
    };
    let path = Path::new(env!("CARGO_BIN_EXE_smbios-creds")).display();
    let expected = [
        line("smbios-creds --log-level debug import --man".into(), "--manifest"),
        line("smbios-creds import --require a b --manifest=re".into(), "require"),
        line(format!("{path} cat --conf"), "--confidential"),
        line("smbios-creds-host --log-level=debug run --all --exp".into(), "--expect"),
        line("sudo smbios-creds import --man".into(), "--manifest"),
    ];
    assert_completed(Shell::BashCompletion, &expected);
    assert_completed(Shell::Bash, &expected[..4]);
}

#[test]
fn needless_correction_of_the_bash_completion_is_an_error() {
    let generated = docs::bash::generated(&Agent::command()).unwrap();
    let corrected = docs::bash::correct(&generated, "smbios-creds").unwrap();
    for (text, missing) in [
        (corrected, "smbios__subcmd__creds__subcmd__"),
        (generated.replace("prev=\"$3\"", "prev=$3"), "prev="),
    ] {
        let error = docs::bash::correct(&text, "smbios-creds").unwrap_err().to_string();
        assert!(error.contains(missing) && error.contains("help: "), "{error}");
    }
}
