//! Corrects faults of the bash completions that `clap_complete` 4.6 generates.

use clap::Command;
use clap_complete::Shell;

use super::names::replaced;

/// Last line that each generated function executes before it reads the words of the command line.
const START: &str = "    prev=\"$3\"\n";

/// bash splits `--manifest=re` into three words, so the one before the value is the equals sign.
const OPTION_BEFORE_EQUALS: &str = "    if [[ \"${prev}\" == = ]]; then
        prev=\"${COMP_WORDS[COMP_CWORD-2]}\"
    fi\n";

/// Returns the bash completion as `clap_complete` generates it.
///
/// # Errors
///
/// The completion is not UTF-8.
pub fn generated(command: &Command) -> anyhow::Result<String> {
    super::generated(Shell::Bash, command)
}

/// Corrects the bash completion that `clap_complete` generated for a program.
///
/// The generated completion has two faults. First, its loop over the words names a verb `smbios__creds__subcmd__cat`,
/// but the options of that verb are under `smbios__subcmd__creds__subcmd__cat`. A hyphen in the program's name
/// becomes `__` in the first name and `__subcmd__` in the second, so nothing is completed after any verb. Second, the
/// completion takes the equals sign of `--manifest=re` for the option, so it completes no value after an equals sign.
///
/// # Errors
///
/// A text to correct is missing: `clap_complete` generates something else now, so the correction may be needless.
pub fn correct(generated: &str, program: &str) -> anyhow::Result<String> {
    let (wrong, right) = (program.replace('-', "__subcmd__"), program.replace('-', "__"));
    let text = replaced(
        generated,
        program,
        &format!("\n        {wrong}__subcmd__"),
        &format!("\n        {right}__subcmd__"),
    )?;
    replaced(&text, program, START, &format!("{START}{OPTION_BEFORE_EQUALS}"))
}
