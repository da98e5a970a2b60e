//! Reports a plan as human-readable text and as JSON. The report contains the credentials' names and sizes, but never
//! their values.

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
use crate::text::help::{Help, Message};
use crate::text::listing::{self, Cell, Text, Tone, count};
use crate::trust::sealed::Key;
use crate::trust::signature::KeyId;

/// The report of a plan, which can be written as JSON or as text.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    /// Whether `run` would start the hypervisor.
    pub starts: bool,
    /// Name of the hypervisor, if it would be started unchanged and without credentials because its arguments start no
    /// guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<&'static str>,
    /// Why the hypervisor would not be started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Message>,
    /// Warnings for the user. They do not prevent the start.
    pub warnings: Vec<Message>,
    /// The planned start. `None` if the start was refused, or if the arguments start no guest.
    #[serde(flatten)]
    pub planned: Option<Planned>,
}

/// A planned start.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The kind of hypervisor.
    pub hypervisor: &'static str,
    /// How the strings get to the hypervisor.
    #[serde(rename = "delivery")]
    pub carrier: Carrier,
    /// The program that receives the strings.
    pub receiver: ReceiverRow,
    /// Every plain credential that the manifest lists.
    pub credentials: Vec<Row>,
    /// The terms and signatures of a packed set. `None` if the credentials were not packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<SetRow>,
    /// Every encrypted credential that the manifest lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encrypted: Vec<EncryptedRow>,
    /// Number of OEM strings that are sent, including the manifest. 0 if the machine has no SMBIOS.
    pub strings: usize,
    /// Number of `fw_cfg` items that are sent.
    #[serde(rename = "fw_cfg_items")]
    pub items: usize,
    /// The Type 11 structures that contain the strings. This program builds the structures, or the hypervisor builds a
    /// single structure.
    pub structures: Vec<StructureRow>,
    /// Every limit on the route into the guest.
    pub limits: Vec<LimitRow>,
    /// The arguments as other users will see them.
    pub arguments: Vec<String>,
}

/// The program that receives the strings.
#[derive(Debug, Serialize)]
pub struct ReceiverRow {
    /// The program that is started, escaped for printing.
    pub program: String,
    /// If the started program is a wrapper, another program, which the wrapper executes, receives the strings. The text
    /// is a word that the executable file of this other program must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executes: Option<&'static str>,
}

/// The row of a plain credential.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The credential's name in the guest.
    pub name: Name,
    /// Size of the value in bytes.
    pub size: usize,
    /// Whether the command line, or a file that it names, already contained the credential.
    pub existing: bool,
    /// The channels through which the credential gets into the guest.
    pub channels: Vec<Channel>,
    /// The source of the credential.
    #[serde(skip)]
    pub origin: Origin,
}

/// The row of a packed set.
#[derive(Debug, Serialize)]
pub struct SetRow {
    /// Names of the machines for which the set is meant.
    pub audience: Vec<String>,
    /// Serial number of the set.
    pub serial: Option<u64>,
    /// End of validity, in seconds since 1970-01-01 00:00 UTC.
    pub not_after: Option<u64>,
    /// The keys that the signatures name.
    pub signatures: Vec<KeyId>,
}

/// The row of an encrypted credential.
#[derive(Debug, Serialize)]
pub struct EncryptedRow {
    /// The credential's name in the guest.
    pub name: Name,
    /// Size in bytes of the encrypted value in base64.
    pub size: usize,
    /// The kind of key that decrypts the credential.
    pub key: &'static str,
    /// Whether the command line, or a file that it names, already contained the credential.
    pub existing: bool,
    /// The source of the credential.
    #[serde(skip)]
    pub origin: Origin,
}

/// The row of a structure.
#[derive(Debug, Serialize)]
pub struct StructureRow {
    /// Number of strings in the structure.
    pub strings: usize,
    /// Size of the structure in bytes.
    pub bytes: usize,
}

/// The row of a limit.
#[derive(Debug, Serialize)]
pub struct LimitRow {
    /// Name, unit and maximum of the limit, and what to do if it is exceeded.
    #[serde(flatten)]
    pub limit: &'static Limit,
    /// The amount that the set needs.
    pub used: usize,
    /// The amount that is available to the set.
    pub available: usize,
    /// Whether the set needs more than is available.
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

    /// Returns one row for each property of the set: the property's name and its value.
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

/// Returns the name of a credential's source, as it is shown in tables.
fn from(origin: Origin) -> &'static str {
    match origin {
        Origin::Directory => "directory",
        Origin::CommandLine => "command line",
        Origin::File => "file of the command line",
        Origin::Set => "set",
    }
}

impl PlanReport {
    /// Makes the report of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let errors: Vec<Message> = plan.exceeded().map(Message::from).collect();
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

    /// Makes the report for a hypervisor whose arguments start no guest.
    #[must_use]
    pub fn probe(hypervisor: &'static str) -> Self {
        let (errors, warnings) = (Vec::new(), Vec::new());
        Self { starts: true, unchanged: Some(hypervisor), errors, warnings, planned: None }
    }

    /// Makes the report for a start that was refused.
    #[must_use]
    pub fn refused(error: Message) -> Self {
        let (errors, warnings) = (vec![error], Vec::new());
        Self { starts: false, unchanged: None, errors, warnings, planned: None }
    }

    /// Returns the report as human-readable text: whether the hypervisor starts, what is wrong, and the planned start.
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
            if let Some(help) = message.help() {
                _ = writeln!(text, "help: {help}");
            }
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
                    "the first program that {program} executes with all arguments, and whose file contains '{word}'; {program} \
                     itself does not receive the secrets"
                )
            },
        )
    }
}

impl Planned {
    fn summary(&self) -> String {
        let how = match self.carrier {
            Carrier::SealedMemfds => "in memory-only files",
            Carrier::PrivateArgument => "in an argument that only it can read",
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
            [
                name.to_string(),
                listing::Size(*size as u64).to_string(),
                by.join(", "),
                from(*origin).to_owned(),
            ]
            .map(|cell| Cell::new(cell, None))
        });
        let encrypted = self.encrypted.iter().map(|EncryptedRow { name, size, key, origin, .. }| {
            let by = format!("{}, encrypted ({key})", Channel::Smbios.word());
            [name.to_string(), listing::Size(*size as u64).to_string(), by, from(*origin).to_owned()]
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
