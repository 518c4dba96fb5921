//! What of a value may go out: not what a hashed field is made from, and of the address of a page only the
//! parameters that are kept.
//!
//! Most values pass as they are, after a look at their first bytes. Any other is rewritten without what
//! has to stay behind, however deep it is, even in a list or an object that came as JSON text. A text that
//! should hold JSON and cannot be read is withheld, since it may hold anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::expressions::CustomValue;
use crate::event::arena::{Arena, DEEPEST};
use crate::expr::path::{Path, PathStep};
use crate::expr::value::{FoundValue, ValueExpr};
use crate::json::Json;
use crate::map::hashed_sources::{Cover, HashedSources};
use crate::map::page::{self, KeptParameters};

/// Fields that hold only a number or a code, whatever they are made from.
const TELL_NOTHING: [&str; 2] = ["value", "currency"];

/// Most levels that are looked into. What has more is not sent.
const MOST_LEVELS: usize = 100;
/// A text in a text is read once more, so it counts as so many levels.
const LEVELS_OF_TEXT: usize = MOST_LEVELS / DEEPEST;

/// What may go out of the values of a field.
#[derive(Debug)]
pub(super) struct Screen {
    /// What has to stay behind, by path.
    pub(super) covers: Covers,
    /// The parameters that stay in the address of a page; `None` where it may go as it is.
    pub(super) pages: Option<KeptParameters>,
}

/// The paths whose values may not go out whole.
#[derive(Clone, Debug, Default)]
pub(in crate::map) struct Covers(Vec<(Path, Cover)>);

/// What of a value may go out.
#[derive(Debug)]
pub(super) struct Screened<'v> {
    /// The JSON text; `None` where nothing may go out.
    json: Option<Cow<'v, str>>,
    /// A source of a hashed field was left out, or was all of it.
    pub(super) lacks_source: bool,
}

impl Covers {
    /// The covers of these paths into an event.
    pub(in crate::map) fn of<'p>(
        sources: &HashedSources,
        paths: impl IntoIterator<Item = &'p Path>,
    ) -> Self {
        let mut covers = Self::default();
        for path in paths {
            covers.add(path, sources.cover(path));
        }
        covers
    }

    fn add(&mut self, path: &Path, cover: Cover) {
        if cover != Cover::Free {
            self.0.push((path.clone(), cover));
        }
    }

    /// What of a value that was found has to stay behind. A value that the configuration gives may go out.
    pub(in crate::map) fn of_found(&self, found: &FoundValue<'_>) -> &Cover {
        const FREE: &Cover = &Cover::Free;
        let Some(path) = found.path.filter(|_| found.translated.is_none()) else {
            return FREE;
        };
        let mut covers = self.0.iter();
        covers
            .find(|(known, _)| known == path)
            .map_or(FREE, |(_, cover)| cover)
    }

    /// The paths, and what of their values has to stay behind.
    pub(in crate::map) fn iter(&self) -> impl Iterator<Item = &(Path, Cover)> {
        self.0.iter()
    }
}

/// The covers of the paths that a field of `custom_data` is made from. An id that the table names explicitly
/// goes out although `external_id` is hashed from it: an id says nothing about a person.
pub(in crate::map) fn covers_of(
    name: &str,
    source: &CustomValue,
    sources: &HashedSources,
    is_in_table: bool,
) -> Covers {
    let mut covers = Covers::default();
    if sources.is_empty() || TELL_NOTHING.contains(&name) {
        return covers;
    }
    let (paths, lists) = match source {
        CustomValue::Value(expr) => (expr.paths(), None),
        CustomValue::Each { lists, members } => {
            let paths = members.values().flat_map(ValueExpr::paths).collect();
            (paths, Some(lists.paths()))
        }
    };
    let cover = |sources: &HashedSources, path: &Path| {
        let Some(lists) = &lists else {
            return sources.cover(path);
        };
        let in_event = path.in_event();
        let in_event = in_event.map_or(Cover::Free, |path| sources.cover(path));
        lists.iter().fold(in_event, |cover, list| {
            cover.or(sources.cover_of_elements(list).of_member(path))
        })
    };
    let traits = sources.of_traits();
    for path in paths {
        match cover(sources, path) {
            Cover::Whole if is_in_table => covers.add(path, cover(&traits, path)),
            found => covers.add(path, found),
        }
    }
    covers
}

/// What of the properties in a section has to stay behind, by name.
pub(super) fn covers_of_section(
    section: &str,
    sources: &HashedSources,
) -> BTreeMap<Box<str>, Cover> {
    let names = sources.in_section(section);
    let covers = names
        .into_iter()
        .map(|(name, _)| (name.into(), sources.cover(&super::property_path(name))));
    covers.collect()
}

impl Screen {
    /// What may go out of a value that was found.
    pub(super) fn screened<'v>(&self, arena: &Arena, found: &FoundValue<'v>) -> Screened<'v> {
        // A fixed value is the operator's own.
        let pages = self.pages.as_ref().filter(|_| found.path.is_some());
        screened(arena, found.value, self.covers.of_found(found), pages)
    }

    /// Whether all of a value may go out, where that value is not a page's address.
    pub(super) fn is_free(&self, found: &FoundValue<'_>) -> bool {
        *self.covers.of_found(found) == Cover::Free
    }
}

impl Screened<'_> {
    /// What may go out, if anything may.
    pub(super) fn json(&self) -> Option<Json<'_>> {
        self.json.as_deref().map(Json::of_valid_text)
    }

    /// Whether a source of a hashed field was left out of it, and a part may go out.
    pub(super) const fn is_part(&self) -> bool {
        self.lacks_source && self.json.is_some()
    }
}

/// What may go out of a value.
pub(super) fn screened<'v>(
    arena: &Arena,
    value: Json<'v>,
    cover: &Cover,
    pages: Option<&KeptParameters>,
) -> Screened<'v> {
    let withheld = Screened {
        json: None,
        lacks_source: true,
    };
    let whole = Screened {
        json: Some(Cow::Borrowed(value.raw())),
        lacks_source: false,
    };
    let parts: Vec<&[PathStep]> = match cover {
        Cover::Whole => return withheld,
        Cover::Parts(parts) => parts.iter().map(|part| &**part).collect(),
        Cover::Free => Vec::new(),
    };
    if is_source(value, &parts) {
        return withheld;
    }
    let pages = pages.filter(|_| page::may_hold_address(value.raw()));
    if parts.is_empty() && pages.is_none() {
        return whole;
    }
    match ScreenWriter::write(arena, pages, value, &parts, 0) {
        Err(Unreadable) => withheld,
        Ok(writer) if writer.has_changed() => Screened {
            json: Some(Cow::Owned(writer.out)),
            lacks_source: writer.lacks_source,
        },
        Ok(_) => whole,
    }
}

/// Whether a value is a source itself: a single value is read as a list of one.
fn is_source(value: Json<'_>, parts: ScreenedParts<'_>) -> bool {
    let is_element = |step: &PathStep| matches!(step, PathStep::Each | PathStep::Index(0));
    parts.iter().any(|part| part.iter().all(is_element))
        && (parts.iter().any(|part| part.is_empty())
            || !(value.is_array() || value.begins_as_json()))
}

/// The part behind the steps into a list: a single value is read as a list of one.
fn without_elements(mut part: &[PathStep]) -> &[PathStep] {
    while let [PathStep::Each | PathStep::Index(0), rest @ ..] = part {
        part = rest;
    }
    part
}

/// JSON in a text that cannot be read, or that lies too deep.
struct Unreadable;

/// The paths, from the value at hand, to what has to stay behind.
type ScreenedParts<'p> = &'p [&'p [PathStep]];

/// Writes a value without what has to stay behind.
struct ScreenWriter<'k> {
    arena: &'k Arena,
    out: String,
    pages: Option<&'k KeptParameters>,
    has_cut: bool,
    lacks_source: bool,
}

impl<'k> ScreenWriter<'k> {
    fn write(
        arena: &'k Arena,
        pages: Option<&'k KeptParameters>,
        value: Json<'_>,
        parts: ScreenedParts<'_>,
        level: usize,
    ) -> Result<Self, Unreadable> {
        let mut writer = Self {
            arena,
            out: String::with_capacity(value.raw().len()),
            pages,
            has_cut: false,
            lacks_source: false,
        };
        writer.value(value, parts, level)?;
        Ok(writer)
    }

    const fn has_changed(&self) -> bool {
        self.has_cut || self.lacks_source
    }

    fn value(
        &mut self,
        value: Json<'_>,
        parts: ScreenedParts<'_>,
        level: usize,
    ) -> Result<(), Unreadable> {
        if parts.is_empty() && self.pages.is_none() {
            self.out.push_str(value.raw());
            return Ok(());
        }
        if level > MOST_LEVELS {
            return Err(Unreadable);
        }
        if value.is_object() {
            self.object(value, parts, level)
        } else if let Some(elements) = value.elements() {
            self.list(elements, parts, level)
        } else if value.is_string() {
            self.text(value, parts, level)
        } else {
            self.out.push_str(value.raw());
            Ok(())
        }
    }

    fn object(
        &mut self,
        object: Json<'_>,
        parts: ScreenedParts<'_>,
        level: usize,
    ) -> Result<(), Unreadable> {
        self.out.push('{');
        for (name, value) in object.all_members() {
            // An object may stand in the place of a list of one.
            let rests = parts
                .iter()
                .filter_map(|part| match without_elements(part) {
                    [PathStep::Key(key), rest @ ..] => (**key == *name).then_some(rest),
                    _ => None,
                });
            let rests: Vec<&[PathStep]> = rests.collect();
            if is_source(value, &rests) {
                self.lacks_source |= !value.is_absent();
                continue;
            }
            self.separate();
            self.put_text(&name);
            self.out.push(':');
            self.value(value, &rests, level + 1)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn list<'e>(
        &mut self,
        elements: impl Iterator<Item = Json<'e>>,
        parts: ScreenedParts<'_>,
        level: usize,
    ) -> Result<(), Unreadable> {
        self.out.push('[');
        for (place, element) in elements.enumerate() {
            let rests = parts.iter().filter_map(|part| match part {
                [PathStep::Each, rest @ ..] => Some(rest),
                [PathStep::Index(index), rest @ ..] => (*index == place).then_some(rest),
                // A list may stand in the place of its one object.
                [PathStep::Key(_), ..] => element.is_object().then_some(*part),
                [] => None,
            });
            let rests: Vec<&[PathStep]> = rests.collect();
            self.separate();
            if is_source(element, &rests) {
                // The places of the others stay as they are.
                self.lacks_source |= !element.is_absent();
                self.out.push_str("null");
                continue;
            }
            self.value(element, &rests, level + 1)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn text(
        &mut self,
        value: Json<'_>,
        parts: ScreenedParts<'_>,
        level: usize,
    ) -> Result<(), Unreadable> {
        let content = value.as_str().unwrap_or_default();
        let text = content.trim_matches(|one: char| one.is_whitespace() || one == '\u{feff}');
        let may_be_json = value.begins_as_json();
        let opened = if may_be_json {
            self.arena.opened(value)
        } else {
            value
        };
        if opened.is_string() {
            if may_be_json && !parts.is_empty() {
                return Err(Unreadable);
            }
            match self.pages.and_then(|pages| page::cut_text(text, pages)) {
                Some(cut) => {
                    self.has_cut = true;
                    self.put_text(&cut);
                }
                None => self.out.push_str(value.raw()),
            }
            return Ok(());
        }
        if is_source(opened, parts) {
            return Err(Unreadable);
        }
        let inner = Self::write(
            self.arena,
            self.pages,
            opened,
            parts,
            level + LEVELS_OF_TEXT,
        )?;
        self.has_cut |= inner.has_cut;
        self.lacks_source |= inner.lacks_source;
        if inner.has_changed() {
            self.put_text(&inner.out);
        } else {
            self.out.push_str(value.raw());
        }
        Ok(())
    }

    fn separate(&mut self) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
    }

    fn put_text(&mut self, text: &str) {
        self.out
            .push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::field::UserDataField;

    #[track_caller]
    fn check(sources: &[&str], input: &str, expected: Option<&str>) {
        let exprs: Vec<ValueExpr> = sources
            .iter()
            .map(|path| ValueExpr::path(Path::parse(&format!("event_properties.p{path}")).unwrap()))
            .collect();
        let fields = exprs.iter().map(|expr| (UserDataField::Email, expr));
        let cover = HashedSources::of(fields, &[]).cover(&super::super::property_path("p"));
        let pages = KeptParameters::new(&["keep".to_owned()]);
        let arena = Arena::default();
        let screened = screened(&arena, Json::of_valid_text(input), &cover, Some(&pages));
        assert_eq!(screened.json().map(Json::raw), expected, "{input}");
    }

    #[test]
    fn sources_are_left_out_wherever_they_are() {
        check(&[""], "1", None);
        check(&[".a"], r#"{"a":1,"b":[2]}"#, Some(r#"{"b":[2]}"#));
        check(
            &[".a.b", ".c"],
            r#"{"a":{"b":1,"d":2},"c":3}"#,
            Some(r#"{"a":{"d":2}}"#),
        );
        check(&[".a"], r#"{"\u0061":1,"a":2,"b":3}"#, Some(r#"{"b":3}"#));
        check(&["[*].a"], r#"[{"a":1},{"b":2}]"#, Some(r#"[{},{"b":2}]"#));
        check(&["[1]"], "[1,2,3]", Some("[1,null,3]"));
        check(&["[0].a"], r#"[{"a":1},{"a":2}]"#, Some(r#"[{},{"a":2}]"#));
        check(&["[*].a"], r#"{"a":1,"b":2}"#, Some(r#"{"b":2}"#));
        check(&[".a"], r#"[{"a":1,"b":2}]"#, Some(r#"[{"b":2}]"#));
        check(&[".a"], r#"{ "b" : 1 }"#, Some(r#"{ "b" : 1 }"#));
        check(&[".a"], "\"text\"", Some("\"text\""));
        // A single value is as a list of one.
        check(&["[*]"], "\"Pat\"", None);
        check(&["[0]"], r#"{"a":1}"#, None);
        check(&["[1]"], "\"Pat\"", Some("\"Pat\""));
        check(
            &[".a[*]", ".b[0].c"],
            r#"{"a":"Pat","b":{"c":1,"d":2}}"#,
            Some(r#"{"b":{"d":2}}"#),
        );
        check(&["[*][*].a"], r#"[{"a":1},[{"a":1}]]"#, Some("[{},[{}]]"));
        check(&["[*]"], r#""{\"a\":1}""#, None);
        check(&["[*]"], r#""[1]""#, Some(r#""[null]""#));
    }

    #[test]
    fn json_text_is_looked_into() {
        check(&[".a"], r#""{\"a\":1,\"b\":2}""#, Some(r#""{\"b\":2}""#));
        check(&[".a.b"], r#"{"a":"{\"b\":1}"}"#, Some(r#"{"a":"{}"}"#));
        check(
            &["[*].a"],
            r#"" [\"{\\\"a\\\":1}\"]""#,
            Some(r#""[\"{}\"]""#),
        );
        check(&[".a"], r#""{\"b\":1}""#, Some(r#""{\"b\":1}""#));
        // Encoded twice: what is left of it is encoded once.
        check(
            &[".a"],
            r#""\"{\\\"a\\\":1,\\\"b\\\":2}\"""#,
            Some(r#""{\"b\":2}""#),
        );
        check(&["[*].a"], r#"["\"{\\\"a\\\":1}\""]"#, Some(r#"["{}"]"#));
        check(&["[*].a"], r#""\"[{\\\"a\\\":1}]\"""#, Some(r#""[{}]""#));
        check(&[".a"], r#""\ufeff{\"a\":1}""#, Some(r#""{}""#));
        // Not to be read.
        check(&[".a"], r#""\"{\\\"a\\\":1,\\\"b""#, None);
        check(&[".a"], r#"" \" {'a': 'Pat'}""#, None);
        check(&["[*].a"], r#"["\"{\\\"a\\\":1"]"#, None);
        check(&[".a"], r#""\"Pat\" {x}""#, Some(r#""\"Pat\" {x}""#));
        // Cut off by an SDK.
        check(&[".a"], r#""{\"a\":\"Pat\",\"b""#, None);
        check(&[".a.b"], r#"{"a":"{\"b\":1"}"#, None);
    }

    #[test]
    fn addresses_lose_their_parameters_wherever_they_are() {
        check(
            &[],
            r#""https://a.example/?keep=1&token=2""#,
            Some(r#""https://a.example/?keep=1""#),
        );
        check(
            &[],
            r#"{"u":[" HTTP://a.example?t=1","x"],"v":"{\"w\":\"https:\\/\\/u:p@a.example\"}"}"#,
            Some(r#"{"u":["HTTP://a.example","x"],"v":"{\"w\":\"https://a.example\"}"}"#),
        );
        check(
            &[],
            r#"{"a":"see myapp://open?t=1","b":["/p\u003Ft=1&keep=1"],"c":"{\"d\":\"x //a.de?t=1\"}"}"#,
            Some(r#"{"a":"see myapp://open","b":["/p?keep=1"],"c":"{\"d\":\"x //a.de\"}"}"#),
        );
        // A text that is cut off is no JSON, and still holds an address.
        check(
            &[],
            r#""{\"u\":\"https://a.example/?t=1\",\"v""#,
            Some(r#""{\"u\":\"https://a.example/\",\"v""#),
        );
        for text in [r#""https://a.example/#top""#, r#""a?t=1""#, "[\"http\"]"] {
            check(&[], text, Some(text));
        }
    }

    #[test]
    fn a_deep_value_is_not_followed_to_its_end() {
        let deep = format!("{}\"http\"{}", "[".repeat(100_000), "]".repeat(100_000));
        check(&["[*].a"], &deep, Some(&deep));
    }

    #[test]
    fn what_lies_too_deep_to_be_looked_into_stays_behind() {
        let in_lists = |count: usize| {
            let (open, closed) = ("[".repeat(count), "]".repeat(count));
            format!(r#"{open}"https://a.example/?keep=1"{closed}"#)
        };
        let shallow = in_lists(MOST_LEVELS);
        check(&[], &shallow, Some(&shallow));
        check(&[], &in_lists(MOST_LEVELS + 1), None);
        let in_texts = |count, inner: &str| {
            (0..count).fold(inner.to_owned(), |json, _| {
                let text = serde_json::Value::from(json);
                format!(r#"{{"a":{text}}}"#)
            })
        };
        for (texts, is_looked_into) in [(1, true), (DEEPEST - 1, true), (DEEPEST + 1, false)] {
            let source = ".a".repeat(texts) + ".secret";
            let left = in_texts(texts, r#"{"b":2}"#);
            let input = in_texts(texts, r#"{"secret":1,"b":2}"#);
            check(&[&source], &input, is_looked_into.then_some(&*left));
        }
    }
}
