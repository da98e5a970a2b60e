//! The short way to parse `import` and `exec`, which defines only the given options, always has the same result as
//! the long way.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser as _};
use proptest::prelude::*;
use smbios_creds::cli::agent::args::Agent;
use smbios_creds::cli::agent::short::{parse, short};

/// Words of command lines that people and units write, and words that nobody should write.
const WORDS: [&str; 44] = [
    "import",
    "exec",
    "check",
    "help",
    "a",
    "/dir",
    "",
    "--",
    "-",
    "-h",
    "-xh",
    "-V",
    "--help",
    "--version",
    "--nope",
    "--nope=x",
    "--fro=x",
    "--from",
    "--from=x",
    "--from=",
    "--into",
    "--into=/dir",
    "--into=nowhere",
    "--require",
    "--require=a",
    "--require=a/b",
    "--allow-empty=a",
    "--manifest",
    "--manifest=require",
    "--manifest=no",
    "--confidential=allow",
    "--trust=x",
    "--audience=@uuid",
    "--min-serial=3",
    "--min-serial=x",
    "--strict",
    "--strict=yes",
    "--dry-run",
    "--allow-none",
    "--close",
    "--log-level=off",
    "--log-level",
    "--root",
    "--root=/x",
];

fn line(words: &[&str]) -> Vec<OsString> {
    ["smbios-creds"].iter().chain(words).map(Into::into).collect()
}

/// Returns the meaning of a command line, or the message and the exit code that it gets.
fn outcome(agent: Result<Agent, clap::Error>) -> Result<String, (String, i32)> {
    agent.map(|agent| format!("{agent:?}")).map_err(|error| (error.to_string(), error.exit_code()))
}

fn assert_same(words: &[&str]) {
    let line = line(words);
    assert_eq!(outcome(parse(&line)), outcome(Agent::try_parse_from(&line)), "{words:?}");
}

#[test]
fn short_way_never_differs_from_the_whole_one() {
    for verb in ["import", "exec"] {
        assert_same(&[verb]);
        for first in WORDS {
            assert_same(&[verb, first]);
            for second in WORDS {
                assert_same(&[verb, first, second]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn long_lines_never_differ_either(
        verb in prop::sample::select(vec!["import", "exec"]),
        mut words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 3..9),
    ) {
        words.insert(0, verb);
        assert_same(&words);
    }

    #[test]
    fn lines_of_valid_options_never_differ(
        verb in prop::sample::select(vec!["import", "exec"]),
        mut words in prop::collection::vec(prop::sample::select(vec![
            "--from=x", "--into=/dir", "--require=a", "--require", "a", "--allow-empty=a", "--manifest=require", "--strict",
            "--confidential=allow", "--audience=@uuid", "--min-serial=3", "--log-level=off", "--root=/x", "--", "prog",
        ]), 0..7),
        last in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..3),
    ) {
        words.insert(0, verb);
        words.extend(last);
        assert_same(&words);
    }
}

#[test]
fn short_way_knows_every_option_of_both_verbs() {
    let mut agent = Agent::command();
    agent.build();
    for verb in ["import", "exec"] {
        let command = agent.find_subcommand(verb).unwrap();
        let options = command.get_arguments().filter_map(|argument| Some((argument, argument.get_long()?)));
        for (argument, long) in options.filter(|(_, long)| *long != "help") {
            let value = match long {
                "log-level" => "=off",
                "manifest" => "=require",
                "confidential" => "=allow",
                "min-serial" => "=3",
                "trust" => "=RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
                _ if argument.get_action().takes_values() => "=/x",
                _ => "",
            };
            let value = if ["require", "allow-empty", "audience"].contains(&long) { "=a" } else { value };
            let option = format!("--{long}{value}");
            let line = line(&[verb, &option, "--", "program"][..if verb == "exec" { 4 } else { 2 }]);
            assert!(short(&line).is_some(), "{line:?}: {:?}", parse(&line));
        }
    }
}
