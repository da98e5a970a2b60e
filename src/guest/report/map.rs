//! `check --map`: shows where in the table each structure and each credential is, and where the table breaks.
//!
//! The map shows no byte of a string. The map shows a credential's name only if the delivery contains this name: text
//! that may be a value is not shown as a name. The number of lines has a limit, even if a table has very many
//! structures and strings.

use std::fmt::{Arguments, Display};

use crate::format::credential::Name;
use crate::format::fw_cfg::{self, Item, Kind};
use crate::format::oem_string::{self, Encoding, OemString};
use crate::format::smbios::entry_point::Form;
use crate::format::smbios::{END_OF_TABLE, Extent, Fault, OemStructure, Structure, Table};
use crate::guest::verify::delivery::{Delivery, Refusal};
use crate::guest::verify::finding::{Finding, Severity};
use crate::guest::verify::origin::Origin;
use crate::text::listing::{Text, Tone, count};

/// Maximum length of a line in characters.
pub const WIDTH: usize = 100;

/// Number of Type 11 structures, counted from the first, that always get lines of their own. A later Type 11 structure
/// gets lines only if it has a finding.
pub const STRUCTURES_MAX: usize = 8;

/// Number of strings in each structure, and of `fw_cfg` items, counted from the first, that always get a line of their
/// own. A later string or item gets a line only if it has a finding.
pub const STRINGS_MAX: usize = 32;

/// Maximum length of a credential's name in the map, in characters. A longer name is shortened.
const NAME_MAX: usize = 32;

/// Number of blanks before a finding: below the line of a structure (`INDENT`), and below the line of a string
/// (`INDENT_OF_STRING`).
const INDENT: usize = 20;
const INDENT_OF_STRING: usize = 27;

/// Returns the map of a table and of `fw_cfg` items, in which each finding has a line below the line of its place.
/// `delivery` must be the result of verifying the same table and items.
///
/// ```
/// use smbios_creds::format::smbios::Table;
/// use smbios_creds::guest::report::map::map;
/// use smbios_creds::guest::verify::policy::Policy;
/// use smbios_creds::guest::verify::set::verify_table;
/// let data = b"\x0b\x05\x00\x0e\x01io.systemd.credential:foo=bar\0\0\x7f\x04\0\xfe\0\0";
/// let table = Table::parse(b"", data.to_vec());
/// let map = map(Some(&table), &[], &verify_table(&table, &Policy::default()));
/// assert!(map.as_str().contains("structure 11-0, handle 0x0e00: 1 string announced, 1 found"));
/// assert!(map.as_str().contains("foo") && !map.as_str().contains("bar"));
/// ```
#[must_use]
pub fn map(table: Option<&Table>, items: &[Item], delivery: &Delivery) -> Text {
    let mut map = Map { text: Text::default(), delivery };
    map.text.push("   OFFSET   LENGTH  WHAT", Some(Tone::Heading));
    map.text.push("\n", None);
    map.items(items);
    map.whole(table);
    if let Some(table) = table {
        map.structures(table);
        map.rest(table);
    }
    map.lost();
    map.text
}

/// The lines of the map that are written so far, and the delivery that the map shows.
struct Map<'a> {
    text: Text,
    delivery: &'a Delivery,
}

/// Consecutive structures, strings or items that share one line of the map.
#[derive(Default)]
struct Run {
    /// Offset in the table of the run's first structure or string; `None` for items.
    offset: Option<usize>,
    /// Length of all structures, strings or items of the run together, in bytes.
    length: usize,
    count: usize,
    /// How many of the run's structures have Type 11.
    oem: usize,
}

impl Run {
    fn add(&mut self, offset: Option<usize>, length: usize) {
        self.offset = self.offset.or(offset);
        self.length += length;
        self.count += 1;
    }
}

/// A line of the map of a table, for example for a structure. A line may show a credential, and findings below it.
#[derive(Clone, Copy)]
enum Place {
    /// The structure or the string at this offset in the table.
    Offset(usize),
    /// The item of `fw_cfg` with this key.
    Item(u16),
    /// The set as a whole, for findings that are not about one credential.
    Whole,
    /// Missing credentials: they are neither in the table nor in `fw_cfg`.
    Nowhere,
}

impl Place {
    fn is(self, origin: &Origin) -> bool {
        match (self, origin) {
            (Self::Offset(offset), Origin::Smbios { offset: at, .. }) => *at == Some(offset),
            (Self::Item(key), Origin::File { .. }) => *origin == Origin::fw_cfg(key),
            _ => false,
        }
    }

    fn has(self, Finding { origin, credential, .. }: &Finding) -> bool {
        match (self, origin) {
            (Self::Whole, None) => credential.is_none(),
            (Self::Nowhere, None) => credential.is_some(),
            (_, origin) => origin.as_ref().is_some_and(|origin| self.is(origin)),
        }
    }
}

impl Map<'_> {
    /// Writes a line for the entry point, and a line for every finding about the set as a whole.
    fn whole(&mut self, table: Option<&Table>) {
        if let Some((table, entry_point)) = table.and_then(|table| Some((table, table.entry_point()?))) {
            let ((major, minor), announced) = (entry_point.version, entry_point.table_size);
            let (form, found) =
                (if entry_point.form == Form::Smbios2 { "" } else { "3" }, table.data().len());
            let text = format_args!(
                "entry point _SM{form}_, SMBIOS {major}.{minor}: {announced} bytes announced, {found} found"
            );
            self.line(None, None, text);
        } else {
            let text = if table.is_some() { "entry point that cannot be read" } else { "no SMBIOS table" };
            self.line(None, None, format_args!("{text}"));
        }
        self.marks(INDENT, Place::Whole);
    }

    /// Writes the lines for each Type 11 structure, and one line for all other structures between two Type 11
    /// structures.
    fn structures(&mut self, table: &Table) {
        let mut oem = table.oem_structures();
        let mut next = oem.next();
        let mut run = Run::default();
        for structure in table.structures() {
            let Structure { kind, offset, end, .. } = *structure;
            let own = next.filter(|next| next.structure.offset == offset);
            if own.is_some() {
                next = oem.next();
            }
            let is_marked = self.is_found_in(offset, offset + 1);
            let is_last = kind == END_OF_TABLE && table.structures().last() == Some(structure);
            let shown = own.filter(|own| own.index < STRUCTURES_MAX || self.is_found_in(offset, end));
            if is_marked || is_last || shown.is_some() {
                self.run(&mut run, "other structure");
            }
            if let Some(shown) = shown {
                self.structure(&shown);
                continue;
            }
            if is_last {
                self.line(Some(offset), Some(end - offset), format_args!("end of the table"));
            } else {
                run.add(Some(offset), end - offset);
                run.oem += usize::from(own.is_some());
            }
            if is_marked {
                self.run(&mut run, "other structure");
                self.marks(INDENT, Place::Offset(offset));
            }
        }
        self.run(&mut run, "other structure");
    }

    /// Writes the lines for a Type 11 structure and its strings.
    fn structure(&mut self, oem: &OemStructure<'_>) {
        let Structure { offset, end, handle, ref strings, .. } = *oem.structure;
        let (index, found, [high, low]) = (oem.index, strings.len(), handle.to_be_bytes());
        // If the structure has no count byte, the map shows 0 announced strings: verification has already reported this
        // fault.
        let announced = count(oem.count().unwrap_or_default().into(), "string");
        let text = format_args!(
            "structure 11-{index}, handle 0x{high:02x}{low:02x}: {announced} announced, {found} found"
        );
        self.line(Some(offset), Some(end - offset), text);
        self.marks(INDENT, Place::Offset(offset));
        let mut hidden = Run::default();
        for (number, (offset, string)) in (1..).zip(oem.strings()) {
            // No value is decoded here: the delivery already says which strings are credentials.
            let kind = || match oem_string::decode(string) {
                OemString::Manifest(_) => "manifest",
                OemString::Signature(_) => "signature",
                OemString::Receipt(_) => "receipt",
                OemString::NearMiss { .. } => "mistyped",
                _ if string.is_empty() => "empty",
                _ => "other",
            };
            if number > STRINGS_MAX && !self.is_found_in(offset, offset + 1) {
                hidden.add(Some(offset), string.len() + 1);
            } else {
                self.run(&mut hidden, "more string");
                self.string(Place::Offset(offset), string.len(), number, &kind);
            }
        }
        self.run(&mut hidden, "more string");
    }

    /// Writes the lines for items of `fw_cfg`. The items come first in the map, because the import reads them before
    /// the table.
    fn items(&mut self, items: &[Item]) {
        if !items.is_empty() {
            self.line(None, None, format_args!("fw_cfg items, in the order of their keys"));
        }
        let mut hidden = Run::default();
        for (index, Item { key, path, content }) in items.iter().enumerate() {
            let place = Place::Item(*key);
            let kind = || match fw_cfg::kind(path.expose()) {
                Some(Kind::Signature) => "signature",
                Some(Kind::Receipt) => "receipt",
                _ => "manifest",
            };
            if index >= STRINGS_MAX && !self.delivery.findings.iter().any(|finding| place.has(finding)) {
                hidden.add(None, content.size());
            } else {
                self.string(place, content.size(), (*key).into(), &kind);
            }
        }
        self.run(&mut hidden, "more item");
    }

    /// Writes the lines for bytes after the last structure, and for bytes that are missing after it.
    fn rest(&mut self, table: &Table) {
        for fault in table.faults() {
            let (offset, length, what) = match *fault {
                Fault::Damaged { offset, remaining, .. } => {
                    (offset, remaining, "not a structure: the table breaks here")
                }
                Fault::BehindEndOfTable { offset, remaining } => {
                    (offset, remaining, "stray bytes after the end of the table")
                }
                Fault::Cut(Extent { announced_bytes: announced, found_bytes: found, .. }) => {
                    (found, announced.saturating_sub(found), "announced, but missing: the table is cut here")
                }
                _ => continue,
            };
            self.line(Some(offset), Some(length), format_args!("{what}"));
            self.marks(INDENT, Place::Offset(offset));
        }
    }

    /// Writes the lines for credentials that are missing both in the table and in `fw_cfg`.
    fn lost(&mut self) {
        if self.delivery.findings.iter().any(|finding| Place::Nowhere.has(finding)) {
            self.line(None, None, format_args!("missing: neither in SMBIOS nor in fw_cfg"));
            self.marks(INDENT, Place::Nowhere);
        }
    }

    /// Whether a finding is at an offset in the table that is at least `start` and less than `end`.
    fn is_found_in(&self, start: usize, end: usize) -> bool {
        let is_in = |finding: &Finding| matches!(finding.origin, Some(Origin::Smbios { offset: Some(at), .. }) if at >= start && at < end);
        self.delivery.findings.iter().any(is_in)
    }

    /// Writes the line that all structures, strings or items of a run share.
    fn run(&mut self, run: &mut Run, noun: &str) {
        let Run { offset, length, count: number, oem } = std::mem::take(run);
        if number > 0 {
            let others = count(number - oem, noun);
            if oem > 0 {
                let more = count(oem, "more structure");
                let text = format_args!("{more} of Type 11 without findings, {others} of other types");
                self.line(offset, Some(length), text);
            } else {
                self.line(offset, Some(length), format_args!("{others}"));
            }
        }
    }

    /// Writes a line for a string or an item, and a line for each of its findings. `kind` says what the string or item
    /// is if it is not a credential.
    fn string(&mut self, place: Place, length: usize, number: usize, kind: &dyn Fn() -> &'static str) {
        let Delivery { entries, sealed, .. } = self.delivery;
        let (kind, name, size, refusal) =
            if let Some(entry) = entries.iter().find(|entry| place.is(&entry.origin)) {
                let kind = match entry.encoding {
                    None => "raw",
                    Some(Encoding::Text) => "text",
                    Some(Encoding::Binary) => "binary",
                };
                (kind, entry.name.as_ref(), entry.size(), entry.refusal())
            } else if let Some(entry) = sealed.iter().find(|entry| place.is(&entry.origin)) {
                let size = entry.sealed().map(|sealed| sealed.blob.text().len());
                ("encrypted", entry.name.as_ref(), size, entry.intact().err())
            } else {
                (kind(), None, None, None)
            };
        let mut name = name.map_or_else(|| "-".to_owned(), Name::to_string);
        shorten(&mut name, NAME_MAX);
        let size = size.map_or_else(String::new, |size| count(size, "byte"));
        let refusal = refusal.map_or("", Refusal::as_str);
        let offset = if let Place::Offset(offset) = place { Some(offset) } else { None };
        let text = format_args!("{number:>5}  {kind:<9} {name:<20} {size:>11}  {refusal}");
        self.line(offset, Some(length), text);
        self.marks(INDENT_OF_STRING, place);
    }

    /// Writes a line: an offset in the table, a length in bytes, and a text.
    fn line(&mut self, offset: Option<usize>, length: Option<usize>, what: Arguments<'_>) {
        let [offset, length] =
            [offset, length].map(|number| number.map_or_else(|| "-".to_owned(), |number| number.to_string()));
        self.push(format!("{offset:>9} {length:>8}  {what}"), None);
    }

    /// Writes a line with the text of each finding at this place.
    fn marks(&mut self, indent: usize, place: Place) {
        for finding in self.delivery.findings.iter().filter(|finding| place.has(finding)) {
            let tone = match finding.severity {
                Severity::Error => Some(Tone::Bad),
                Severity::Warning => Some(Tone::Doubtful),
                Severity::Note => None,
            };
            // The line above already names the credential and its place, so the line of the finding shows only what is
            // wrong. Missing credentials have no such line.
            let text: &dyn Display = if let Place::Nowhere = place { finding } else { &finding.kind };
            self.push(format!("{:indent$}^ {text}", ""), tone);
        }
    }

    fn push(&mut self, mut line: String, tone: Option<Tone>) {
        while line.ends_with(' ') {
            line.pop();
        }
        shorten(&mut line, WIDTH);
        line.push('\n');
        self.text.push(&line, tone);
    }
}

/// Shortens a text to at most `maximum` bytes. A shortened text ends in `...`.
fn shorten(text: &mut String, maximum: usize) {
    if text.len() > maximum {
        text.truncate(text.floor_char_boundary(maximum - 3));
        text.push_str("...");
    }
}
