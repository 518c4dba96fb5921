//! Which file calls a method of which, judged by the method's name.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{FnArg, ImplItem, ItemImpl, ItemMod, ItemTrait, Signature, TraitItem};

use super::source::SourceFile;
use super::types::{is_of_tests, type_name};
use super::uses::{Edges, between_neighbours};

/// Every call from one file or folder to a method of another beside it. A name identifies a method if exactly
/// one type of the folder has a method of that name, and no other type that the calling file may use has one.
/// A name that is also called outside the folder's users may belong to the standard library, and is ignored.
pub fn calls_between(sources: &[SourceFile]) -> Edges {
    let mut methods: BTreeMap<String, BTreeSet<(String, &[String])>> = BTreeMap::new();
    for source in sources {
        for (method, of) in methods_of(source) {
            methods
                .entry(method)
                .or_default()
                .insert((of, &source.module));
        }
    }
    let calls: Vec<BTreeSet<String>> = sources.iter().map(calls_of).collect();
    let used: Vec<BTreeSet<String>> = sources.iter().map(SourceFile::modules_used).collect();
    let knows = |file: usize, module: &str| {
        sources[file].top_level_module() == module || used[file].contains(module)
    };
    let is_called_elsewhere = |method: &str, module: &str| {
        let mut files = 0..sources.len();
        files.any(|file| !knows(file, module) && calls[file].contains(method))
    };
    let mut edges = Edges::new();
    for (file, source) in sources.iter().enumerate() {
        for method in &calls[file] {
            for (folder, _) in source.module.iter().enumerate().skip(1) {
                let folder = &source.module[..folder];
                let is_within =
                    |module: &[String]| module.len() > folder.len() && module.starts_with(folder);
                let (within, elsewhere): (Vec<_>, Vec<_>) = methods
                    .get(method)
                    .into_iter()
                    .flatten()
                    .partition(|(_, module)| is_within(module));
                if let [(of, module)] = &within[..]
                    && !elsewhere.iter().any(|(_, module)| knows(file, &module[0]))
                    && !is_called_elsewhere(method, &folder[0])
                    && let Some(edge) = between_neighbours(&source.module, module)
                {
                    let why = format!("calls `{method}` of `{of}`");
                    edges.entry(edge).or_insert(why);
                }
            }
        }
    }
    edges
}

/// The methods that a file calls.
pub fn calls_of(source: &SourceFile) -> BTreeSet<String> {
    source
        .tokens()
        .windows(4)
        .filter(|four| four[0] != "." && four[1] == "." && matches!(&*four[3], "(" | ":"))
        .map(|four| four[2].clone())
        .collect()
}

/// The methods that a file defines for a type or a trait, with its name.
fn methods_of(source: &SourceFile) -> BTreeSet<(String, String)> {
    let mut methods = Methods::default();
    methods.visit_file(source.syntax());
    methods.0
}

#[derive(Default)]
struct Methods(BTreeSet<(String, String)>);

impl Methods {
    fn add(&mut self, signature: &Signature, of: &str) {
        if let Some(FnArg::Receiver(_)) = signature.inputs.first() {
            self.0.insert((signature.ident.to_string(), of.to_owned()));
        }
    }
}

impl<'ast> Visit<'ast> for Methods {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if item.trait_.is_none()
            && !is_of_tests(&item.attrs)
            && let Some(of) = type_name(&item.self_ty)
        {
            for part in &item.items {
                if let ImplItem::Fn(method) = part
                    && !is_of_tests(&method.attrs)
                {
                    self.add(&method.sig, &of);
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        for part in &item.items {
            if let TraitItem::Fn(method) = part {
                self.add(&method.sig, &item.ident.to_string());
            }
        }
        visit::visit_item_trait(self, item);
    }
}
