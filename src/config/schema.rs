//! How a table of the configuration is declared: one row per key.
//!
//! [`section!`] makes of each row the field of a struct, the key with its default in the reference,
//! the reader and the printer. Without any one of them the row does not compile.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use crate::config::ConfigError;
use crate::config::names::join;
use crate::config::node::{LoadContext, Node, toml_values};
use crate::config::print::Page;

/// A table, as the reference shows it.
#[derive(Debug)]
pub(super) struct Section {
    /// `<name>` and `<event>` stand for what the operator chooses.
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// Whether something is meant by its mere presence.
    pub(super) by_presence: bool,
    /// In the order of the reference.
    pub(super) keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What it takes, to follow "expected".
    pub(super) expects: &'static str,
    pub(super) default: KeyDefault,
    pub(super) doc: &'static str,
    /// Whether its value must never be shown.
    pub(super) secret: bool,
    /// The key behind which the reference lists it, where it is not the one before.
    pub(super) after: Option<&'static str>,
    /// An example for the table of one event, where it may stand too.
    pub(super) in_event: Option<&'static str>,
}

/// What holds where a key is absent; the texts are TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyDefault {
    /// This value.
    Value(&'static str),
    /// Nothing; the text is an example.
    Example(&'static str),
    /// Nothing, which is warned about; the text is an example, and what the sample file says.
    Warned(&'static str),
    /// The key cannot be absent; the text is an example.
    Required(&'static str),
    /// The key is a table with a section of its own.
    Table,
}

impl Section {
    pub(super) fn new(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            by_presence: false,
            keys: Vec::new(),
        }
    }

    pub(super) fn by_presence(name: &'static str, doc: &'static str) -> Self {
        Self {
            by_presence: true,
            ..Self::new(name, doc)
        }
    }

    /// Takes keys in the order of their declaration: tables follow values, as in a TOML file.
    pub(super) fn with(self, keys: impl IntoIterator<Item = Key>) -> Self {
        let mut keys: Vec<Key> = keys.into_iter().collect();
        keys.sort_by_key(|key| key.default == KeyDefault::Table);
        for key in keys.clone() {
            let Some(before) = key.after else { continue };
            keys.retain(|other| other.name != key.name);
            let position = keys.iter().position(|other| other.name == before);
            keys.insert(position.map_or(keys.len(), |position| position + 1), key);
        }
        Self { keys, ..self }
    }
}

impl Key {
    pub(super) const fn new(name: &'static str, default: KeyDefault, doc: &'static str) -> Self {
        Self {
            name,
            expects: "a table",
            default,
            doc,
            secret: false,
            after: None,
            in_event: None,
        }
    }

    pub(super) const fn expecting(self, expects: &'static str) -> Self {
        Self { expects, ..self }
    }

    pub(super) const fn hidden(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }
}

/// A struct that [`section!`] declares.
pub(super) trait Table: Sized {
    fn section() -> Section;

    /// `None` where a field could not be read, which is noted.
    fn read(table: &KnownTable<'_>) -> Option<Self>;

    fn print(&self, page: &mut Page);

    fn read_node(node: &Node<'_>) -> Option<Self> {
        Self::read(&KnownTable::open(node, Self::section().keys)?)
    }
}

type Read<T> = dyn Fn(&KnownTable<'_>, &'static str) -> Option<T>;
type Print<T> = dyn Fn(&T, &'static str, &mut Page);

/// How the field of a row is read and printed.
pub(super) struct Codec<T> {
    keys: Box<dyn Fn(Key) -> Vec<Key>>,
    read: Box<Read<T>>,
    print: Box<Print<T>>,
}

impl<T: 'static> Codec<T> {
    /// The value of one key, printed behind it.
    pub(super) fn new(
        expects: &'static str,
        read: impl Fn(&Node<'_>) -> Option<T> + 'static,
        print: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self::on_page(expects, read, move |value, name, page| {
            page.key(name, print(value));
        })
    }

    /// The value of one key, printed as it likes.
    pub(super) fn on_page(
        expects: &'static str,
        read: impl Fn(&Node<'_>) -> Option<T> + 'static,
        print: impl Fn(&T, &'static str, &mut Page) + 'static,
    ) -> Self {
        Self::of_table(
            move |key| vec![key.expecting(expects)],
            move |table, name| match table.get(name) {
                Some(node) => read(&node),
                None => table.read_default(name, &read),
            },
            print,
        )
    }

    /// The value of one key of a rule test: those are not printed.
    pub(super) fn unprinted(
        expects: &'static str,
        read: impl Fn(&Node<'_>) -> Option<T> + 'static,
    ) -> Self {
        Self::on_page(expects, read, |_, _, _| {})
    }

    /// What takes other keys than the row's own, which its first argument gives.
    pub(super) fn of_table(
        keys: impl Fn(Key) -> Vec<Key> + 'static,
        read: impl Fn(&KnownTable<'_>, &'static str) -> Option<T> + 'static,
        print: impl Fn(&T, &'static str, &mut Page) + 'static,
    ) -> Self {
        Self {
            keys: Box::new(keys),
            read: Box::new(read),
            print: Box::new(print),
        }
    }

    pub(super) fn or(self, absent: fn() -> T) -> Self {
        let read = self.read;
        Self {
            read: Box::new(move |table, name| {
                if table.is_absent(name) {
                    Some(absent())
                } else {
                    read(table, name)
                }
            }),
            ..self
        }
    }

    /// The key may be absent. It is not printed while it says what its absence would.
    pub(super) fn or_default(self) -> Self
    where
        T: Default + PartialEq,
    {
        let Self { keys, read, print } = self.or(T::default);
        Self::of_table(keys, read, move |value, name, page| {
            if *value != T::default() {
                print(value, name, page);
            }
        })
    }

    /// The key may be absent. A value that cannot be read counts as absent once it is noted.
    pub(super) fn optional(self) -> Codec<Option<T>> {
        let Self { keys, read, print } = self;
        let codec = Codec::of_table(
            keys,
            move |table, name| Some(read(table, name)),
            move |value: &Option<T>, name, page| {
                if let Some(value) = value {
                    print(value, name, page);
                }
            },
        );
        codec.or(|| None)
    }

    pub(super) fn keys(&self, own: Key) -> Vec<Key> {
        (self.keys)(own)
    }

    /// `None` where there is no value, which is noted.
    pub(super) fn read(&self, table: &KnownTable<'_>, name: &'static str) -> Option<T> {
        (self.read)(table, name)
    }

    pub(super) fn print(&self, value: &T, name: &'static str, page: &mut Page) {
        (self.print)(value, name, page);
    }
}

/// Declares a table: `field: Type = codec, default, "what it does";` for each key.
///
/// `as "key"` names a key that is not called like its field. `else value` stands in for a value that
/// cannot be read, so that the rest of the table is still looked through. `=> then(table) { … }` sees
/// each field as an `Option`, `None` where it cannot be read, and may check or change it.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $config:ident = $section:expr;
        $(
            $field:ident $(as $name:literal)?: $type:ty = $codec:expr, $default:expr, $doc:literal
                $(after $after:literal)? $(in_event $in_event:literal)? $(else $stand_in:expr)?;
        )+
        $(=> then($table:ident) { $($then:tt)* })?
    ) => {
        $(#[$attribute])*
        $visibility struct $config {
            $(#[doc = $doc] pub $field: $type,)+
        }

        const _: () = {
            use $crate::config::print::Page;
            use $crate::config::schema::{Codec, Key, KnownTable, Section, Table};

            impl Table for $config {
                fn section() -> Section {
                    let mut keys = Vec::new();
                    $({
                        let key = Key {
                            $(after: Some($after),)?
                            $(in_event: Some($in_event),)?
                            ..Key::new(section!(@name $field $($name)?), $default, $doc)
                        };
                        let codec: Codec<$type> = $codec;
                        keys.extend(codec.keys(key));
                    })+
                    $section.with(keys)
                }

                fn read(table: &KnownTable<'_>) -> Option<Self> {
                    $(let $field: Option<$type> = $codec.read(table, section!(@name $field $($name)?));)+
                    $(let $table = table; $($then)*)?
                    Some(Self { $($field: $field$(.or_else(|| Some($stand_in)))??,)+ })
                }

                fn print(&self, page: &mut Page) {
                    $($codec.print(&self.$field, section!(@name $field $($name)?), page);)+
                }
            }
        };
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}
pub(super) use section;

/// Lists keys that no field of their own stands for.
macro_rules! keys {
    ($($name:literal: $expects:expr, $default:expr, $doc:literal;)+) => {
        [$($crate::config::schema::Key::new($name, $default, $doc).expecting($expects),)+]
    };
}
pub(super) use keys;

/// Declares a section that shows keys of a table which takes any, or which has its own reader.
macro_rules! samples {
    ($visibility:vis fn $function:ident = $section:expr; $($keys:tt)+) => {
        $visibility fn $function() -> $crate::config::schema::Section {
            $section.with($crate::config::schema::keys! { $($keys)+ })
        }
    };
}
pub(super) use samples;

/// A table in the file, of which the keys are known.
pub(super) struct KnownTable<'v> {
    at: String,
    values: BTreeMap<&'v str, &'v Value>,
    keys: Vec<Key>,
    context: &'v LoadContext,
}

impl<'v> KnownTable<'v> {
    /// Takes a value for a table, and notes the keys that it does not have.
    pub(super) fn open(node: &Node<'v>, keys: impl Into<Vec<Key>>) -> Option<Self> {
        let keys = keys.into();
        let mut values = BTreeMap::new();
        for member in node.members()? {
            if let Some(key) = keys.iter().find(|key| key.name == member.name) {
                values.insert(key.name, member.node.value());
            } else {
                let known = keys.iter().map(|key| key.name);
                let elsewhere = node.context().homes.get(member.name);
                member.node.unknown_key(member.name, known, elsewhere);
            }
        }
        Some(Self {
            at: node.at().to_owned(),
            values,
            keys,
            context: node.context(),
        })
    }

    /// A table in which every key is absent.
    pub(super) const fn empty(keys: Vec<Key>, context: &'v LoadContext) -> Self {
        Self {
            at: String::new(),
            values: BTreeMap::new(),
            keys,
            context,
        }
    }

    /// The value of a key, `None` where it is absent.
    pub(super) fn get(&self, name: &'static str) -> Option<Node<'v>> {
        Some(self.node(self.key(name), self.values.get(name)?))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, name: &'static str) -> Option<Node<'v>> {
        let found = self.get(name);
        if found.is_none() {
            self.refuse(
                name,
                format!("missing, expected {}", self.key(name).expects),
            );
        }
        found
    }

    /// Notes a mistake at a key.
    pub(super) fn refuse(&self, name: &str, message: impl Into<String>) {
        self.context
            .note(ConfigError::new(join(&self.at, name), message));
    }

    pub(super) const fn context(&self) -> &'v LoadContext {
        self.context
    }

    /// Whether nothing says what a key means: neither a value nor a default.
    pub(super) fn is_absent(&self, name: &str) -> bool {
        let has_default = matches!(self.key(name).default, KeyDefault::Value(_));
        !has_default && !self.values.contains_key(name)
    }

    /// Reads a key that is absent: its default, or an empty table.
    pub(super) fn read_default<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Node<'_>) -> Option<T>,
    ) -> Option<T> {
        let key = self.key(name);
        let value = match key.default {
            KeyDefault::Value(text) => toml_values(&format!("default = {text}"))
                .ok()?
                .remove("default")?,
            KeyDefault::Table => Value::new(None, ValueKind::Table(config::Map::new())),
            KeyDefault::Example(_) | KeyDefault::Warned(_) | KeyDefault::Required(_) => {
                self.require(name);
                return None;
            }
        };
        read(&self.node(key, &value))
    }

    fn node<'n>(&self, key: &Key, value: &'n Value) -> Node<'n>
    where
        'v: 'n,
    {
        let node = Node::new(join(&self.at, key.name), value, self.context).expecting(key.expects);
        if key.secret { node.hidden() } else { node }
    }

    fn key(&self, name: &str) -> &Key {
        self.keys
            .iter()
            .find(|key| key.name == name)
            .expect("only keys of the table are asked for")
    }
}
