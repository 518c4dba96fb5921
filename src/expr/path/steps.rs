//! Takes the text of a path apart.

use super::{PathError, PathStep};

/// Splits a path into steps, and says whether the first name stood in brackets.
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
            let name = if steps.is_empty() {
                rest
            } else {
                rest.strip_prefix('.')
                    .ok_or_else(|| PathError::NeedsBrackets(rest.to_owned()))?
            };
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            if name.is_empty() {
                return Err(PathError::MissingName);
            }
            if !name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'))
            {
                return Err(PathError::NeedsBrackets(name.to_owned()));
            }
            steps.push(PathStep::Key(name.into()));
            rest = after;
        }
    }
    Ok((steps, quoted))
}

/// Reads what stands behind an opening bracket; returns the step and what follows its end.
fn parse_bracket(inside: &str) -> Result<(PathStep, &str), PathError> {
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let mut name = String::new();
        let mut chars = inside.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                let after = inside
                    .get(at + 1..)
                    .and_then(|after| after.strip_prefix(']'));
                return Ok((
                    PathStep::Key(name.into()),
                    after.ok_or(PathError::BadBracket)?,
                ));
            }
            match c {
                '\\' => name.push(chars.next().ok_or(PathError::BadBracket)?.1),
                c => name.push(c),
            }
        }
        return Err(PathError::BadBracket);
    }
    let (index, after) = inside.split_once(']').ok_or(PathError::BadBracket)?;
    if index == "*" {
        return Ok((PathStep::Each, after));
    }
    if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PathError::BadBracket);
    }
    Ok((
        PathStep::Index(index.parse().map_err(|_| PathError::BadBracket)?),
        after,
    ))
}
