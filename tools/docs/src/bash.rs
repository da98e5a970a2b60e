//! What `clap_complete` 4.6 gets wrong in bash.

use clap::Command;
use clap_complete::Shell;

use super::names::replaced;

/// Ends the start of each generated function, before it looks at the words.
const START: &str = "    prev=\"$3\"\n";

/// bash splits `--manifest=re` into three words, so the one before the value is the equals sign.
const OPTION_BEFORE_EQUALS: &str = "    if [[ \"${prev}\" == = ]]; then
        prev=\"${COMP_WORDS[COMP_CWORD-2]}\"
    fi\n";

/// The bash completion as `clap_complete` generates it.
///
/// # Errors
///
/// It is not UTF-8.
pub fn generated(command: &Command) -> anyhow::Result<String> {
    super::generated(Shell::Bash, command)
}

/// Corrects the bash completion that `clap_complete` generated for a program.
///
/// Two faults make it do nothing. The first: its loop over the words names a verb `smbios__creds__subcmd__cat`, and the
/// options of that verb are under `smbios__subcmd__creds__subcmd__cat`. A hyphen in the program's name becomes `__` in one
/// and `__subcmd__` in the other, so nothing is completed after any verb. The second: it takes the equals sign of
/// `--manifest=re` for the option, so it completes no value there.
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
