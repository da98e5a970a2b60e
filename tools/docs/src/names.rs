//! Completion of the names of credentials, which `clap_complete` does not know. Every argument that has such a name as its
//! value is completed: in the guest with the names that arrived, on the host with the files of `$CREDENTIALS_DIRECTORY`.

use std::any::TypeId;
use std::fmt::Write as _;

use anyhow::ensure;
use clap::{Arg, Command, ValueHint};
use smbios_creds::format::credential::Name;
use smbios_creds::host::source::Mapping;

/// What makes `clap_complete` write [`MARKS`] for an argument: the programs have no argument with a user.
const MARK: ValueHint = ValueHint::Username;

/// What `clap_complete` writes for a user in zsh and in fish.
const MARKS: [&str; 2] = [":_users'", "(__fish_complete_users)"];

/// Functions that list and complete names.
struct Functions {
    bash: &'static str,
    zsh: &'static str,
    fish: &'static str,
}

/// Those of a program.
fn functions(program: &str) -> Functions {
    if program == "smbios-creds-host" {
        Functions {
            bash: include_str!("names/smbios-creds-host.bash"),
            zsh: include_str!("names/smbios-creds-host.zsh"),
            fish: include_str!("names/smbios-creds-host.fish"),
        }
    } else {
        Functions {
            bash: include_str!("names/smbios-creds.bash"),
            zsh: include_str!("names/smbios-creds.zsh"),
            fish: include_str!("names/smbios-creds.fish"),
        }
    }
}

/// Whether an argument has the name of a credential as its value.
fn is_name(argument: &Arg) -> bool {
    let kind = argument.get_value_parser().type_id();
    kind == TypeId::of::<Name>() || kind == TypeId::of::<Mapping>()
}

/// A program's definition in which each argument with the name of a credential is marked.
pub(crate) fn marked(command: &Command) -> Command {
    let mark = |argument: Arg| if is_name(&argument) { argument.value_hint(MARK) } else { argument };
    let mut command = command.clone();
    // The arguments of a verb are not defined before.
    command.build();
    command.mut_subcommands(|verb| verb.mut_args(mark))
}

/// The long options of a verb, with `--`, that take a value.
fn options(verb: &Command, wanted: impl Fn(&Arg) -> bool) -> Vec<String> {
    let options = verb.get_opts().filter(|option| wanted(option));
    options.filter_map(|option| Some(format!("--{}", option.get_long()?))).collect()
}

/// Adds names to the bash completion of a program, after [`super::bash::correct`].
///
/// # Errors
///
/// `clap_complete` generates another text.
pub(crate) fn bash(text: &str, command: &Command) -> anyhow::Result<String> {
    let program = command.get_name();
    let prefix = format!("_{}", program.replace('-', "__"));
    let complete = format!(
        "\n                {prefix}_names \"${{cur}}\"\n                return 0\n                ;;"
    );
    let mut several: Vec<String> = Vec::new();
    let mut cases = String::new();
    for verb in command.get_subcommands() {
        let verb_name = verb.get_name().replace('-', "__subcmd__");
        let path = format!("{}__subcmd__{verb_name}", program.replace('-', "__"));
        let names = options(verb, is_name);
        for option in &names {
            writeln!(cases, "            \"{path} {option}\"){complete}")?;
        }
        if verb.get_positionals().any(is_name) {
            for option in options(verb, |option| !is_name(option)) {
                writeln!(cases, "            \"{path} {option}\") ;;")?;
            }
            writeln!(cases, "            \"{path} \"*){complete}")?;
        }
        several.extend(names);
    }
    several.sort();
    several.dedup();
    let block = format!(
        "\n    if [[ \"${{cur}}\" != -* ]]; then
        # An option with several names, of which this is not the first.
        for ((i = COMP_CWORD - 1; i > 0; i--)); do
            case \"${{COMP_WORDS[i]}}\" in
                {})
                    prev=\"${{COMP_WORDS[i]}}\"
                    break
                    ;;
                -*) break ;;
            esac
        done
        case \"${{cmd}} ${{prev}}\" in\n{cases}        esac
    fi\n",
        several.join("|")
    );
    let common = include_str!("names/common.bash").replace("@PREFIX@", &prefix);
    let text = replaced(text, program, BEFORE_VERBS, &format!("{block}{BEFORE_VERBS}"))?;
    Ok(format!("{}{common}\n{text}", functions(program).bash))
}

/// What is in front of the part for each verb.
const BEFORE_VERBS: &str = "\n    case \"${cmd}\" in\n";

/// Adds names to the zsh completion of a program whose definition is [`marked`].
///
/// # Errors
///
/// `clap_complete` generates another text.
pub(crate) fn zsh(text: &str, program: &str) -> anyhow::Result<String> {
    let function = format!(":_{program}_names'");
    // An option takes names up to the next option.
    let text = ["NAME", "GUEST[=HOST]"].iter().fold(text.to_owned(), |text, value| {
        text.replace(&format!("]:{value}{}", MARKS[0]), &format!("]:*-*:{value}{function}"))
    });
    ensure_has(&text, program, &format!("]:*-*:NAME{function}"))?;
    let text = text.replace(MARKS[0], &function);
    // The first line has to stay the first.
    let definition = format!("\n_{program}() {{\n");
    replaced(&text, program, &definition, &format!("\n{}{definition}", functions(program).zsh))
}

/// Adds names to the fish completion of a program whose definition is [`marked`]. Of arguments without a name,
/// `clap_complete` writes none.
///
/// # Errors
///
/// `clap_complete` generates another text.
pub(crate) fn fish(text: &str, command: &Command) -> anyhow::Result<String> {
    let program = command.get_name();
    let name = program.replace('-', "_");
    let function = format!("(__{name}_names)");
    let mut text = replaced(text, program, MARKS[1], &function)?;
    let mut several = Vec::new();
    for verb in command.get_subcommands() {
        let names = options(verb, is_name);
        let mut condition = format!("__fish_{name}_using_subcommand {}", verb.get_name());
        if !verb.get_positionals().any(is_name) {
            if names.is_empty() {
                continue;
            }
            write!(condition, "; and __{name}_takes_names")?;
        }
        writeln!(text, "complete -c {program} -n \"{condition}\" -f -a \"{function}\"")?;
        several.extend(names);
    }
    several.sort();
    several.dedup();
    let takes = include_str!("names/common.fish")
        .replace("@NAME@", &format!("__{name}"))
        .replace("@OPTIONS@", &several.join(" "));
    text.push_str(&takes);
    Ok(format!("{}\n{text}", functions(program).fish))
}

/// Replaces every `wrong` by `right`, of which there must be at least one.
pub(crate) fn replaced(text: &str, program: &str, wrong: &str, right: &str) -> anyhow::Result<String> {
    ensure_has(text, program, wrong)?;
    Ok(text.replace(wrong, right))
}

/// Refuses a completion that does not have a text.
fn ensure_has(text: &str, program: &str, part: &str) -> anyhow::Result<()> {
    ensure!(
        text.contains(part),
        "a completion of {program} has no {:?}: clap_complete has changed\n  help: see what it generates now, and change \
         or remove the correction in tools/docs/src/bash.rs or tools/docs/src/names.rs",
        part.trim()
    );
    Ok(())
}
