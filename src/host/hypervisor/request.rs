//! cloud-hypervisor's API request that creates a machine (`vm.create`), with OEM strings in it.
//!
//! cloud-hypervisor's size limit applies to the whole body of the request (`MAX_PAYLOAD_SIZE` in `src/server.rs` of
//! `micro_http`), so only a whole request can be checked against this limit. If the body is larger than this limit,
//! cloud-hypervisor up to v53 parses the rest of the body as another request, and its answer shows part of the body.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::argument::quoted;
use super::cloud_hypervisor::{REQUEST_LIMIT, STRINGS_LIMIT, TABLE_LIMIT};
use super::error::MergeError;
use super::line::read_file;
use crate::format::credential::Secret;
use crate::host::capacity::{Route, Structures};
use crate::host::strings::{Existing, OemStrings, Origin};
use crate::text::help::Help;

const PLATFORM: &str = "platform";
const OEM_STRINGS: &str = "oem_strings";

/// Maximum size, in bytes, of a file with a request. cloud-hypervisor after v53 has the same limit for a request.
const FILE_MAX: usize = 4 << 20;

/// Maximum number of bytes that another field of `platform` needs in the SMBIOS table, in addition to the field's text.
const FIELD_OVERHEAD: usize = 32;

/// The body of a `vm.create` request, without its OEM strings.
#[derive(Debug)]
pub struct Request {
    /// The JSON before the array of OEM strings.
    before: String,
    /// OEM strings that the request already contains.
    existing: Vec<Secret>,
    /// Maximum number of bytes that other fields of `platform` add to the SMBIOS table.
    in_table: usize,
}

/// The JSON after the array of OEM strings.
const AFTER: &str = "}}";

/// Why a request cannot be read. The request's text is never shown, because it may contain OEM strings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] MergeError),
    /// The file is not JSON.
    #[error("the request is not JSON (line {line}, column {column})")]
    Json {
        /// Number of the line with the error, from 1.
        line: usize,
        /// Number of the column with the error, from 1.
        column: usize,
    },
    /// A part of the request has the wrong type.
    #[error("the request cannot be read: {0}")]
    Type(&'static str),
    /// An OEM string contains a control character.
    #[error("the request cannot be read: 'platform.oem_strings' has a control character")]
    Control,
}

impl Help for RequestError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::File(error) => error.help(),
            Self::Control => Some("remove that string".into()),
            Self::Json { .. } | Self::Type(_) => None,
        }
    }
}

impl Request {
    /// Reads a request from its JSON text.
    ///
    /// # Errors
    /// [`RequestError`] says why or where the request cannot be read.
    pub fn read(json: &[u8]) -> Result<Self, RequestError> {
        let mut request: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|error| RequestError::Json { line: error.line(), column: error.column() })?;
        let mut platform = match request.remove(PLATFORM) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(platform)) => platform,
            Some(_) => return Err(RequestError::Type("'platform' is not an object")),
        };
        let existing = match platform.remove(OEM_STRINGS) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(strings)) => strings.into_iter().map(string).collect::<Result<_, _>>()?,
            Some(_) => return Err(RequestError::Type("'platform.oem_strings' is not an array")),
        };
        let in_table = platform.values().filter_map(Value::as_str).map(|text| text.len() + FIELD_OVERHEAD);
        let in_table = in_table.sum();
        let before = format!("{}\"{PLATFORM}\":{}\"{OEM_STRINGS}\":", open(request), open(platform));
        Ok(Self { before, existing, in_table })
    }

    /// Reads a request from a file.
    ///
    /// # Errors
    /// [`RequestError`] says why or where the request cannot be read.
    pub fn open(path: &Path) -> Result<Self, RequestError> {
        let json = read_file("--request", path.as_os_str().as_bytes(), FILE_MAX)?;
        Self::read(json.expose())
    }

    /// Returns the smallest possible request. It is used to check the limits of an array of OEM strings whose request
    /// is not known.
    #[must_use]
    pub fn smallest() -> Self {
        let before = format!("{{\"{PLATFORM}\":{{\"{OEM_STRINGS}\":");
        Self { before, existing: Vec::new(), in_table: 0 }
    }

    /// Returns the strings that the request already contains. [`Self::write`] writes these strings again, as a part of
    /// its `strings`.
    #[must_use]
    pub fn existing(&mut self) -> Existing {
        let kept = std::mem::take(&mut self.existing).into_iter().map(|text| (text, Origin::File)).collect();
        Existing { kept, ..Existing::default() }
    }

    /// Returns the route of the strings through the API, with its limits. The rest of the request uses a part of each
    /// limit that counts bytes, so the strings can use less.
    #[must_use]
    pub fn route(&self) -> Route {
        let rest = self.before.len() + AFTER.len();
        let limits = vec![(&TABLE_LIMIT, self.in_table), (&STRINGS_LIMIT, 0), (&REQUEST_LIMIT, rest)];
        Route { structures: Structures::One, limits }
    }

    /// Writes the whole body. The body does not end with a newline, because a newline would count as part of the body.
    #[must_use]
    pub fn write(&self, strings: &OemStrings) -> Secret {
        quoted(strings, format!("{}[", self.before).as_bytes(), format!("]{AFTER}").as_bytes())
    }
}

fn string(value: Value) -> Result<Secret, RequestError> {
    match value {
        // A control character needs an escape in JSON, which `Request::write` does not write. So the string is refused.
        Value::String(text) if text.contains(char::is_control) => Err(RequestError::Control),
        Value::String(text) => Ok(text.into_bytes().into()),
        _ => Err(RequestError::Type("'platform.oem_strings' has an element that is not a string")),
    }
}

/// Writes a JSON object without its closing bracket, so that one more member can follow.
fn open(object: Map<String, Value>) -> String {
    let is_empty = object.is_empty();
    let mut json = Value::Object(object).to_string();
    json.pop();
    if !is_empty {
        json.push(',');
    }
    json
}
