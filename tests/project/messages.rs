//! docs/troubleshooting.md lists every message of both programs, with its cause and its remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use testkit::project;

/// Sections of the page, and directories of `src/` whose messages each has. The last section has all other messages.
const SECTIONS: [(&str, &[&str]); 3] = [
    ("Messages in the guest", &["guest/", "cli/agent/"]),
    ("Messages on the host", &["host/", "cli/host/"]),
    ("Messages of either program", &[]),
];

/// Files whose texts are no messages: remedies that `check` prints with each finding, names of vendors, layout, and the
/// help of options.
const WITHOUT_MESSAGES: [&str; 5] = [
    "cli/agent/help.rs",
    "cli/host/help.rs",
    "format/smbios/machine.rs",
    "guest/report/listing.rs",
    "guest/verify/advice.rs",
];

/// Fields of a limit that are no messages: what its message says after the name of the limit, and where the limit is
/// from.
const FIELDS_OF_A_LIMIT: [&str; 3] = ["above", "advice", "source"];

/// Functions that return or take advice on what to do.
const REMEDIES: [&str; 4] = ["advice", "help", "hint", "with_help"];

/// Functions whose first argument says what is wrong, and whose second argument says what to do.
const REFUSALS: [&str; 4] = ["no_smbios", "refuse", "refuse_and_help", "refuse_any"];

/// Functions that take what a program did when it failed: "look at", for "cannot look at PATH".
const TAKE_ACTIONS: [&str; 4] = ["cannot", "failed", "preparing", "log"];

/// Texts in the source that are no messages: parts of the output of `plan`, parts of files that the programs write, and
/// texts by which the programs recognise firmware or a hypervisor.
const PARTS: [&str; 15] = [
    "Runs before Rust's runtime changes descriptors or signals of this process (docs/decisions/0002-before-main.md).",
    "an object of names",
    "EFI Development Kit II",
    "<qemu:commandline xmlns:qemu='…'>\n…</qemu:commandline>\n",
    "as others will see them\n",
    "command line",
    "does not start",
    "file of the command line",
    "in an argument that only it can read",
    "in memory-only files",
    "IN PLAIN TEXT on its command line",
    "remove what an interrupted import left next to",
    "send fewer or smaller credentials",
    "--platform oem_strings=, in an argument that only it sees, or in memory-only files where it reads files",
    "--smbios oem-strings=, in an argument that only it sees",
];

/// Every Rust file below a directory, with its path from `src/`.
fn sources(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(project("src")).unwrap().to_str().unwrap().to_owned();
            found.insert(name, read_to_string(&path).unwrap());
        }
    }
}

/// The messages in source files.
#[derive(Default)]
struct Messages {
    /// Messages that need a row in docs/troubleshooting.md.
    needed: BTreeSet<String>,
    /// Messages that may have a row. These include short ones.
    allowed: BTreeSet<String>,
}

impl Messages {
    /// Adds the messages of a file.
    fn read(&mut self, text: &str) {
        self.visit_file(&syn::parse_file(text).unwrap());
    }

    /// Stores a text as a message that needs a row in the page, if the text has at least this number of words.
    fn text(&mut self, text: &str, words: usize) {
        let text = with_gaps(text);
        if PARTS.contains(&text.as_str()) {
            return;
        }
        if count_words(&text) >= words {
            self.needed.insert(text.clone());
        }
        self.allowed.insert(text);
    }

    /// Reads the texts in the arguments of a macro. The field `help` of an event says what to do, and is not a
    /// message.
    fn tokens(&mut self, tokens: TokenStream, words: usize) {
        let mut is_help = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if name == "help" => is_help = true,
                TokenTree::Punct(mark) if mark.as_char() == ',' => is_help = false,
                _ if is_help => {}
                TokenTree::Group(group) => self.tokens(group.stream(), words),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                        self.text(&text.value(), words);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Messages {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Const(item) if item.ident.to_string().starts_with("HELP_") => return,
            syn::Item::Fn(item) if REMEDIES.iter().any(|name| item.sig.ident == name) => return,
            syn::Item::Fn(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes
            .iter()
            .any(|attribute| attribute.path().is_ident("cfg") || attribute.path().is_ident("test"))
        {
            visit::visit_item(self, item);
        }
    }

    /// Skips functions that return remedies. These are printed after `help:` or "What to do", and are not messages.
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !REMEDIES.iter().any(|name| item.sig.ident == name) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    /// Reads thiserror's attribute, the only attribute that has a message.
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta
            && list.path.is_ident("error")
        {
            self.tokens(list.tokens.clone(), 2);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone(), 3);
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        let syn::Member::Named(name) = &field.member else { return };
        if !FIELDS_OF_A_LIMIT.iter().chain(&REMEDIES).any(|field| name == field) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !matches!(&local.pat, syn::Pat::Ident(name) if name.ident == "help") {
            visit::visit_local(self, local);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let takes_remedy = matches!(&*call.func, syn::Expr::Path(function)
            if function.path.segments.last().is_some_and(|last| REFUSALS.iter().any(|name| last.ident == name)));
        if takes_remedy {
            // Skip the second argument, which says what to do.
            return self.visit_expr(&call.args[0]);
        }
        let takes_action = matches!(&*call.func, syn::Expr::Path(function)
            if TAKE_ACTIONS.iter().any(|name| function.path.is_ident(name)));
        if !takes_action {
            visit::visit_expr_call(self, call);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if TAKE_ACTIONS.iter().chain(&REMEDIES).any(|name| call.method == name) {
            self.visit_expr(&call.receiver);
        } else {
            visit::visit_expr_method_call(self, call);
        }
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.text(&text.value(), 3);
    }
}

/// A text of `format!` with a `…` for each value, and without blanks around it.
fn with_gaps(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('…');
        rest = after.split_once('}').map_or(String::new(), |(_, after)| after.to_owned());
    }
    (out + &rest).replace('\u{1}', "{").replace('\u{2}', "}").trim_matches(' ').to_owned()
}

/// Returns the number of words, separated by blanks, that have two letters or more.
fn count_words(text: &str) -> usize {
    let letters = |word: &&str| word.chars().filter(char::is_ascii_alphabetic).count() > 1;
    text.split_whitespace().filter(letters).count()
}

/// The section for messages of a file.
fn section(file: &str) -> &'static str {
    let found = SECTIONS.iter().find(|(_, rooms)| rooms.iter().any(|room| file.starts_with(room)));
    found.unwrap_or(&SECTIONS[2]).0
}

/// Messages by section.
fn said(files: &BTreeMap<String, String>) -> BTreeMap<&'static str, Messages> {
    let mut said: BTreeMap<&str, Messages> = BTreeMap::new();
    for (file, text) in files.iter().filter(|(file, _)| !WITHOUT_MESSAGES.contains(&file.as_str())) {
        said.entry(section(file)).or_default().read(text);
    }
    said
}

/// What messages are sorted by: their letters and digits.
fn key(message: &str) -> String {
    message.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

/// Rows of a section of the page: message, cause and remedy.
fn rows<'a>(page: &'a str, section: &str) -> Vec<[&'a str; 3]> {
    let section = page.split(&format!("\n## {section}\n")).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches(['|', ' ']).split(" | ");
        [(); 3].map(|()| cells.next().unwrap_or_default().trim())
    })
    .collect()
}

/// What is wrong with the page. A row has the first words of its messages.
fn faults(page: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    let said = said(files);
    let none = Messages::default();
    for (section, _) in SECTIONS {
        let messages = said.get(section).unwrap_or(&none);
        let rows = rows(page, section);
        let listed: Vec<&str> = rows.iter().map(|[message, ..]| message.trim_matches('`')).collect();
        let lacks = |message: &&String| !listed.iter().any(|first_words| message.starts_with(first_words));
        let lacking = messages.needed.iter().filter(lacks);
        faults.extend(lacking.map(|message| format!("{section}: add | `{message}` | cause | remedy |")));
        for first_words in &listed {
            if !messages.allowed.iter().any(|message| message.starts_with(first_words)) {
                faults.push(format!("{section}: no source has `{first_words}`"));
            }
            if !messages.allowed.contains(*first_words) && count_words(first_words) < 2 {
                faults.push(format!("{section}: `{first_words}` could be any message"));
            }
        }
        for pair in listed.windows(2).filter(|pair| key(pair[0]) > key(pair[1])) {
            faults.push(format!("{section}: `{}` belongs after `{}`", pair[0], pair[1]));
        }
        for [message, cause, remedy] in rows {
            if cause.is_empty() || remedy.is_empty() {
                faults.push(format!("{section}: {message} has no cause or no remedy"));
            }
        }
    }
    faults
}

#[test]
fn page_lists_every_message_with_its_cause_and_remedy() {
    let mut files = BTreeMap::new();
    sources(&project("src"), &mut files);
    let messages: usize = said(&files).values().map(|messages| messages.needed.len()).sum();
    assert!(messages > 300, "{messages}");
    let page = read_to_string(project("docs/troubleshooting.md")).unwrap();
    let faults = faults(&page, &files);
    assert!(faults.is_empty(), "docs/troubleshooting.md\n{}", faults.join("\n"));
}

#[test]
fn message_without_a_row_is_found_wherever_the_code_has_it() {
    for (text, message) in [
        ("enum E { #[error(\"cannot read {0}: {}\", .0.desc())] A }", "cannot read …: …"),
        ("fn f() { warn!(\"{shown} is on a disk\") }", "… is on a disk"),
        (
            "fn f() -> M { M::new(\"it is on a disk\").with_help(\"use another directory\") }",
            "it is on a disk",
        ),
        ("fn f() { warn!(help = %g(\"use another directory\"), \"it is on a disk\") }", "it is on a disk"),
        ("fn f() -> R { bail!(\"it is not {{whole}}\") }", "it is not {whole}"),
        ("fn f() { x.context(\"an argument is missing\") }", "an argument is missing"),
        ("fn f() -> &'static str { \"its value is empty\" }", "its value is empty"),
    ] {
        let files = BTreeMap::from([("host/a.rs".to_owned(), text.to_owned())]);
        let found = faults("", &files);
        assert_eq!(found, [format!("Messages on the host: add | `{message}` | cause | remedy |")]);
        let page = format!("\n## Messages on the host\n\n| `{message}` | why | what |\n");
        assert_eq!(faults(&page, &files), Vec::<String>::new());
        let page = format!("\n## Messages on the host\n\n| `{message}` | why | |\n");
        assert_eq!(faults(&page, &files).len(), 1, "{page}");
    }
    let none = BTreeMap::from([(
        "cli/log.rs".to_owned(),
        "#[cfg(test)] mod t { const A: &str = \"one two three\"; }".to_owned(),
    )]);
    assert_eq!(faults("", &none), Vec::<String>::new());
    let page = "\n## Messages of either program\n\n| `b was said` | a | b |\n| `a was said` | a | b |\n";
    assert_eq!(faults(page, &none).len(), 3);
}

/// How advice begins, after a colon, a semicolon or a full stop.
const IMPERATIVES: [&str; 27] = [
    "add", "allow", "ask", "choose", "correct", "do not", "give", "include", "look", "make", "mount", "move",
    "name", "pack", "put", "raise", "remove", "rename", "replace", "run", "send", "set", "sign", "start",
    "take", "try", "use",
];

/// Returns the texts of errors that say what to do. Such advice belongs into
/// [`Help`](smbios_creds::text::help::Help).
fn texts_with_advice(file: &str, text: &str) -> Vec<String> {
    struct Texts(Vec<String>);
    impl Texts {
        fn take(&mut self, tokens: TokenStream) {
            for token in tokens {
                if let TokenTree::Literal(literal) = token
                    && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                {
                    self.0.push(text.value());
                }
            }
        }
    }
    impl<'ast> Visit<'ast> for Texts {
        fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
            if let syn::Meta::List(list) = &attribute.meta
                && list.path.is_ident("error")
            {
                self.take(list.tokens.clone());
            }
        }
    }
    let mut texts = Texts(Vec::new());
    texts.visit_file(&syn::parse_file(text).unwrap());
    let advises = |text: &String| {
        let text = text.to_lowercase();
        let mut parts = text.split([':', ';', '.']).skip(1).map(str::trim_start);
        parts.any(|part| IMPERATIVES.iter().any(|verb| part.starts_with(&format!("{verb} "))))
    };
    texts.0.into_iter().filter(advises).map(|text| format!("{file}: {text}")).collect()
}

#[test]
fn text_of_an_error_says_what_happened_and_not_what_to_do() {
    let mut files = BTreeMap::new();
    sources(&project("src"), &mut files);
    let found: Vec<String> = files.iter().flat_map(|(file, text)| texts_with_advice(file, text)).collect();
    assert!(found.is_empty(), "move the advice into Help::help():\n{}", found.join("\n"));
    for text in ["{0} is missing; use --into with another path", "{0}: pack the set again", "cut. Send less"]
    {
        let source = format!("#[error(\"{text}\")] struct E;");
        assert_eq!(texts_with_advice("a", &source), [format!("a: {text}")]);
    }
    assert!(texts_with_advice("a", "#[error(\"cannot give {0}: {1}\")] struct E;").is_empty());
}
