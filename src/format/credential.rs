//! The three basic types of the project: [`Name`], [`Secret`] and [`Credential`].

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt::{self, Debug, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::mem::{self, MaybeUninit};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::{Zeroizing, optimization_barrier};

pub use super::systemd::{NAME_MAX, VALUE_MAX};

/// The name of a credential, checked by systemd's rules.
///
/// A name consists of 1 to [`NAME_MAX`] bytes of printable ASCII (0x20 to 0x7E). A name contains neither `/` nor `:`,
/// and is neither `.` nor `..` (systemd `credential_name_valid()`, `src/shared/creds-util.c`). So a name can always be
/// a file name, and is always safe to print.
///
/// ```
/// use smbios_creds::format::credential::Name;
/// assert_eq!(Name::new("db-password")?.as_str(), "db-password");
/// assert!(Name::new("../shadow").is_err());
/// # Ok::<(), smbios_creds::format::credential::NameError>(())
/// ```
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Name {
    /// The first [`HEAD`] bytes of the name, as one big-endian number. To order two names, it is nearly always enough
    /// to compare these numbers.
    head: u128,
    /// An import copies a name several times, and a copy of an [`Arc`] needs no memory of its own.
    text: Arc<str>,
}

/// Number of bytes in `head`, the first bytes of a [`Name`]. If the name is shorter than the head, zero bytes fill the
/// rest of the head. No name contains a zero byte.
const HEAD: usize = 16;

/// Why bytes cannot be the name of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no bytes.
    #[error("it is empty")]
    Empty,
    /// The name has more than [`NAME_MAX`] bytes.
    #[error("it is {length} bytes long, at most {NAME_MAX} are allowed")]
    TooLong {
        /// Length of the refused name in bytes.
        length: usize,
    },
    /// The name is `.` or `..`, which are names of directories.
    #[error("'.' and '..' are not allowed")]
    Reserved,
    /// The name contains `/`, `:` or a byte that is not printable ASCII.
    #[error(
        "byte {byte:#04x} at position {position} is not allowed (printable ASCII without '/' and ':' is)"
    )]
    Byte {
        /// Position of the refused byte in the name, from 0.
        position: usize,
        /// The refused byte.
        byte: u8,
    },
}

impl Name {
    /// Makes a name from `bytes`, if systemd's rules allow this name.
    ///
    /// # Errors
    /// [`NameError`] says which rule is broken.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
        Self::check(bytes.as_ref()).map(Self::checked)
    }

    fn checked(text: &str) -> Self {
        let head = text.as_bytes().get(..HEAD).unwrap_or(text.as_bytes());
        let blank = 8 * (HEAD - head.len());
        let head = head.iter().fold(0_u128, |head, &byte| (head << 8) | u128::from(byte));
        Self {
            head: head.checked_shl(u32::try_from(blank).unwrap_or_default()).unwrap_or_default(),
            text: text.into(),
        }
    }

    /// Checks a name like [`Self::new`], but makes no copy of the bytes. Refused bytes may be a secret, and a copy in a
    /// [`Name`] would not be wiped from memory.
    pub(crate) fn check(bytes: &[u8]) -> Result<&str, NameError> {
        match bytes {
            [] => return Err(NameError::Empty),
            b"." | b".." => return Err(NameError::Reserved),
            _ if bytes.len() > NAME_MAX => return Err(NameError::TooLong { length: bytes.len() }),
            _ => {}
        }
        let refuse = |(position, &byte): (usize, &u8)| NameError::Byte { position, byte };
        let is_refused = |byte: u8| !matches!(byte, 0x20..=0x7e) || matches!(byte, b'/' | b':');
        match bytes.iter().enumerate().find(|&(_, &byte)| is_refused(byte)) {
            Some(refused) => Err(refuse(refused)),
            // Printable ASCII is always UTF-8, so the conversion cannot fail.
            None => str::from_utf8(bytes).map_err(|_| NameError::Empty),
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the name as `Display` writes it. Makes no copy if the name neither begins nor ends with a blank.
    pub(crate) fn shown(&self) -> Cow<'_, str> {
        if self.has_outer_blank() { self.to_string().into() } else { self.as_str().into() }
    }

    /// Whether the name begins or ends with a blank. A blank at either end is part of the name, but hard to see.
    #[must_use]
    pub fn has_outer_blank(&self) -> bool {
        self.text.starts_with(' ') || self.text.ends_with(' ')
    }
}

/// Orders names like `str`, but compares the first 16 bytes as one number. Names often have the same beginning, and
/// `memcmp` of the C library musl compares one byte at a time.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.head.cmp(&other.head) {
            Ordering::Equal if self.text.len() >= HEAD => self.text.cmp(&other.text),
            ordering => ordering,
        }
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Debug for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.text).finish()
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.text
    }
}

/// Displays the name for people: a blank at either end is shown as `\x20`. [`Name::as_str`] returns the unchanged name.
///
/// ```
/// use smbios_creds::format::credential::Name;
/// let name = Name::new("my key ")?;
/// assert_eq!((name.to_string().as_str(), name.as_str()), (r"my key\x20", "my key "));
/// # Ok::<(), smbios_creds::format::credential::NameError>(())
/// ```
impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let inner = self.text.trim_matches(' ');
        let before = self.text.find(|character| character != ' ').unwrap_or_default();
        let after = self.text.len() - before - inner.len();
        let blanks = |f: &mut Formatter<'_>, count| (0..count).try_for_each(|_| f.write_str(r"\x20"));
        blanks(f, before)?;
        f.write_str(inner)?;
        blanks(f, after)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

/// Secret bytes. The bytes are wiped from memory when the `Secret` is dropped. This type has no `Display`, and its
/// `Debug` shows only the number of bytes. Only [`Secret::expose`] returns the bytes, so a search for `expose` in the
/// code finds every use of the bytes.
///
/// ```
/// use smbios_creds::format::credential::Secret;
/// let secret = Secret::from(b"hunter2".to_vec());
/// assert_eq!(format!("{secret:?}"), "Secret(7 bytes)");
/// ```
pub struct Secret(Vec<u8>);

impl Secret {
    /// Returns the bytes. Never pass the bytes to code that formats or logs them, or that copies them into memory that
    /// is not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns a copy of the secret in separate memory, which is also wiped when the copy is dropped. `Secret` is not
    /// `Clone`, so every copy can be found in the code.
    #[must_use]
    pub(crate) fn copy(&self) -> Self {
        self.expose().to_vec().into()
    }

    /// Returns the number of secret bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the secret is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(mem::take(&mut *bytes))
    }
}

/// Wipes the bytes and the unused capacity of the buffer. The crate `zeroize` is not used here: it writes one byte at a
/// time, which would take one eighth of the time that an import takes. The compiler makes a call of `memset` from the
/// method `fill`, and `optimization_barrier` keeps the compiler from removing this call.
impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        self.0.spare_capacity_mut().fill(MaybeUninit::new(0));
        optimization_barrier(&self.0);
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len())
    }
}

/// A secret with a name: the host sends the secret value, and a service in the guest reads the value.
#[derive(Debug)]
pub struct Credential {
    /// The name with which services in the guest ask for the value.
    pub name: Name,
    /// The value that services get, byte for byte.
    pub value: Secret,
}

impl Credential {
    /// Makes a credential from a checked name and a value.
    pub fn new(name: Name, value: impl Into<Secret>) -> Self {
        Self { name, value: value.into() }
    }
}
