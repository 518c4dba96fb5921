//! Tables for people: aligned columns, on one line each.

use std::io::{self, Write};

/// Writes rows as they come. Columns only ever widen, so a list of any length is aligned nearly everywhere
/// and never held in memory.
#[derive(Debug, Default)]
pub(super) struct TextTable {
    widths: Vec<usize>,
}

impl TextTable {
    /// Writes some rows, aligned with each other and with those before.
    pub(super) fn write(&mut self, out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in rows {
            let mut line = String::new();
            for (width, cell) in self.widths.iter().zip(row) {
                let shown = plain(cell);
                line += &shown;
                let gap = width.saturating_sub(shown.chars().count()) + 2;
                line.extend(std::iter::repeat_n(' ', gap));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// An untrusted text, safe to show on a terminal: without characters that move the cursor or change the
/// direction of the text.
pub(super) fn plain(text: &str) -> String {
    let is_unsafe = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
    };
    let shown = |c| if is_unsafe(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_texts_are_harmless() {
        let mut table = TextTable::default();
        let mut out = Vec::new();
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        table
            .write(
                &mut out,
                &[
                    row(["id", "name", "x"]),
                    row(["1", "é\u{1b}[2\u{202e}", "y"]),
                ],
            )
            .unwrap();
        table.write(&mut out, &[row(["1000", "b", ""])]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id  name   x\n1   é\u{fffd}[2\u{fffd}  y\n1000  b\n"
        );
    }
}
