//! A plan for people, and as JSON. Names and sizes, never values.

use std::fmt::Write as _;

use serde::Serialize;

use super::capacity::{Excess, Limit, Structures, Usage};
use super::hypervisor::Channel;
use super::plan::{Carrier, Plan, Receiver};
use super::strings::{Content, OemStrings, Origin};
use crate::format::credential::Name;
use crate::format::manifest::{Manifest, Terms};
use crate::format::smbios::write;
use crate::text::day::Day;
use crate::text::escape::ShownPath;
use crate::text::listing::{self, Cell, Text, Tone, count};
use crate::trust::sealed::Key;
use crate::trust::signature::KeyId;

/// A plan, to be written as JSON or as text.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    /// Whether `run` would start the hypervisor.
    pub starts: bool,
    /// The hypervisor that would be started unchanged and without credentials, since its arguments start no guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<&'static str>,
    /// Why not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// What to know before it is started.
    pub warnings: Vec<String>,
    /// What would be done, if that can be said.
    #[serde(flatten)]
    pub planned: Option<Planned>,
}

/// What would be done.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// Which hypervisor it is.
    pub hypervisor: &'static str,
    /// What carries the strings.
    #[serde(rename = "delivery")]
    pub carrier: Carrier,
    /// The program that is given the strings.
    pub receiver: ReceiverRow,
    /// Every plain credential of the manifest.
    pub credentials: Vec<Row>,
    /// What the manifest says of a packed set, and who has signed it. None if it was not packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<SetRow>,
    /// Every encrypted one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encrypted: Vec<EncryptedRow>,
    /// OEM strings that are sent, the manifest among them. None where the machine has no SMBIOS.
    pub strings: usize,
    /// Items of `fw_cfg` that are sent.
    #[serde(rename = "fw_cfg_items")]
    pub items: usize,
    /// The structures that they take: those we build, or the one that the hypervisor builds.
    pub structures: Vec<StructureRow>,
    /// Every limit on the way.
    pub limits: Vec<LimitRow>,
    /// The arguments as others will see them.
    pub arguments: Vec<String>,
}

/// The program that is given the strings.
#[derive(Debug, Serialize)]
pub struct ReceiverRow {
    /// The program that is started, escaped for printing.
    pub program: String,
    /// If it is not this one: the word that a program which it executes must have in its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executes: Option<&'static str>,
}

/// A credential.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name in the guest.
    pub name: Name,
    /// Bytes of its value.
    pub size: usize,
    /// Whether it was there already: on the command line, or in a file that it names.
    pub existing: bool,
    /// How it gets into the guest.
    pub channels: Vec<Channel>,
    /// Where it is from.
    #[serde(skip)]
    pub origin: Origin,
}

/// A packed set.
#[derive(Debug, Serialize)]
pub struct SetRow {
    /// Machines that it is meant for.
    pub audience: Vec<String>,
    /// Its number.
    pub serial: Option<u64>,
    /// When it ends to be valid, in seconds since 1970-01-01 00:00 UTC.
    pub not_after: Option<u64>,
    /// The keys of its signatures, as these say.
    pub signatures: Vec<KeyId>,
}

/// An encrypted credential.
#[derive(Debug, Serialize)]
pub struct EncryptedRow {
    /// Its name in the guest.
    pub name: Name,
    /// Bytes of its base64.
    pub size: usize,
    /// The kind of key that opens it.
    pub key: &'static str,
    /// Whether it was there already: on the command line, or in a file that it names.
    pub existing: bool,
    /// Where it is from.
    #[serde(skip)]
    pub origin: Origin,
}

/// A structure.
#[derive(Debug, Serialize)]
pub struct StructureRow {
    /// Strings in it.
    pub strings: usize,
    /// Bytes of it.
    pub bytes: usize,
}

/// A limit.
#[derive(Debug, Serialize)]
pub struct LimitRow {
    /// The limit itself.
    #[serde(flatten)]
    pub limit: &'static Limit,
    /// What is needed.
    pub used: usize,
    /// What there is.
    pub available: usize,
    /// Whether more is needed than there is.
    pub exceeded: bool,
}

impl From<&Usage> for LimitRow {
    fn from(usage: &Usage) -> Self {
        let Usage { limit, used, available } = *usage;
        Self { limit, used, available, exceeded: usage.is_exceeded() }
    }
}

impl Row {
    fn new(plan: &Plan, (name, size, origin): (&Name, usize, Origin)) -> Self {
        let existing = matches!(origin, Origin::CommandLine | Origin::File);
        Self { name: name.clone(), size, existing, channels: plan.channels(name), origin }
    }
}

impl SetRow {
    fn new(strings: &OemStrings) -> Option<Self> {
        let keys = strings.contents().filter_map(|(content, _)| match content {
            Content::Signature(key) => Some(*key),
            _ => None,
        });
        let signatures: Vec<KeyId> = keys.collect();
        if signatures.is_empty() && !strings.credentials().any(|(.., origin)| origin == Origin::Set) {
            return None;
        }
        let Terms { audience, serial, not_after, .. } =
            Manifest::decode(strings.manifest()).ok()?.terms().clone();
        Some(Self { audience, serial, not_after, signatures })
    }

    /// Two columns.
    fn lines(&self) -> Vec<[Cell<'_>; 2]> {
        let keys: Vec<String> = self.signatures.iter().map(ToString::to_string).collect();
        let signed =
            if keys.is_empty() { "nobody".to_owned() } else { format!("key {}", keys.join(", key ")) };
        let mut rows = vec![("signed by", signed)];
        if !self.audience.is_empty() {
            rows.push(("audience", self.audience.join(", ")));
        }
        rows.extend(self.serial.map(|serial| ("serial", serial.to_string())));
        rows.extend(self.not_after.map(|seconds| ("not after", Day(seconds).to_string())));
        rows.into_iter().map(|(name, value)| [Cell::new(name, None), Cell::new(value, None)]).collect()
    }
}

impl EncryptedRow {
    fn new((name, size, key, origin): (&Name, usize, &'static Key, Origin)) -> Self {
        let existing = matches!(origin, Origin::CommandLine | Origin::File);
        Self { name: name.clone(), size, key: key.as_str(), existing, origin }
    }
}

/// Where a credential is from, in words.
fn from(origin: Origin) -> &'static str {
    match origin {
        Origin::Directory => "directory",
        Origin::CommandLine => "command line",
        Origin::File => "file of the command line",
        Origin::Set => "set",
    }
}

impl PlanReport {
    /// The report of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let errors: Vec<String> = plan.exceeded().map(ToString::to_string).collect();
        let sizes = plan.strings.sizes();
        let structures = plan.route.pack(&sizes).into_iter().map(|range| {
            let sizes = sizes.get(range).unwrap_or_default();
            StructureRow { strings: sizes.len(), bytes: write::structure_size(sizes) }
        });
        let has_smbios = plan.route.structures != Structures::None;
        let rows: Vec<Row> = plan.strings.credentials().map(|row| Row::new(plan, row)).collect();
        let items = rows.iter().filter(|row| row.channels.contains(&Channel::FwCfg)).count();
        let planned = Planned {
            hypervisor: plan.hypervisor.name(),
            carrier: plan.carrier,
            receiver: ReceiverRow {
                program: ShownPath::from(plan.program.as_path()).to_string(),
                executes: match plan.receiver {
                    Receiver::Program => None,
                    Receiver::Executed { word } => Some(word),
                },
            },
            credentials: rows,
            set: SetRow::new(&plan.strings),
            encrypted: plan.strings.encrypted().map(EncryptedRow::new).collect(),
            strings: if has_smbios { sizes.len() } else { 0 },
            items: if has_smbios {
                items
            } else {
                items + 1 + plan.strings.signatures().chain(plan.strings.receipt()).count()
            },
            structures: structures.collect(),
            limits: plan.usages.iter().map(LimitRow::from).collect(),
            arguments: plan.visible(),
        };
        let (starts, warnings) = (errors.is_empty(), plan.warnings.clone());
        Self { starts, unchanged: None, errors, warnings, planned: Some(planned) }
    }

    /// The report of a start without a guest.
    #[must_use]
    pub fn probe(hypervisor: &'static str) -> Self {
        let (errors, warnings) = (Vec::new(), Vec::new());
        Self { starts: true, unchanged: Some(hypervisor), errors, warnings, planned: None }
    }

    /// The report where there is no plan.
    #[must_use]
    pub fn refused(error: String) -> Self {
        let (errors, warnings) = (vec![error], Vec::new());
        Self { starts: false, unchanged: None, errors, warnings, planned: None }
    }

    /// For people: whether it starts, what is wrong, and what would be done.
    #[must_use]
    pub fn text(&self) -> Text {
        let mut text = Text::default();
        // Writing to a string cannot fail.
        let summary = match (&self.planned, self.unchanged) {
            (Some(planned), _) if self.starts => Some(planned.summary()),
            (_, Some(hypervisor)) => {
                Some(format!("{hypervisor} unchanged, without credentials: these arguments start no guest"))
            }
            _ => None,
        };
        if let Some(summary) = summary {
            text.push("starts", Some(Tone::Good));
            _ = writeln!(text, ": {summary}");
            if let Some(planned) = &self.planned {
                text.push("receiver", Some(Tone::Heading));
                _ = writeln!(text, ": {}", planned.receiver.sentence());
            }
        } else {
            text.push("does not start", Some(Tone::Bad));
            text.push("\n", None);
        }
        let errors = self.errors.iter().map(|error| ("error", Tone::Bad, error));
        let warnings = self.warnings.iter().map(|warning| ("warning", Tone::Doubtful, warning));
        for (word, tone, message) in errors.chain(warnings) {
            text.push(word, Some(tone));
            _ = writeln!(text, ": {message}");
        }
        if let Some(planned) = &self.planned {
            planned.tables(&mut text);
        }
        text
    }
}

impl ReceiverRow {
    fn sentence(&self) -> String {
        let Self { program, executes } = self;
        executes.map_or_else(
            || program.clone(),
            |word| {
                format!(
                    "the first program with '{word}' in its file that {program} executes with all of its arguments; \
                     {program} itself does not receive the secrets"
                )
            },
        )
    }
}

impl Planned {
    fn summary(&self) -> String {
        let how = match self.carrier {
            Carrier::SealedMemfds => "in files that exist in memory alone",
            Carrier::PrivateArgument => "in an argument that it alone sees",
            Carrier::PlainArgument => "IN PLAIN TEXT on its command line",
        };
        let mut parts = Vec::new();
        if self.strings > 0 {
            let structures = count(self.structures.len(), "structure");
            parts.push(format!("{} in {structures}", count(self.strings, "OEM string")));
        }
        if self.items > 0 {
            parts.push(count(self.items, "fw_cfg item"));
        }
        let mut credentials = count(self.credentials.len(), "credential");
        if !self.encrypted.is_empty() {
            credentials = format!("{credentials} and {} encrypted", self.encrypted.len());
        }
        format!("{} with {credentials} ({}) {how}", self.hypervisor, parts.join(", "))
    }

    fn tables(&self, text: &mut Text) {
        let rows = self.credentials.iter().map(|Row { name, size, origin, channels, .. }| {
            let by: Vec<&str> = channels.iter().map(|channel| channel.word()).collect();
            [name.to_string(), listing::size(*size as u64), by.join(", "), from(*origin).to_owned()]
                .map(|cell| Cell::new(cell, None))
        });
        let encrypted = self.encrypted.iter().map(|EncryptedRow { name, size, key, origin, .. }| {
            let by = format!("{}, encrypted ({key})", Channel::Smbios.word());
            [name.to_string(), listing::size(*size as u64), by, from(*origin).to_owned()]
                .map(|cell| Cell::new(cell, None))
        });
        let rows = rows.chain(encrypted);
        let headings = Cell::headings(["NAME", "SIZE", "CHANNEL", "FROM"]);
        let lines: Vec<_> = std::iter::once(headings).chain(rows).collect();
        text.push("\n", None);
        text.push_columns(&lines, &[1]);

        if let Some(set) = &self.set {
            let lines: Vec<_> = std::iter::once(Cell::headings(["SET", ""])).chain(set.lines()).collect();
            text.push("\n", None);
            text.push_columns(&lines, &[]);
        }

        let rows = self.limits.iter().map(|LimitRow { limit, used, available, exceeded }| {
            let tone =
                exceeded.then_some(if limit.excess == Excess::Refuse { Tone::Bad } else { Tone::Doubtful });
            let mark = if *exceeded { "exceeded" } else { "" };
            let cell = |text: String| Cell::new(text, None);
            let (name, unit) = (limit.name.to_owned(), limit.unit.to_string());
            let mark = Cell::new(mark, tone);
            [cell(name), Cell::new(used.to_string(), tone), cell(available.to_string()), cell(unit), mark]
        });
        let headings = Cell::headings(["LIMIT", "USED", "AVAILABLE", "", ""]);
        let lines: Vec<_> = std::iter::once(headings).chain(rows).collect();
        text.push("\n", None);
        text.push_columns(&lines, &[1, 2]);

        text.push("\n", None);
        text.push("ARGUMENTS", Some(Tone::Heading));
        text.push(" as others will see them\n", None);
        for argument in &self.arguments {
            _ = writeln!(text, "  {argument}");
        }
    }
}
