//! How a table of the configuration is declared: one row per key.
//!
//! [`section!`] turns each row into the field of a struct, the key with its default in the reference,
//! the reader and the printer. A row that lacks one of them does not compile.

use config::{Value, ValueKind};

use crate::config::ConfigError;
use crate::config::names::join;
use crate::config::node::{Node, toml_values};
use crate::config::print::Page;

/// A table, as the reference shows it.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "only tests write the reference")
)]
pub(super) struct Section {
    /// `<name>` and `<event>` stand for names that the operator chooses.
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// Whether its mere presence means something.
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
    /// Whether no message may show its value.
    pub(super) secret: bool,
    /// An example for the table of one event, if it may stand there too.
    pub(super) in_event: Option<&'static str>,
}

/// What holds where a key is absent; the texts are TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyDefault {
    /// This value.
    Value(&'static str),
    /// Nothing; the text is an example.
    Example(&'static str),
    /// Nothing, and a warning; the text is an example, and stands in the sample file.
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
            in_event: None,
        }
    }

    /// A key of a table that has no section.
    pub(super) const fn part(name: &'static str, expects: &'static str) -> Self {
        Self::new(name, KeyDefault::Example(""), "").expecting(expects)
    }

    pub(super) const fn expecting(self, expects: &'static str) -> Self {
        Self { expects, ..self }
    }

    /// What is read where the key is absent: its default, or an empty table.
    pub(super) fn default_value(&self) -> Option<Value> {
        match self.default {
            KeyDefault::Value(text) => toml_values(&format!("default = {text}"))
                .ok()?
                .remove("default"),
            KeyDefault::Table => Some(Value::new(None, ValueKind::Table(config::Map::new()))),
            KeyDefault::Example(_) | KeyDefault::Warned(_) | KeyDefault::Required(_) => None,
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
    /// What the row's own key takes; `None` where the row stands for other keys alone.
    expects: Option<&'static str>,
    secret: bool,
    /// Further keys that the field is read from.
    beside: Vec<Key>,
    pub(super) read: Box<Read<T>>,
    pub(super) print: Box<Print<T>>,
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
        let read = move |table: &KnownTable<'_>, name| match table.get(name) {
            Some(node) => read(&node),
            None => table.read_default(name, &read),
        };
        Self::of_table(Some(expects), [], read, print)
    }

    /// The value of one key of a rule test, which is not printed.
    pub(super) fn unprinted(
        expects: &'static str,
        read: impl Fn(&Node<'_>) -> Option<T> + 'static,
    ) -> Self {
        Self::on_page(expects, read, |_, _, _| {})
    }

    /// What is read from several keys of the table.
    pub(super) fn of_table(
        expects: Option<&'static str>,
        beside: impl Into<Vec<Key>>,
        read: impl Fn(&KnownTable<'_>, &'static str) -> Option<T> + 'static,
        print: impl Fn(&T, &'static str, &mut Page) + 'static,
    ) -> Self {
        Self {
            expects,
            secret: false,
            beside: beside.into(),
            read: Box::new(read),
            print: Box::new(print),
        }
    }

    /// No message shows the value.
    pub(super) fn hidden(self) -> Self {
        Self {
            secret: true,
            ..self
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

    /// The key may be absent. It is not printed if its value is the default.
    pub(super) fn or_default(self) -> Self
    where
        T: Default + PartialEq,
    {
        let codec = self.or(T::default);
        let print = codec.print;
        Self {
            print: Box::new(move |value, name, page| {
                if *value != T::default() {
                    print(value, name, page);
                }
            }),
            ..codec
        }
    }

    /// The key may be absent. A value that cannot be read is noted, and then counts as absent.
    pub(super) fn optional(self) -> Codec<Option<T>> {
        let Self { read, print, .. } = self;
        let codec = Codec {
            expects: self.expects,
            secret: self.secret,
            beside: self.beside,
            read: Box::new(move |table, name| Some(read(table, name))),
            print: Box::new(move |value: &Option<T>, name, page| {
                if let Some(value) = value {
                    print(value, name, page);
                }
            }),
        };
        codec.or(|| None)
    }

    /// The keys that the field is read from, of which the row declares the first.
    pub(super) fn keys(&self, own: Key) -> Vec<Key> {
        let own = self.expects.map(|expects| Key {
            expects,
            secret: self.secret,
            ..own
        });
        own.into_iter().chain(self.beside.iter().copied()).collect()
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
                $(in_event $in_event:literal)? $(else $stand_in:expr)?;
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
                            $(in_event: Some($in_event),)?
                            ..Key::new(section!(@name $field $($name)?), $default, $doc)
                        };
                        let codec: Codec<$type> = $codec;
                        keys.extend(codec.keys(key));
                    })+
                    $section.with(keys)
                }

                fn read(table: &KnownTable<'_>) -> Option<Self> {
                    $(let $field: Option<$type> = ($codec.read)(table, section!(@name $field $($name)?));)+
                    $(let $table = table; $($then)*)?
                    Some(Self { $($field: $field$(.or_else(|| Some($stand_in)))??,)+ })
                }

                fn print(&self, page: &mut Page) {
                    $(($codec.print)(&self.$field, section!(@name $field $($name)?), page);)+
                }
            }
        };
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}
pub(super) use section;

/// Lists keys that have no field of their own.
macro_rules! keys {
    ($($name:literal: $expects:expr, $default:expr, $doc:literal;)+) => {
        [$($crate::config::schema::Key::new($name, $default, $doc).expecting($expects),)+]
    };
}
pub(super) use keys;

/// A table in the file, of which the keys are known.
pub(super) struct KnownTable<'v> {
    pub(super) node: Node<'v>,
    keys: Vec<Key>,
}

impl<'v> KnownTable<'v> {
    /// Reads a value as a table, and notes unknown keys.
    pub(super) fn open(node: &Node<'v>, keys: impl Into<Vec<Key>>) -> Option<Self> {
        let keys = keys.into();
        for (name, member) in node.members()? {
            if keys.iter().all(|key| key.name != name) {
                member.unknown_key(name, keys.iter().map(|key| key.name));
            }
        }
        let node = node.clone();
        Some(Self { node, keys })
    }

    /// The value of a key, `None` where it is absent.
    pub(super) fn get(&self, name: &str) -> Option<Node<'v>> {
        Some(self.member(self.key(name), self.value(name)?))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, name: &str) -> Option<Node<'v>> {
        let found = self.get(name);
        if found.is_none() {
            let expects = self.key(name).expects;
            self.refuse(name, format!("missing, expected {expects}"));
        }
        found
    }

    /// Notes an error at a key.
    pub(super) fn refuse(&self, name: &str, message: impl Into<String>) {
        let error = ConfigError::new(join(&self.node.at, name), message);
        self.node.context.note(error);
    }

    /// Whether nothing says what a key means: neither a value nor a default.
    pub(super) fn is_absent(&self, name: &str) -> bool {
        let has_default = matches!(self.key(name).default, KeyDefault::Value(_));
        !has_default && self.value(name).is_none()
    }

    /// Reads a key that is absent: its default, or an empty table.
    pub(super) fn read_default<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Node<'_>) -> Option<T>,
    ) -> Option<T> {
        let key = self.key(name);
        let Some(default) = key.default_value() else {
            self.require(name);
            return None;
        };
        read(&self.member(key, &default))
    }

    fn value(&self, name: &str) -> Option<&'v Value> {
        match self.node.kind() {
            ValueKind::Table(values) => values.get(name),
            _ => None,
        }
    }

    fn member<'n>(&self, key: &Key, value: &'n Value) -> Node<'n>
    where
        'v: 'n,
    {
        Node {
            at: join(&self.node.at, key.name),
            value,
            expects: key.expects,
            secret: key.secret,
            ..self.node.clone()
        }
    }

    fn key(&self, name: &str) -> &Key {
        self.keys
            .iter()
            .find(|key| key.name == name)
            .expect("only keys of the table are asked for")
    }
}
