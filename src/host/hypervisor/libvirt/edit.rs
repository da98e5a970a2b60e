//! Adds QEMU arguments to the XML of an existing libvirt domain. The rest of the domain's text stays unchanged, byte
//! for byte.
//!
//! libvirt reads the arguments from `arg` elements in a `commandline` element. Both elements are in QEMU's namespace,
//! with any prefix (`qemuDomainDefNamespaceParse` in `src/qemu/qemu_domain.c`).

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, PrefixDeclaration, ResolveResult};
use quick_xml::{NsReader, XmlVersion};

use super::{NAMESPACE, argument_elements, command_line};
use crate::text::help::Help;

/// Why a domain cannot be changed. The domain's text is never shown, because it may contain secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The domain is not well-formed XML.
    #[error("the domain is not well-formed XML at byte {0}")]
    Malformed(u64),
    /// The domain has a document type declaration, which can change the meaning of the rest of the XML.
    #[error("the domain has a document type declaration, which no domain of libvirt needs")]
    DocumentType,
    /// The domain declares an encoding other than UTF-8.
    #[error("the domain's XML declares an encoding other than UTF-8")]
    Encoding,
    /// The root element is not `<domain>`.
    #[error("the XML must be a single <domain> of libvirt that contains other elements")]
    NoDomain,
    /// The `commandline` element occurs twice.
    #[error("the domain has QEMU's <commandline> element twice")]
    Twice,
    /// The domain already contains one of the QEMU arguments that would be added.
    #[error("the domain already has one of these arguments")]
    Present,
}

impl Help for EditError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::DocumentType => "remove it",
            Self::Encoding => "save it in UTF-8",
            Self::Twice => "merge both into one",
            Self::Present => "call the hook only once",
            Self::Malformed(_) | Self::NoDomain => return None,
        }))
    }
}

/// A change to a domain: a new text, and the range that it replaces.
struct Change {
    /// The range of bytes that is replaced. It is empty if the text is only inserted. Otherwise, it is the `/>` of an
    /// empty element.
    range: Range<usize>,
    text: String,
}

/// Returns the domain's XML in which these QEMU arguments follow the domain's own QEMU arguments.
///
/// # Errors
/// [`EditError`], if the arguments cannot be added so that libvirt uses each argument exactly once.
pub fn with_arguments(domain: &str, arguments: &[&str]) -> Result<String, EditError> {
    let Change { range, text } = Search::new(domain, arguments).run()?;
    let before = domain.get(..range.start).unwrap_or_default();
    let after = domain.get(range.end..).unwrap_or_default();
    Ok([before, &text, after].concat())
}

/// Reads a domain once, and finds where the arguments must be added.
struct Search<'a> {
    reader: NsReader<&'a [u8]>,
    arguments: &'a [&'a str],
    /// Position of the next XML event in the domain's text, in bytes.
    at: usize,
    /// Number of open elements.
    depth: usize,
    /// The prefix of the open `commandline` element, which is empty or ends with a colon. `None` outside of this
    /// element.
    open: Option<String>,
    /// The change to an existing `commandline` element.
    existing: Option<Change>,
    /// The change that adds a `commandline` element. `None` until the end of the root element was read.
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

    /// Returns the number of bytes that have been read.
    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn malformed(&self) -> EditError {
        EditError::Malformed(self.reader.buffer_position())
    }

    /// Whether an element has this name and this namespace. If `namespace` is `None`, the element must have no
    /// namespace.
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

    /// Records the domain's `commandline` element, to which the arguments will be added.
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

    /// Refuses a domain that already contains one of the QEMU arguments that would be added: if QEMU got the argument
    /// twice, the guest would get the same structure twice.
    fn argument(&self, element: &BytesStart<'_>) -> Result<(), EditError> {
        let value = element.try_get_attribute("value").map_err(|_| self.malformed())?;
        let value = value.map(|value| value.normalized_value(XmlVersion::Implicit1_0)).transpose();
        match value.map_err(|_| self.malformed())? {
            // A domain may contain the option `-smbios` several times, so only arguments with '=' are compared.
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

    /// Writes a new `commandline` element. It uses the prefix that the root element declares for QEMU's namespace. If
    /// the root element declares none, the new element declares a prefix.
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
