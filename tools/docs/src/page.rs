//! Converts the man page on the format to `docs/format.md`. The text is written in the man page only.
//!
//! The converter knows the macros of man(7) that the man page uses, and refuses any other macro.

use anyhow::{Context as _, bail, ensure};

/// What stands before the text of `docs/format.md`.
const HEAD: &str = "<!-- Made from man/smbios-creds-format.7 by `cargo run --package smbios-creds-docs -- --pages`. -->\n\n\
# The format\n\n";

/// Converts a page in the macros of man(7) to Markdown.
///
/// # Errors
///
/// A line has a macro or an escape that this converter does not know.
pub fn markdown(man: &str) -> anyhow::Result<String> {
    let mut page = Page { text: HEAD.to_owned(), ..Page::default() };
    for (number, line) in man.lines().enumerate() {
        page.line(line).with_context(|| format!("line {} of the man page: {line}", number + 1))?;
    }
    page.end_paragraph();
    Ok(page.text.trim_end().to_owned() + "\n")
}

/// Part of the page that the next line belongs to.
#[derive(Clone, Copy, Default, PartialEq)]
enum Inside {
    /// A paragraph.
    #[default]
    Text,
    /// The term of an entry of a list. The next line is the whole term.
    Term,
    /// The text of an entry of a list.
    Entry,
    /// An example, which keeps its line breaks.
    Example,
    /// The section NAME, whose lines are left out: the Markdown page has a title instead.
    Name,
}

/// State of the conversion of a page.
#[derive(Default)]
struct Page {
    /// The finished part of the Markdown.
    text: String,
    /// Parts of the paragraph that is not finished.
    paragraph: Vec<String>,
    inside: Inside,
    /// Whether `text` ends with an entry of a list.
    after_entry: bool,
}

impl Page {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(request) = line.strip_prefix('.') else {
            self.words(&unescaped(line)?);
            return Ok(());
        };
        let (name, rest) = request.split_once(' ').unwrap_or((request, ""));
        match name {
            "TH" => {}
            "SH" | "SS" => self.heading(name, rest),
            "PP" => self.begin(Inside::Text),
            "TP" => self.begin(Inside::Term),
            "EX" => {
                self.begin(Inside::Example);
                self.text.push_str("```text\n");
            }
            "EE" => {
                self.text.push_str("```\n\n");
                self.inside = Inside::Text;
            }
            "B" | "I" | "BR" | "IR" | "BI" => {
                let text = fonts(name, rest)?;
                self.words(&text);
            }
            _ => bail!("'.{name}' is not known"),
        }
        Ok(())
    }

    fn heading(&mut self, name: &str, rest: &str) {
        self.begin(if rest == "NAME" { Inside::Name } else { Inside::Text });
        if !["NAME", "DESCRIPTION"].contains(&rest) {
            self.end_list();
            let marks = if name == "SH" { "## " } else { "### " };
            self.text.push_str(marks);
            self.text.push_str(&title(rest));
            self.text.push_str("\n\n");
        }
    }

    fn words(&mut self, text: &str) {
        match self.inside {
            Inside::Name => {}
            Inside::Example => {
                self.text.push_str(text);
                self.text.push('\n');
            }
            Inside::Term => {
                let term = if text.starts_with('`') { text.to_owned() } else { format!("**{text}**") };
                self.paragraph.push(format!("* {term}:"));
                self.inside = Inside::Entry;
            }
            Inside::Text | Inside::Entry => self.paragraph.push(text.to_owned()),
        }
    }

    fn begin(&mut self, inside: Inside) {
        self.end_paragraph();
        self.inside = inside;
    }

    fn end_list(&mut self) {
        if std::mem::take(&mut self.after_entry) {
            self.text.push('\n');
        }
    }

    fn end_paragraph(&mut self) {
        if self.paragraph.is_empty() {
            return;
        }
        let is_entry = self.inside == Inside::Entry;
        if !is_entry {
            self.end_list();
        }
        let paragraph = std::mem::take(&mut self.paragraph).join(" ");
        self.text.push_str(&wrapped(&paragraph, if is_entry { "  " } else { "" }));
        self.text.push_str(if is_entry { "\n" } else { "\n\n" });
        self.after_entry = is_entry;
    }
}

/// Wraps a paragraph into lines of at most 125 characters. All lines except the first have an indent.
fn wrapped(paragraph: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut length = 0;
    for word in paragraph.split(' ') {
        if length > 0 && length + 1 + word.chars().count() > 125 {
            text.push('\n');
            text.push_str(indent);
            length = indent.len();
        } else if length > 0 {
            text.push(' ');
            length += 1;
        }
        text.push_str(word);
        length += word.chars().count();
    }
    text
}

/// Converts a heading of man(7), which is in capitals, to the spelling of a title.
fn title(heading: &str) -> String {
    let words = heading.split(' ').enumerate().map(|(index, word)| match word {
        "OEM" | "JSON" => word.to_owned(),
        "FW_CFG" => "fw_cfg".to_owned(),
        _ if index == 0 && word.chars().all(char::is_uppercase) => {
            let (first, rest) = word.split_at(1);
            first.to_owned() + &rest.to_lowercase()
        }
        _ if index == 0 => word.to_owned(),
        _ => word.to_lowercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Converts the arguments of a macro that sets fonts. Bold and italic arguments become code.
fn fonts(name: &str, rest: &str) -> anyhow::Result<String> {
    let arguments = arguments(&unescaped(rest)?);
    if matches!(name, "B" | "I" | "BI") {
        // All arguments together are one name, also for BI, in which two fonts alternate.
        let separator = if name == "BI" { "" } else { " " };
        return Ok(format!("`{}`", arguments.join(separator)));
    }
    let parts = arguments.iter().enumerate();
    Ok(parts.map(|(index, part)| if index % 2 == 0 { format!("`{part}`") } else { part.clone() }).collect())
}

/// Splits the arguments of a macro at blanks. Text between quotes is one argument.
fn arguments(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            arguments.push(part.to_owned());
        } else {
            arguments.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    arguments
}

/// Replaces the escapes of roff by the characters that they stand for.
fn unescaped(text: &str) -> anyhow::Result<String> {
    let text = text.replace("\\(oq=\\(cq", "`=`").replace("\\-", "-");
    let text = text.replace("\\(oq", "`").replace("\\(cq", "`").replace("\\e", "\u{0}");
    ensure!(!text.contains('\\'), "an escape is not known");
    Ok(text.replace('\u{0}', "\\"))
}
