//! Which file declares which type, and which implements it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Ident, ItemEnum, ItemImpl, ItemMod, ItemStruct, ItemTrait, ItemType, ItemUnion,
    Macro, Type,
};

use super::source::SourceFile;

/// The names of the types that a file declares, without associated types.
pub fn declared_types(source: &SourceFile) -> Vec<String> {
    let mut declared = Declared::default();
    declared.visit_file(source.syntax());
    declared.0
}

/// The types that have an inherent `impl` in another file than their own, and those files.
pub fn strangers(sources: &[SourceFile]) -> BTreeMap<String, Vec<&str>> {
    let mut homes: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for source in sources {
        for name in declared_types(source) {
            homes.entry(name).or_default().insert(&source.path);
        }
    }
    let mut strangers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in sources {
        let mut implemented = Implemented::default();
        implemented.visit_file(source.syntax());
        for name in implemented.0 {
            // A macro's type is not visible here.
            let home = homes.get(&name);
            if home.is_some_and(|home| !home.contains(&*source.path)) {
                strangers.entry(name).or_default().push(&source.path);
            }
        }
    }
    strangers
}

/// The last name in a path to a type.
pub fn type_name(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

pub fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<Ident>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|condition| condition == "test")
    })
}

#[derive(Default)]
struct Declared(Vec<String>);

impl Declared {
    fn add(&mut self, name: &Ident) {
        self.0.push(name.to_string());
    }

    fn add_of_macro(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let word = token.to_string();
            if let proc_macro2::TokenTree::Group(group) = token {
                self.add_of_macro(group.stream());
            } else if matches!(&*word, "struct" | "enum" | "trait")
                && let Some(proc_macro2::TokenTree::Ident(name)) = tokens.peek()
            {
                self.add(name);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Declared {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.add(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.add(&item.ident);
    }

    fn visit_item_union(&mut self, item: &'ast ItemUnion) {
        self.add(&item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast ItemType) {
        self.add(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.add(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.add_of_macro(item.tokens.clone());
    }
}

#[derive(Default)]
struct Implemented(BTreeSet<String>);

impl<'ast> Visit<'ast> for Implemented {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if item.trait_.is_none() && !is_of_tests(&item.attrs) {
            self.0.extend(type_name(&item.self_ty));
        }
        visit::visit_item_impl(self, item);
    }
}
