//! `docs/schema.json`: a JSON Schema (2020-12) of what `--json` prints, from the fields that the man page describes.
//!
//! An entry of the man page is the path of a field. In brackets, it has the types of the field, may refer to another
//! entry (`as`), and says if the field may be absent.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use crate::page;

/// A value of the JSON output, as the man page describes it.
#[derive(Default)]
struct Value {
    types: Vec<String>,
    /// The definition in the schema that describes the content of the value.
    reference: Option<String>,
    may_be_absent: bool,
    description: String,
    fields: BTreeMap<String, Value>,
    elements: Option<Box<Value>>,
}

/// Returns the schema, with a definition for each section: `list`, `check`, `plan` and so on.
///
/// # Errors
///
/// The man page cannot be read as one, or an entry has no types in brackets.
pub fn json(man: &str) -> anyhow::Result<String> {
    let markdown = page::markdown(man)?;
    let section = markdown.split("\n## JSON\n").nth(1).context("the page has no section on JSON")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut definitions = Vec::new();
    for part in section.split("\n### ").skip(1) {
        let (title, text) = part.split_once('\n').context("a section is empty")?;
        let mut root = Value::default();
        for entry in text.split("\n* `").skip(1) {
            let entry = entry.split("\n\n").next().unwrap_or_default();
            let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
            let (path, rest) = entry.split_once("`: (").with_context(|| format!("no types: {entry}"))?;
            let (types, text) = rest.split_once(')').with_context(|| format!("no end of types: {entry}"))?;
            describe(root.at(path), types, text)?;
        }
        definitions.push((title.to_owned(), root));
    }
    ensure!(definitions.len() >= 4, "only {} sections describe JSON", definitions.len());
    let mut out =
        "{\n \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n \"$defs\": {\n".to_owned();
    let written: Vec<String> =
        definitions.iter().map(|(title, root)| format!("  {}: {}", quoted(title), root.json(2))).collect();
    out.push_str(&written.join(",\n"));
    out.push_str("\n }\n}\n");
    Ok(out)
}

/// Stores in `value` what an entry of the man page says about it.
fn describe(value: &mut Value, types: &str, text: &str) -> anyhow::Result<()> {
    let kinds = types.split([';', ',']).next().unwrap_or_default();
    value.types = kinds.split(" or ").map(|kind| kind.trim().to_owned()).collect();
    let known = ["string", "number", "boolean", "null", "object", "array"];
    ensure!(value.types.iter().all(|kind| known.contains(&kind.as_str())), "a type is not known: {types}");
    value.may_be_absent = types.contains("absent");
    if let Some((_, what)) = types.split_once(", as ") {
        let what = what.split(';').next().unwrap_or_default();
        let (path, section) = what.split_once(" of ").unwrap_or(("", what));
        let path = path
            .replace("[]", "items")
            .split('.')
            .map(|part| match part {
                "" => String::new(),
                "items" => "/items".to_owned(),
                part => format!("/properties/{part}"),
            })
            .collect::<String>();
        value.reference = Some(format!("#/$defs/{section}{path}"));
    }
    value.description = text.trim().replace('`', "");
    Ok(())
}

impl Value {
    /// The value at a path, such as `findings[].place`.
    fn at(&mut self, path: &str) -> &mut Self {
        let mut value = self;
        for part in path.split('.') {
            let name = part.trim_end_matches("[]");
            if !name.is_empty() {
                value = value.fields.entry(name.to_owned()).or_default();
            }
            if part.ends_with("[]") {
                value = value.elements.get_or_insert_default();
            }
        }
        value
    }

    /// Returns the schema of the value as JSON, indented by `indent` blanks.
    fn json(&self, indent: usize) -> String {
        let mut parts = Vec::new();
        let types = match self.types.as_slice() {
            [] if self.elements.is_some() => quoted("array"),
            [] => quoted("object"),
            [one] => quoted(one),
            several => {
                format!("[{}]", several.iter().map(|kind| quoted(kind)).collect::<Vec<_>>().join(", "))
            }
        };
        parts.push(format!("\"type\": {types}"));
        if !self.description.is_empty() {
            parts.push(format!("\"description\": {}", quoted(&self.description)));
        }
        if let Some(reference) = &self.reference {
            parts.push(format!("\"$ref\": {}", quoted(reference)));
        }
        let inner = indent + 1;
        if let Some(elements) = &self.elements {
            parts.push(format!("\"items\": {}", elements.json(inner)));
        }
        if !self.fields.is_empty() {
            let fields = self
                .fields
                .iter()
                .map(|(name, field)| format!("{}: {}", quoted(name), field.json(inner + 1)));
            parts.push(object("properties", inner, &fields.collect::<Vec<_>>()));
            let needed = self.fields.iter().filter(|(_, field)| !field.may_be_absent);
            let needed: Vec<String> = needed.map(|(name, _)| quoted(name)).collect();
            if !needed.is_empty() {
                parts.push(format!("\"required\": [{}]", needed.join(", ")));
            }
        }
        let blanks = " ".repeat(indent);
        format!("{{\n{blanks} {}\n{blanks}}}", parts.join(&format!(",\n{blanks} ")))
    }
}

/// Returns a member that is an object, with one of its members on each line.
fn object(name: &str, indent: usize, members: &[String]) -> String {
    let blanks = " ".repeat(indent);
    format!("\"{name}\": {{\n{blanks} {}\n{blanks}}}", members.join(&format!(",\n{blanks} ")))
}

/// Returns a text as a string of JSON.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
