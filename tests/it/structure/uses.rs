//! Which file uses which.

use std::collections::{BTreeMap, BTreeSet};

use super::source::SourceFile;

/// One module and another that it uses, and how.
pub type Edges = BTreeMap<(String, String), String>;

/// Every use of one file or folder by another beside it.
pub fn uses_between(sources: &[SourceFile]) -> Edges {
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| &*source.module).collect();
    let mut uses = Edges::new();
    for source in sources {
        for path in paths_of(source) {
            let mut used = match &*path[0] {
                "crate" => Vec::new(),
                _ => source.module.clone(),
            };
            let why = format!("names `{}`", path.join("::"));
            for name in path {
                match &*name {
                    "crate" => {}
                    "super" => drop(used.pop()),
                    _ => used.push(name),
                }
            }
            // The path leads to an item; part of it is the path of the file.
            while !used.is_empty() && !modules.contains(&*used) {
                used.pop();
            }
            if let Some(edge) = between_neighbours(&source.module, &used) {
                uses.entry(edge).or_insert(why);
            }
        }
    }
    uses
}

/// The paths in a file into a folder of another top-level module, such as `crate::queue::dead`, also behind
/// a name that a `use` gives to the module.
pub fn insides_used(source: &SourceFile, sources: &[SourceFile]) -> BTreeSet<String> {
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| &*source.module).collect();
    let from_root = paths_of(source).into_iter();
    let from_root = from_root
        .filter(|path| path[0] == "crate")
        .map(|mut path| path.split_off(1));
    let in_code = source
        .tokens()
        .windows(4)
        .filter_map(|tokens| match tokens {
            [module, one, two, inner] if one == ":" && two == ":" => Some([module, inner]),
            _ => None,
        });
    from_root
        .chain(in_code.map(|path| path.map(String::clone).to_vec()))
        .filter_map(|path| path.get(..2).map(<[String]>::to_vec))
        .filter(|path| path[0] != source.module[0] && modules.contains(&**path))
        .map(|path| path.join("::"))
        .collect()
}

/// The two files or folders of one folder through which one module uses another; `None` where one lies
/// within the other.
pub fn between_neighbours(module: &[String], used: &[String]) -> Option<(String, String)> {
    let shared = module.iter().zip(used).take_while(|(a, b)| a == b).count();
    let name = |path: &[String]| Some(path.get(..=shared)?.join("::"));
    Some((name(module)?, name(used)?))
}

/// The uses that are part of a circle, or lead from one to another.
pub fn circles(mut uses: Edges) -> Edges {
    loop {
        let users: BTreeSet<String> = uses.keys().map(|(user, _)| user.clone()).collect();
        let used: BTreeSet<String> = uses.keys().map(|(_, used)| used.clone()).collect();
        let before = uses.len();
        // What uses nothing is at the bottom, and what nothing uses is at the top.
        uses.retain(|(a, b), _| users.contains(b) && used.contains(a));
        if uses.len() == before {
            return uses;
        }
    }
}

/// The paths in a file that begin with `crate` or `super`, each branch of a `use` by itself.
pub fn paths_of(source: &SourceFile) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = source.tokens();
    while let [token, after @ ..] = rest {
        rest = match (&**token, after) {
            ("crate" | "super", [one, two, ..]) if one == ":" && two == ":" => {
                branches(rest, &[], &mut paths)
            }
            _ => after,
        };
    }
    paths
}

/// Reads a path behind `before`, with all its branches; returns the tokens behind it.
fn branches<'t>(
    tokens: &'t [String],
    before: &[String],
    paths: &mut Vec<Vec<String>>,
) -> &'t [String] {
    let mut path = before.to_vec();
    let mut rest = tokens;
    loop {
        match rest {
            [name, after @ ..] if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(name.clone());
                rest = after;
            }
            [open, ..] if open == "{" => {
                while let [open, list @ ..] = rest
                    && (open == "{" || open == ",")
                {
                    rest = branches(list, &path, paths);
                    // An alias.
                    let end = rest.iter().position(|token| token == "," || token == "}");
                    rest = &rest[end.unwrap_or(rest.len())..];
                }
                return rest.get(1..).unwrap_or_default();
            }
            _ => {}
        }
        match rest {
            [one, two, after @ ..] if one == ":" && two == ":" => rest = after,
            _ => {
                paths.push(path);
                return rest;
            }
        }
    }
}
