//! `docs/check.svg`: a terminal in which `smbios-creds check` has found a cut credential. The text is
//! the real output of the program.

use std::fs::{create_dir_all, write};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use smbios_creds::format::credential::{Credential, Name, Secret};
use smbios_creds::format::smbios::entry_point;
use smbios_creds::format::smbios::write::structures;
use smbios_creds::host::strings::OemStrings;

/// The structure that ends a table (DSP0134 §7.46).
const END_OF_TABLE: &[u8] = &[127, 4, 0, 0xff, 0, 0];

/// The command, as the picture shows it.
const COMMAND: [&str; 3] = ["check", "--from", "recording"];

/// Characters of a line in the picture.
const COLUMNS: usize = 100;

/// Size of a character in the picture, in its units.
const CELL: (usize, usize) = (8, 19);

/// Returns the picture. The program reads a recording that this function writes into the directory `scratch`.
///
/// # Errors
///
/// The recording cannot be written, or the program cannot be run.
pub fn svg(program: &Path, scratch: &Path) -> anyhow::Result<String> {
    let recording = scratch.join("recording");
    create_dir_all(&recording).with_context(|| format!("cannot create {}", recording.display()))?;
    let table = cut_table()?;
    let entry_point = entry_point::write(u32::try_from(table.len())?, 0xf_0018);
    for (file, content) in [("DMI", table.expose()), ("smbios_entry_point", entry_point.as_slice())] {
        write(recording.join(file), content).with_context(|| format!("cannot write {file}"))?;
    }
    let output = Command::new(program).args(COMMAND).current_dir(scratch).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8(output.stdout).context("its output is not UTF-8")?;
    let exit = output.status.code().context("it was killed")?;
    let mut lines = vec![format!("$ smbios-creds {}", COMMAND.join(" "))];
    lines.extend(said.lines().flat_map(wrapped));
    lines.extend(["$ echo $?".to_owned(), exit.to_string()]);
    Ok(drawing(&lines))
}

/// Returns a table with two credentials and their manifest, in which the second value is cut to three quarters.
fn cut_table() -> anyhow::Result<Secret> {
    let mut sent = Vec::new();
    for (name, size) in [("db-password", 44), ("tls-key", 1704)] {
        sent.push(Credential::new(Name::new(name)?, vec![b'x'; size]));
    }
    let strings = OemStrings::new(&sent)?;
    let mut texts: Vec<&[u8]> = strings.texts().collect();
    if let Some(text) = texts.get_mut(1) {
        let value = text.iter().position(|&byte| byte == b'=').context("a string has a '='")? + 1;
        // The cut is after a whole group of base64, so that the rest can be decoded.
        let kept = (text.len() - value) / 16 * 12;
        *text = text.get(..value + kept).context("it is a part")?;
    }
    let structures = structures(&texts, &[])?;
    let parts = structures.iter().map(Secret::expose).chain([END_OF_TABLE]);
    Ok(parts.collect::<Vec<_>>().concat().into())
}

/// Wraps a line of the program's output into lines of the picture.
fn wrapped(line: &str) -> Vec<String> {
    let indent = " ".repeat(line.len() - line.trim_start().len());
    let mut lines = vec![indent.clone()];
    for word in line.split_whitespace() {
        let Some(last) = lines.last_mut() else { continue };
        if last.len() + 1 + word.len() > COLUMNS && *last != indent {
            lines.push(format!("{indent}{word}"));
        } else {
            if *last != indent {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// The colour of a line.
fn colour(line: &str) -> &'static str {
    if line.starts_with('$') {
        "#7ee787"
    } else if line.starts_with("failed") || line.starts_with("error") {
        "#ff7b72"
    } else {
        "#e6edf3"
    }
}

/// Returns an SVG picture of a terminal window with these lines.
fn drawing(lines: &[String]) -> String {
    let (width, height) = (CELL.0 * COLUMNS + 40, CELL.1 * lines.len() + 34);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <title>smbios-creds check finds a cut credential</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#0d1117\"/>\n"
    );
    for (row, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let text = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let (y, length) = (CELL.1 * (row + 1) + 11, CELL.0 * line.chars().count());
        svg.push_str(
            &[
                "<text x=\"20\" xml:space=\"preserve\" y=\"",
                &y.to_string(),
                "\" textLength=\"",
                &length.to_string(),
                "\" fill=\"",
                colour(line),
                "\">",
                &text,
                "</text>\n",
            ]
            .concat(),
        );
    }
    svg + "</svg>\n"
}
