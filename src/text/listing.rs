//! Text for people: aligned columns, sizes, and parts that are marked good or bad.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};
use std::ops::Range;

/// The meaning of a part of a text. The code that prints the text decides whether and how to show this meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// The name of a column, or the title of a list.
    Heading,
    /// A state that is as expected.
    Good,
    /// A state that needs attention.
    Doubtful,
    /// A loss, a refusal or an error.
    Bad,
}

/// A text, and the tone of some of its parts. `Display` writes only the text.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Text {
    text: String,
    marks: Vec<(Range<usize>, Tone)>,
}

impl Text {
    /// Returns the text without tones.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the parts of the text that have a [`Tone`], in order. Each part is given as its range of bytes in
    /// [`Text::as_str`], with its tone.
    #[must_use]
    pub fn marks(&self) -> &[(Range<usize>, Tone)] {
        &self.marks
    }

    /// Appends a part to the text, and marks it with its tone if it has one.
    pub fn push(&mut self, part: &str, tone: Option<Tone>) {
        let start = self.text.len();
        self.text.push_str(part);
        if let Some(tone) = tone {
            self.marks.push((start..self.text.len(), tone));
        }
    }

    /// Appends lines whose cells form aligned columns. One blank separates two columns. The columns whose numbers (from
    /// 0) are in `right` are aligned to the right, and the other columns to the left.
    pub fn push_columns<const N: usize>(&mut self, lines: &[[Cell<'_>; N]], right: &[usize]) {
        let mut widths = [0; N];
        for line in lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.text.len().max(*width);
            }
        }
        // The text gets its full capacity now. A text that grows is copied, and wiping the old copy takes time.
        let width: usize = widths.iter().map(|width| width + 1).sum();
        self.text.reserve(lines.len() * width);
        self.marks.reserve(lines.iter().flatten().filter(|cell| cell.tone.is_some()).count());
        for line in lines {
            // Blanks at the end of a line are not written.
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

/// A block of blanks. If a line needs more blanks than this block contains, the block is appended several times.
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

/// One cell of a line in columns: printable ASCII text, and its tone.
#[derive(Clone, Debug)]
pub struct Cell<'a> {
    text: Cow<'a, str>,
    tone: Option<Tone>,
}

impl<'a> Cell<'a> {
    /// Makes a cell with this text and this tone.
    pub fn new(text: impl Into<Cow<'a, str>>, tone: Option<Tone>) -> Self {
        Self { text: text.into(), tone }
    }

    /// Makes a line of cells that contains the names of the columns.
    #[must_use]
    pub fn headings<const N: usize>(names: [&'a str; N]) -> [Self; N] {
        names.map(|name| Self::new(name, Some(Tone::Heading)))
    }
}

/// Texts for the cells of a listing, all in one string. Separate strings would be allocated, wiped and freed one by one.
#[derive(Debug, Default)]
pub struct Parts {
    text: String,
    ends: Vec<usize>,
}

impl Parts {
    /// Makes an empty list with room for this number of short texts.
    #[must_use]
    pub fn with_capacity(parts: usize) -> Self {
        Self { text: String::with_capacity(parts * 8), ends: Vec::with_capacity(parts) }
    }

    /// Appends a text to the list.
    pub fn push(&mut self, part: impl Display) {
        // Writing to a string cannot fail.
        _ = write!(self.text, "{part}");
        self.ends.push(self.text.len());
    }

    /// Returns the texts in the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.text.get(start..end).unwrap_or_default())
    }
}

/// A size in bytes. `Display` writes the size as systemd 262 does (`format_bytes()`, `src/basic/format-util.c`): in
/// units of 1024, with one decimal, cut and not rounded. systemd 262 omits a decimal of 0 and writes `1K`, but systemd
/// 254 and older writes `1.0K`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let (unit, suffix) = match bytes {
            // Most sizes are short, and itoa writes them in fewer steps than `write!`.
            0..1024 => {
                f.write_str(itoa::Buffer::new().format(bytes))?;
                return f.write_char('B');
            }
            1024..1_048_576 => (1024, 'K'),
            _ => (1_048_576, 'M'),
        };
        match bytes % unit * 10 / unit {
            0 => write!(f, "{}{suffix}", bytes / unit),
            tenth => write!(f, "{}.{tenth}{suffix}", bytes / unit),
        }
    }
}

/// Formats a number, and the noun in singular or plural: `1 credential`, `2 credentials`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Formats several things as one text, with a comma and a blank between them.
#[must_use]
pub fn listed<T: Display>(things: &[T]) -> String {
    let mut text = String::new();
    for (index, thing) in things.iter().enumerate() {
        // Writing to a string cannot fail.
        _ = write!(text, "{}{thing}", if index > 0 { ", " } else { "" });
    }
    text
}
