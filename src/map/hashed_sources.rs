//! What hashed fields are made from: it may not go out in clear beside its hash.
//!
//! A source is a path, whatever its value. [`HashedSources::cover`] compares a path with those of all
//! sources once, when the configuration is loaded, and says what to withhold of the values that the path
//! finds: nothing, all of it, or the parts at some [`PartPath`]s.

use crate::event::{REVENUE_FIELDS, revenue_field};
use crate::expr::path::{Path, PathStep, alias_of};
use crate::expr::value::ValueExpr;
use crate::normalize::field::{FieldClass, UserDataField};

/// The paths that the hashed fields of a sync read.
#[derive(Clone, Debug, Default)]
pub(super) struct HashedSources(Vec<(UserDataField, Path)>);

/// The way from a value to a part of it.
pub(super) type PartPath = Box<[PathStep]>;

/// What of a value is withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing.
    Free,
    /// These parts, none of which is the value itself.
    Parts(Vec<PartPath>),
    /// All of it.
    Whole,
}

/// How the values at a path overlap with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlap<'s> {
    Apart,
    /// It points to the source, or into it.
    Within,
    /// The source is a part of what it points to.
    Holds(&'s [PathStep]),
}

impl HashedSources {
    /// The sources of the hashed fields among these, without those that are allowed in clear by their
    /// property's name or by the whole path.
    pub(super) fn of<'e>(
        fields: impl IntoIterator<Item = (UserDataField, &'e ValueExpr)>,
        allowed: &[String],
    ) -> Self {
        let mut sources: Vec<(UserDataField, Path)> = Vec::new();
        for (field, expr) in fields {
            for path in expr.paths() {
                // A value that may be in one of two places is withheld in both.
                let twin = twin(path);
                let places = || std::iter::once(path).chain(&twin);
                let is_known = sources.contains(&(field, path.clone()));
                let is_allowed = places().any(|path| allowed.iter().any(|name| names(name, path)));
                if field.is_hashed() && !is_known && !is_allowed {
                    sources.extend(places().map(|path| (field, path.clone())));
                }
            }
        }
        Self(sources)
    }

    /// The sources that are traits of a person, without those of an id: an event may be identified by one.
    pub(super) fn of_traits(&self) -> Self {
        let is_trait = |(field, _): &&(UserDataField, Path)| field.class() != FieldClass::PersonId;
        Self(self.0.iter().filter(is_trait).cloned().collect())
    }

    /// The fields and their paths.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(UserDataField, Path)> {
        self.0.iter()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to withhold of the values that a path finds in an event.
    pub(super) fn cover(&self, path: &Path) -> Cover {
        Cover::of(self.0.iter().map(|(_, source)| overlap(path, source)))
    }

    /// The sources that a path points to or into, or that are parts of what it points to.
    pub(super) fn touched_by(&self, path: &Path) -> impl Iterator<Item = &(UserDataField, Path)> {
        self.0
            .iter()
            .filter(|(_, source)| overlap(path, source) != Overlap::Apart)
    }

    /// The sources in a top-level object, with the names of the members that they begin with.
    pub(super) fn in_section(&self, section: &str) -> Vec<(&str, &(UserDataField, Path))> {
        let named = self.0.iter().filter_map(|source| match source.1.steps() {
            [PathStep::Key(name), ..] if source.1.root() == Some(section) => {
                Some((&**name, source))
            }
            _ => None,
        });
        named.collect()
    }

    /// What to withhold of an element of the lists that a path finds. An object in place of a list counts as
    /// an element.
    pub(super) fn cover_of_elements(&self, lists: &Path) -> Cover {
        match self.cover(lists) {
            Cover::Parts(parts) => Cover::of(parts.iter().map(|part| match &**part {
                [PathStep::Each | PathStep::Index(_)] => Overlap::Within,
                [PathStep::Each | PathStep::Index(_), rest @ ..] => Overlap::Holds(rest),
                of_object => Overlap::Holds(of_object),
            })),
            cover => cover,
        }
    }
}

impl Cover {
    fn of<'s>(overlaps: impl Iterator<Item = Overlap<'s>>) -> Self {
        let mut parts = Vec::new();
        for overlap in overlaps {
            match overlap {
                Overlap::Apart => {}
                Overlap::Within => return Self::Whole,
                Overlap::Holds(part) => parts.push(part.into()),
            }
        }
        if parts.is_empty() {
            Self::Free
        } else {
            Self::Parts(parts)
        }
    }

    /// What to withhold of a member of such a value.
    pub(super) fn of_member(&self, path: &Path) -> Self {
        match self {
            Self::Parts(parts) => Self::of(parts.iter().map(|part| lie(path.steps(), part))),
            cover => cover.clone(),
        }
    }

    /// The stricter of two.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::Free, other) | (other, Self::Free) => other,
            (Self::Parts(mut parts), Self::Parts(others)) => {
                parts.extend(others);
                Self::Parts(parts)
            }
        }
    }
}

/// Whether an entry of `allow_personal_data` names a source.
pub(super) fn names(entry: &str, source: &Path) -> bool {
    let name = match (source.root(), source.steps()) {
        (_, [PathStep::Key(name), ..]) => Some(&**name),
        (root, _) => root,
    };
    name == Some(entry) || source.as_str() == entry
}

/// The other path to the same value: revenue is a top-level field in one of Amplitude's endpoints, and an
/// event property with a `$` in the other.
fn twin(path: &Path) -> Option<Path> {
    let root = path.root()?;
    let of_property = match path.steps() {
        [PathStep::Key(property), rest @ ..] => revenue_field(root, property).zip(Some(rest)),
        _ => None,
    };
    let (begin, rest) = if let Some((field, rest)) = of_property {
        (field.to_owned(), rest)
    } else {
        let mut names = std::iter::once(root).chain(alias_of(root));
        let field = names.find(|name| REVENUE_FIELDS.contains(name))?;
        (format!("event_properties.${field}"), path.steps())
    };
    let rest: String = rest.iter().map(PathStep::to_string).collect();
    Path::parse(&format!("{begin}{rest}")).ok()
}

fn overlap<'s>(path: &Path, source: &'s Path) -> Overlap<'s> {
    if path.begins_like(source) {
        lie(path.steps(), source.steps())
    } else {
        Overlap::Apart
    }
}

/// A single value is read as a list of one, so a step to an element may stay where it is.
fn lie<'s>(path: &[PathStep], source: &'s [PathStep]) -> Overlap<'s> {
    match (path, source) {
        (_, []) => Overlap::Within,
        ([], rest) => Overlap::Holds(rest),
        ([own, path @ ..], [other, source @ ..]) if meets(own, other) => lie(path, source),
        ([PathStep::Each | PathStep::Index(0), path @ ..], [PathStep::Key(_), ..]) => {
            lie(path, source)
        }
        ([PathStep::Key(_), ..], [PathStep::Each | PathStep::Index(0), source @ ..]) => {
            lie(path, source)
        }
        _ => Overlap::Apart,
    }
}

fn meets(own: &PathStep, other: &PathStep) -> bool {
    match (own, other) {
        (PathStep::Key(own), PathStep::Key(other)) => own == other,
        (PathStep::Index(own), PathStep::Index(other)) => own == other,
        (PathStep::Each, PathStep::Each | PathStep::Index(_))
        | (PathStep::Index(_), PathStep::Each) => true,
        (PathStep::Key(_), _) | (_, PathStep::Key(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(paths: &[&str], allowed: &[&str]) -> HashedSources {
        let exprs: Vec<ValueExpr> = paths
            .iter()
            .map(|path| ValueExpr::path(Path::parse(path).unwrap()))
            .collect();
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let fields = exprs.iter().map(|expr| (UserDataField::Email, expr));
        HashedSources::of(fields, &allowed)
    }

    fn parts(paths: &[&str]) -> Cover {
        let part = |path: &&str| Path::parse_in_element(path).unwrap().steps().into();
        Cover::Parts(paths.iter().map(part).collect())
    }

    #[track_caller]
    fn check(source: &str, path: &str, expected: &Cover) {
        let cover = sources(&[source], &[]).cover(&Path::parse(path).unwrap());
        assert_eq!(cover, *expected, "{source} {path}");
    }

    #[test]
    fn paths_are_compared_step_by_step() {
        for (source, path, expected) in [
            ("event_properties.a", "event_properties.a", Cover::Whole),
            (
                "event_properties.a",
                "event_properties.a.b[0]",
                Cover::Whole,
            ),
            ("event_properties.a", "event_properties.b", Cover::Free),
            ("event_properties.a", "user_properties.a", Cover::Free),
            ("event_properties.a.b", "event_properties.a", parts(&["b"])),
            ("event_properties.a.b", "event_properties", parts(&["a.b"])),
            ("event_properties.a.b", "event_properties.a.c", Cover::Free),
            (
                "event_properties.a[*].b",
                "event_properties.a",
                parts(&["[*].b"]),
            ),
            (
                "event_properties.a[*].b",
                "event_properties.a[1].b",
                Cover::Whole,
            ),
            (
                "event_properties.a[1].b",
                "event_properties.a[*]",
                parts(&["b"]),
            ),
            (
                "event_properties.a[1].b",
                "event_properties.a[0].b",
                Cover::Free,
            ),
            // A single value is as a list of one.
            (
                "event_properties.a[*].b",
                "event_properties.a.b",
                Cover::Whole,
            ),
            (
                "event_properties.a.b",
                "event_properties.a[0].b",
                Cover::Whole,
            ),
            (
                "event_properties.a[1].b",
                "event_properties.a.b",
                Cover::Free,
            ),
            (
                "event_properties.a[0].b",
                "event_properties.a.b",
                Cover::Whole,
            ),
            (
                "event_properties.a.b",
                "event_properties.a[*].c",
                Cover::Free,
            ),
            // Revenue stands among the event properties in the webhook, and beside them in the SDKs' APIs.
            (
                "productId",
                "event_properties[\"$productId\"]",
                Cover::Whole,
            ),
            ("product_id", "event_properties.$productId", Cover::Whole),
            ("event_properties.$productId", "productId", Cover::Whole),
            ("event_properties.$productId", "product_id", Cover::Whole),
            ("productId", "event_properties", parts(&["$productId"])),
            ("event_properties.productId", "productId", Cover::Free),
            ("ip", "ip_address", Cover::Whole),
            ("device_carrier", "carrier", Cover::Whole),
            ("user_id", "device_id", Cover::Free),
        ] {
            check(source, path, &expected);
        }
    }

    #[test]
    fn an_entry_names_a_property_or_a_whole_path() {
        let path = Path::parse("event_properties.a.b").unwrap();
        for (allowed, expected) in [
            (&["a"][..], Cover::Free),
            (&["event_properties.a.b"], Cover::Free),
            (&["b"], Cover::Whole),
            (&["event_properties"], Cover::Whole),
        ] {
            let cover = sources(&["event_properties.a.b"], allowed).cover(&path);
            assert_eq!(cover, expected, "{allowed:?}");
        }
        for allowed in ["city", "$productId", "productId"] {
            let source = if allowed == "city" {
                "city"
            } else {
                "productId"
            };
            assert!(sources(&[source], &[allowed]).is_empty(), "{allowed}");
        }
    }

    #[test]
    fn elements_are_covered_as_their_list_is() {
        let all = sources(&["event_properties.p[*].name", "event_properties.q"], &[]);
        let elements = |path: &str| all.cover_of_elements(&Path::parse(path).unwrap());
        assert_eq!(elements("event_properties.q"), Cover::Whole);
        assert_eq!(elements("event_properties.r"), Cover::Free);
        let cover = elements("event_properties.p");
        assert_eq!(cover, parts(&["name"]));
        let member = |path: &str| cover.of_member(&Path::parse_in_element(path).unwrap());
        assert_eq!(member("name"), Cover::Whole);
        assert_eq!(member("sku"), Cover::Free);
    }
}
