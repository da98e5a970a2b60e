//! Adds the names of credentials to the completions of `clap_complete`, which does not know these names. Every
//! argument whose value is a name is completed: in the guest with the names that arrived, on the host with the names
//! of the files in `$CREDENTIALS_DIRECTORY`.

use std::any::TypeId;
use std::fmt::Write as _;

use anyhow::ensure;
use clap::{Arg, Command, ValueHint};
use smbios_creds::format::credential::Name;
use smbios_creds::host::source::Mapping;

/// Marks an argument: for this hint, `clap_complete` writes [`MARKS`]. No argument of the programs is a user name.
const MARK: ValueHint = ValueHint::Username;

/// Texts that `clap_complete` writes for an argument with a user name, in zsh and in fish.
const MARKS: [&str; 2] = [":_users'", "(__fish_complete_users)"];

/// Functions of each shell that list and complete names.
struct Functions {
    bash: &'static str,
    zsh: &'static str,
    fish: &'static str,
}

/// Returns the functions of a program.
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

/// Returns a program's definition in which each argument whose value is the name of a credential has [`MARK`].
pub(crate) fn marked(command: &Command) -> Command {
    let mark = |argument: Arg| if is_name(&argument) { argument.value_hint(MARK) } else { argument };
    let mut command = command.clone();
    // Before this call, the verbs do not have all of their arguments.
    command.build();
    command.mut_subcommands(|verb| verb.mut_args(mark))
}

/// Returns the long options of a verb, with `--`, that take a value and that `wanted` selects.
fn options(verb: &Command, wanted: impl Fn(&Arg) -> bool) -> Vec<String> {
    let options = verb.get_opts().filter(|option| wanted(option));
    options.filter_map(|option| Some(format!("--{}", option.get_long()?))).collect()
}

/// Adds names to the bash completion of a program, after [`super::bash::correct`].
///
/// # Errors
///
/// `clap_complete` generates a text without the expected part.
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

/// Text of a generated function before its case for each verb.
const BEFORE_VERBS: &str = "\n    case \"${cmd}\" in\n";

/// Adds names to the zsh completion of a program whose definition is [`marked`].
///
/// # Errors
///
/// `clap_complete` generates a text without the expected part.
pub(crate) fn zsh(text: &str, program: &str) -> anyhow::Result<String> {
    let function = format!(":_{program}_names'");
    // An option takes names up to the next option.
    let text = ["NAME", "GUEST[=HOST]"].iter().fold(text.to_owned(), |text, value| {
        text.replace(&format!("]:{value}{}", MARKS[0]), &format!("]:*-*:{value}{function}"))
    });
    ensure_has(&text, program, &format!("]:*-*:NAME{function}"))?;
    let text = text.replace(MARKS[0], &function);
    // The first line (`#compdef`) must stay the first line, so the functions go after it.
    let definition = format!("\n_{program}() {{\n");
    replaced(&text, program, &definition, &format!("\n{}{definition}", functions(program).zsh))
}

/// Adds names to the fish completion of a program whose definition is [`marked`]. `clap_complete`
/// writes no completion for positional arguments, so this function writes them.
///
/// # Errors
///
/// `clap_complete` generates a text without the expected part.
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

/// Replaces every `wrong` by `right`. The text must contain at least one `wrong`.
pub(crate) fn replaced(text: &str, program: &str, wrong: &str, right: &str) -> anyhow::Result<String> {
    ensure_has(text, program, wrong)?;
    Ok(text.replace(wrong, right))
}

/// Returns an error if a completion does not contain `part`.
fn ensure_has(text: &str, program: &str, part: &str) -> anyhow::Result<()> {
    ensure!(
        text.contains(part),
        "a completion of {program} has no {:?}: clap_complete has changed\n  help: see what it generates now, and change \
         or remove the correction in tools/docs/src/bash.rs or tools/docs/src/names.rs",
        part.trim()
    );
    Ok(())
}
