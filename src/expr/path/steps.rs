//! Parses the text of a path.

use super::{PathError, PathStep};

/// Splits a path into steps, and says whether the first name stands in brackets.
pub(super) fn parse_steps(text: &str) -> Result<(Vec<PathStep>, bool), PathError> {
    if text.trim().is_empty() {
        return Err(PathError::Empty);
    }
    let quoted = text.starts_with('[');
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = parse_bracket(inside)?;
            steps.push(step);
            rest = after;
        } else {
            let name = match rest.strip_prefix('.') {
                _ if steps.is_empty() => rest,
                Some(name) => name,
                None => return Err(PathError::NeedsBrackets(rest.to_owned())),
            };
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            if name.is_empty() {
                return Err(PathError::MissingName);
            }
            let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$');
            if !name.chars().all(is_plain) {
                return Err(PathError::NeedsBrackets(name.to_owned()));
            }
            steps.push(PathStep::Key(name.into()));
            rest = after;
        }
    }
    Ok((steps, quoted))
}

/// Reads what follows an opening bracket; returns the step and what follows the closing one.
fn parse_bracket(inside: &str) -> Result<(PathStep, &str), PathError> {
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let mut name = String::new();
        let mut chars = inside.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.push(chars.next().ok_or(PathError::BadBracket)?.1),
                c if c == quote => {
                    let after = inside.get(at + 1..).unwrap_or_default();
                    let after = after.strip_prefix(']').ok_or(PathError::BadBracket)?;
                    return Ok((PathStep::Key(name.into()), after));
                }
                c => name.push(c),
            }
        }
        return Err(PathError::BadBracket);
    }
    let (index, after) = inside.split_once(']').ok_or(PathError::BadBracket)?;
    if index == "*" {
        return Ok((PathStep::Each, after));
    }
    // A number may be written with a plus, an index may not.
    let is_signed = index.starts_with('+');
    let index = index.parse().ok().filter(|_| !is_signed);
    Ok((PathStep::Index(index.ok_or(PathError::BadBracket)?), after))
}
