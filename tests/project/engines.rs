//! Each engine that starts virtual machines has a page with three commands and with what is not protected there.

use std::collections::BTreeSet;
use std::fs::read_to_string;

use clap::Parser as _;
use smbios_creds::cli::agent::args::Agent;
use smbios_creds::cli::host::args::Host;
use testkit::project;

use crate::package::resolved;

/// The pages that docs/engines.md names, from the root of the project.
fn pages() -> BTreeSet<String> {
    let overview = read_to_string(project("docs/engines.md")).unwrap();
    let table = overview.split("\n| engine | ").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().skip(2);
    rows.map(|row| {
        let name = row.split(" | ").next().unwrap();
        let link = name.split("](").nth(1).unwrap_or_else(|| panic!("no page: {name}"));
        resolved("docs/engines.md", link.split(')').next().unwrap())
    })
    .collect()
}

/// Returns the commands in each shell block of a page. A line that ends in a backslash is joined with the next one.
fn blocks(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands = |block: &str| {
        let lines = block.replace("\\\n", " ");
        lines.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    };
    blocks.map(commands).collect()
}

/// Words of a command, as a shell makes them. What is between quotes stays together.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in command.chars() {
        match (quote, character) {
            (Some(open), end) if open == end => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ') => words.push(String::new()),
            (None, '|' | ';' | '&' | '<' | '>') => words.extend([character.to_string(), String::new()]),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the calls of our programs in a command, each up to the next operator of the shell.
fn runs(command: &str) -> Vec<Vec<String>> {
    let words = words(command);
    let is_shells = |word: &String| ["|", ";", "&", "<", ">"].contains(&word.as_str());
    let runs = words.split(is_shells).map(<[String]>::to_vec);
    runs.filter(|run| run.first().is_some_and(|word| is_ours(word))).collect()
}

fn is_ours(word: &str) -> bool {
    ["smbios-creds", "smbios-creds-host"].contains(&word.trim_start_matches("/usr/bin/"))
}

/// Checks that our programs accept the arguments of every call in a command.
pub(crate) fn takes(command: &str) -> Result<(), clap::Error> {
    runs(command).iter().try_for_each(|run| parses(run))
}

/// Checks that the program accepts these arguments.
fn parses(run: &[String]) -> Result<(), clap::Error> {
    if run[0].ends_with("-host") {
        Host::try_parse_from(run).map(drop)
    } else {
        Agent::try_parse_from(run).map(drop)
    }
}

#[test]
fn every_engine_has_a_page_with_three_commands_and_its_limits() {
    let pages = pages();
    assert!(pages.len() >= 8, "{pages:?}");
    for path in pages {
        let page = read_to_string(project(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (_, rest) = page.split_once("hree commands").unwrap_or_else(|| panic!("{path}"));
        assert_eq!(blocks(rest)[0].len(), 3, "{path}: {:?}", blocks(rest)[0]);
        for said in [
            "\n## What is not protected\n",
            "\n## How it was checked\n",
            "`smbios-creds check --manifest=require`",
        ] {
            assert!(page.contains(said), "{path}: {said}");
        }
    }
}

#[test]
fn commands_of_the_pages_are_what_the_programs_take() {
    let mut parsed = 0;
    for path in pages() {
        let page = read_to_string(project(&path)).unwrap();
        let quoted = page.split('`').skip(1).step_by(2).filter(|text| text.starts_with("smbios-creds check"));
        let commands = blocks(&page).concat().into_iter().chain(quoted.map(str::to_owned));
        for run in commands.flat_map(|command| runs(&command)) {
            parses(&run).unwrap_or_else(|error| panic!("{path}: {run:?}: {error}"));
            parsed += 1;
        }
    }
    assert!(parsed >= 12, "{parsed}");
}

#[test]
fn command_that_a_program_does_not_take_is_found() {
    let run = |command: &str| runs(command).concat();
    assert!(parses(&run("x | smbios-creds-host emit --all --format json --request 'a b' | y")).is_ok());
    assert!(parses(&run("smbios-creds-host emit --all --format jsn")).is_err());
    assert!(parses(&run("smbios-creds check --manifest=required")).is_err());
}
