//! Arguments for QEMU in a domain that is there: its text stays as it is, byte for byte, and they are put into it.
//!
//! libvirt takes them from elements `arg` of `commandline`, both in QEMU's namespace, whatever its prefix is
//! (`qemuDomainDefNamespaceParse` in `src/qemu/qemu_domain.c`).

use std::ops::Range;

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, PrefixDeclaration, ResolveResult};
use quick_xml::{NsReader, XmlVersion};

use super::{NAMESPACE, argument_elements, command_line};

/// Why a domain cannot be changed. No text of it is shown: others may have put secrets there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is no XML.
    #[error("the domain is not well-formed XML at byte {0}")]
    Malformed(u64),
    /// It has a document type, which can change what the rest of it means.
    #[error("the domain has a document type declaration, which no domain of libvirt needs; remove it")]
    DocumentType,
    /// It says that it is written in another encoding.
    #[error("the domain is declared to have another encoding than UTF-8; write it in UTF-8")]
    Encoding,
    /// Its one element is not `<domain>`.
    #[error("the XML is not one <domain> of libvirt with elements in it")]
    NoDomain,
    /// The element for arguments is there twice.
    #[error("the domain has <commandline> of QEMU's namespace twice; make one of them")]
    Twice,
    /// One of the arguments is there.
    #[error("the domain has one of these arguments already; ask for the hook once")]
    Present,
}

/// What is put into a domain, and where.
struct Change {
    /// What is replaced: nothing, or the end of an empty element.
    range: Range<usize>,
    text: String,
}

/// The domain, with arguments for QEMU added after those that it has.
///
/// # Errors
/// [`EditError`], if they cannot be added so that libvirt takes each of them once.
pub fn with_arguments(domain: &str, arguments: &[&str]) -> Result<String, EditError> {
    let Change { range, text } = Search::new(domain, arguments).run()?;
    let before = domain.get(..range.start).unwrap_or_default();
    let after = domain.get(range.end..).unwrap_or_default();
    Ok([before, &text, after].concat())
}

/// One pass through a domain.
struct Search<'a> {
    reader: NsReader<&'a [u8]>,
    arguments: &'a [&'a str],
    /// Where the next event begins, in bytes.
    at: usize,
    /// Elements that are open.
    depth: usize,
    /// The element for arguments, while it is open: its prefix, with a colon if there is one.
    open: Option<String>,
    /// What to do where there are arguments.
    existing: Option<Change>,
    /// What to do where there are none. It is known at the end of the root.
    new: Option<Change>,
}

impl<'a> Search<'a> {
    fn new(domain: &'a str, arguments: &'a [&'a str]) -> Self {
        Self {
            reader: NsReader::from_str(domain),
            arguments,
            at: 0,
            depth: 0,
            open: None,
            existing: None,
            new: None,
        }
    }

    fn run(mut self) -> Result<Change, EditError> {
        loop {
            self.at = self.position();
            let event =
                self.reader.read_event().map_err(|_| EditError::Malformed(self.reader.error_position()))?;
            match event {
                Event::Start(element) => {
                    self.element(&element, false)?;
                    self.depth += 1;
                }
                Event::Empty(element) => self.element(&element, true)?,
                Event::End(_) => self.end(),
                Event::DocType(_) => return Err(EditError::DocumentType),
                Event::Decl(declaration) => match declaration.encoding() {
                    None => {}
                    Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => {}
                    Some(_) => return Err(EditError::Encoding),
                },
                Event::Text(text) if self.depth == 0 && !text.trim().is_empty() => {
                    return Err(EditError::NoDomain);
                }
                Event::CData(_) | Event::GeneralRef(_) if self.depth == 0 => return Err(EditError::NoDomain),
                Event::Text(_)
                | Event::CData(_)
                | Event::GeneralRef(_)
                | Event::Comment(_)
                | Event::PI(_) => {}
                Event::Eof if self.depth > 0 => return Err(self.malformed()),
                Event::Eof => return self.existing.or(self.new).ok_or(EditError::NoDomain),
            }
        }
    }

    /// Bytes that have been read.
    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn malformed(&self) -> EditError {
        EditError::Malformed(self.reader.buffer_position())
    }

    /// Whether an element of this name is in QEMU's namespace, or in none.
    fn is(&self, element: &BytesStart<'_>, local: &str, namespace: Option<&str>) -> bool {
        let (found, name) = self.reader.resolver().resolve_element(element.name());
        let is_bound = match (namespace, found) {
            (Some(namespace), ResolveResult::Bound(Namespace(found))) => found == namespace,
            (None, ResolveResult::Unbound) => true,
            _ => false,
        };
        is_bound && name.as_ref() == local
    }

    fn element(&mut self, element: &BytesStart<'_>, is_empty: bool) -> Result<(), EditError> {
        if element.attributes().any(|attribute| attribute.is_err()) {
            return Err(self.malformed());
        }
        match self.depth {
            0 if self.new.is_some() || is_empty || !self.is(element, "domain", None) => {
                Err(EditError::NoDomain)
            }
            1 if self.is(element, "commandline", Some(NAMESPACE)) => self.command_line(element, is_empty),
            2 if self.open.is_some() && self.is(element, "arg", Some(NAMESPACE)) => self.argument(element),
            _ => Ok(()),
        }
    }

    /// Takes note of the element for arguments.
    fn command_line(&mut self, element: &BytesStart<'_>, is_empty: bool) -> Result<(), EditError> {
        if self.existing.is_some() || self.open.is_some() {
            return Err(EditError::Twice);
        }
        let name = element.name();
        let prefix = name.prefix().map_or_else(String::new, |prefix| format!("{}:", prefix.as_ref()));
        if is_empty {
            let end = self.position();
            let text = format!(">\n{}</{}>", self.elements(&prefix), name.as_ref());
            self.existing = Some(Change { range: end.saturating_sub("/>".len())..end, text });
        } else {
            self.open = Some(prefix);
        }
        Ok(())
    }

    /// Refuses an argument that is to be added. Twice the same structure would be two structures.
    fn argument(&self, element: &BytesStart<'_>) -> Result<(), EditError> {
        let value = element.try_get_attribute("value").map_err(|_| self.malformed())?;
        let value = value.map(|value| value.normalized_value(XmlVersion::Implicit1_0)).transpose();
        match value.map_err(|_| self.malformed())? {
            // The name of the option is there for other arguments too.
            Some(value) if value.contains('=') && self.arguments.contains(&value.as_ref()) => {
                Err(EditError::Present)
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        let range = self.at..self.at;
        match self.depth {
            0 => {
                let text = self.whole_element();
                self.new = Some(Change { range, text });
            }
            1 => {
                if let Some(prefix) = self.open.take() {
                    self.existing = Some(Change { range, text: self.elements(&prefix) });
                }
            }
            _ => {}
        }
    }

    fn elements(&self, prefix: &str) -> String {
        argument_elements(prefix, self.arguments.iter().copied())
    }

    /// The element for arguments, with the prefix that the root has for its namespace, or one of its own.
    fn whole_element(&self) -> String {
        let bindings = self.reader.resolver().bindings_of(1);
        let prefix = bindings.into_iter().find_map(|(prefix, namespace)| match prefix {
            PrefixDeclaration::Named(prefix) if namespace == Namespace(NAMESPACE) => Some(prefix.to_owned()),
            _ => None,
        });
        match prefix {
            Some(prefix) => {
                let elements = self.elements(&format!("{prefix}:"));
                format!("<{prefix}:commandline>\n{elements}</{prefix}:commandline>\n")
            }
            None => command_line(self.arguments.iter().copied()),
        }
    }
}
