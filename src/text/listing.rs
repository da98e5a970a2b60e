//! Text for people: aligned columns, sizes, and which parts of it say good or bad.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};
use std::ops::Range;

/// What a part of a text says. Where that is shown, and how, is for whoever prints it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// The name of a column, or what stands above a list.
    Heading,
    /// As it should be.
    Good,
    /// To be looked at.
    Doubtful,
    /// Lost, refused or wrong.
    Bad,
}

/// A text, and the tone of some of its parts. `Display` gives the text alone.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Text {
    text: String,
    marks: Vec<(Range<usize>, Tone)>,
}

impl Text {
    /// The text alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parts that have a tone, in order, each as a range of [`Text::as_str`].
    #[must_use]
    pub fn marks(&self) -> &[(Range<usize>, Tone)] {
        &self.marks
    }

    /// Appends a part, with the tone it has, if any.
    pub fn push(&mut self, part: &str, tone: Option<Tone>) {
        let start = self.text.len();
        self.text.push_str(part);
        if let Some(tone) = tone {
            self.marks.push((start..self.text.len(), tone));
        }
    }

    /// Appends lines in aligned columns, one blank between two; those in `right` are aligned at their right end.
    pub fn push_columns<const N: usize>(&mut self, lines: &[[Cell<'_>; N]], right: &[usize]) {
        let mut widths = [0; N];
        for line in lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.text.len().max(*width);
            }
        }
        for line in lines {
            // Blanks that nothing follows are not written.
            let mut blanks = 0;
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                let padding = width - cell.text.len();
                let is_right = right.contains(&column);
                blanks += if is_right { padding } else { 0 };
                if !cell.text.is_empty() {
                    self.push_blanks(blanks);
                    self.push(&cell.text, cell.tone);
                    blanks = 0;
                }
                blanks += if is_right { 1 } else { padding + 1 };
            }
            self.text.push('\n');
        }
    }

    fn push_blanks(&mut self, mut count: usize) {
        while count > 0 {
            let some = BLANKS.get(..count).unwrap_or(BLANKS);
            self.text.push_str(some);
            count -= some.len();
        }
    }
}

/// Blanks are appended many at a time.
const BLANKS: &str = "                                ";

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.write_str(text)
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One cell of a line in columns: printable ASCII, and its tone.
#[derive(Clone, Debug)]
pub struct Cell<'a> {
    text: Cow<'a, str>,
    tone: Option<Tone>,
}

impl<'a> Cell<'a> {
    /// A cell.
    pub fn new(text: impl Into<Cow<'a, str>>, tone: Option<Tone>) -> Self {
        Self { text: text.into(), tone }
    }

    /// The names of columns.
    #[must_use]
    pub fn headings<const N: usize>(names: [&'a str; N]) -> [Self; N] {
        names.map(|name| Self::new(name, Some(Tone::Heading)))
    }
}

/// A size as systemd 262 writes it (`format_bytes()`, `src/basic/format-util.c`): base 1024, one decimal that is cut
/// off, and left out if it is 0 (up to 254, `1.0K`).
#[must_use]
pub fn size(bytes: u64) -> String {
    let (unit, suffix) = match bytes {
        0..1024 => return bytes.to_string() + "B",
        1024..1_048_576 => (1024, 'K'),
        _ => (1_048_576, 'M'),
    };
    match bytes % unit * 10 / unit {
        0 => format!("{}{suffix}", bytes / unit),
        tenth => format!("{}.{tenth}{suffix}", bytes / unit),
    }
}

/// A number and its noun: `1 credential`, `2 credentials`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Several things, with commas between.
#[must_use]
pub fn listed<T: Display>(things: &[T]) -> String {
    let mut text = String::new();
    for (index, thing) in things.iter().enumerate() {
        // Writing to a string cannot fail.
        _ = write!(text, "{}{thing}", if index > 0 { ", " } else { "" });
    }
    text
}
