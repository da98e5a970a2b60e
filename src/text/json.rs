//! Writes JSON for people and for programs, with one serializer.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Whether JSON is indented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Indented by two blanks, with a line for each value.
    Pretty,
    /// The whole JSON text is on one line.
    Short,
}

/// Appends a value to `out` as JSON.
///
/// The layout is chosen at run time, and there is only one type of destination. With a separate type for each layout
/// and destination, the agent's executable file would contain the code that writes findings several times.
///
/// ```
/// use smbios_creds::text::json::{Layout, write};
/// let mut json = Vec::new();
/// write(&mut json, &["a"], Layout::Short)?;
/// assert_eq!(json, b"[\"a\"]");
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// Returns the error if `value` cannot be serialized.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize, layout: Layout) -> serde_json::Result<()> {
    let form = Form((layout == Layout::Pretty).then(PrettyFormatter::new));
    value.serialize(&mut Serializer::with_formatter(Bytes(out), form))
}

/// A writer that appends to a vector. Most calls of the serializer write one quote, colon or comma, which is appended
/// without a call of `memcpy`.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match bytes {
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats JSON with indentation if it contains a [`PrettyFormatter`], and otherwise on one line.
struct Form(Option<PrettyFormatter<'static>>);

/// Defines the methods of [`Formatter`] whose output differs between the two layouts.
macro_rules! either {
    ($($method:ident($($argument:ident)?)),+ $(,)?) => {
        $(
            fn $method<W: ?Sized + Write>(&mut self, out: &mut W $(, $argument: bool)?) -> io::Result<()> {
                match &mut self.0 {
                    Some(pretty) => pretty.$method(out $(, $argument)?),
                    None => CompactFormatter.$method(out $(, $argument)?),
                }
            }
        )+
    };
}

impl Formatter for Form {
    either!(
        begin_array(),
        end_array(),
        begin_array_value(first),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first),
        begin_object_value(),
        end_object_value(),
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn both_forms_are_those_of_serde_json() -> serde_json::Result<()> {
        for value in
            [json!(null), json!([]), json!({}), json!({"a": [1, "b\n", {"c": null}], "d": {"e": []}})]
        {
            let written = |layout| -> serde_json::Result<String> {
                let mut out = Vec::new();
                write(&mut out, &value, layout)?;
                Ok(String::from_utf8_lossy(&out).into_owned())
            };
            assert_eq!(written(Layout::Pretty)?, serde_json::to_string_pretty::<Value>(&value)?);
            assert_eq!(written(Layout::Short)?, serde_json::to_string::<Value>(&value)?);
        }
        Ok(())
    }
}
