//! The source files of a crate, and what each of them names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

/// Segments of a path, from the crate's root or from the name of another crate.
type Segments = Vec<String>;

/// The first segment of a path that starts at the root of the library, in whichever module it is written.
const ROOT: &str = "$";

/// What the checker knows of one source file.
#[derive(Default)]
pub(super) struct File {
    pub(super) lines: usize,
    /// Each file of this crate that it imports.
    pub(super) imports: BTreeSet<String>,
    /// Each path into another crate, such as `std::fs::read`.
    pub(super) foreign: BTreeSet<String>,
    /// Each function, with its lines from `fn` to the closing brace.
    pub(super) functions: Vec<(String, usize)>,
    /// Each type and trait that it defines.
    pub(super) types: Vec<String>,
}

/// A crate, by the paths of its files below `src/`.
pub(super) struct House {
    pub(super) files: BTreeMap<String, File>,
}

impl House {
    /// Reads a directory `src/`.
    pub(super) fn read(source: &Path) -> Self {
        let mut texts = BTreeMap::new();
        collect(source, source, &mut texts);
        Self::new(&texts)
    }

    /// A crate from the text of its files.
    pub(super) fn new(texts: &BTreeMap<String, String>) -> Self {
        let parsed: BTreeMap<&str, syn::File> = texts
            .iter()
            .map(|(path, text)| {
                let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
                (path.as_str(), file)
            })
            .collect();
        let mut tree = Tree { modules: BTreeMap::new(), exports: BTreeMap::new() };
        for path in parsed.keys() {
            tree.modules.insert(module(path), (*path).to_owned());
        }
        for (path, file) in &parsed {
            let mut exports = Uses { tree: &tree, at: module(path), names: BTreeMap::new(), public: true };
            exports.visit_file(file);
            let names = exports.names;
            tree.exports.insert((*path).to_owned(), names);
        }
        let files =
            parsed.iter().map(|(path, file)| ((*path).to_owned(), tree.file(path, file, &texts[*path])));
        Self { files: files.collect() }
    }
}

fn collect(source: &Path, directory: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(source, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(source).unwrap().to_str().unwrap().to_owned();
            texts.insert(relative, fs::read_to_string(&path).unwrap());
        }
    }
}

/// The path of the module that a file holds: `a/mod.rs` and `a.rs` hold `a`.
fn module(path: &str) -> Segments {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The modules of a crate, and the names that each of them re-exports.
struct Tree {
    modules: BTreeMap<Segments, String>,
    /// `pub use`, by file and name.
    exports: BTreeMap<String, BTreeMap<String, Segments>>,
}

impl Tree {
    fn file(&self, path: &str, parsed: &syn::File, text: &str) -> File {
        let mut names = Uses { tree: self, at: module(path), names: BTreeMap::new(), public: false };
        names.visit_file(parsed);
        let reader = Reader {
            tree: self,
            path: path.to_owned(),
            at: module(path),
            names: names.names,
            file: File { lines: text.lines().count(), ..File::default() },
        };
        let mut reader = reader;
        reader.visit_file(parsed);
        reader.file
    }

    /// Converts a path that is written in a module to a path from the crate's root. Returns `None` if it leads into
    /// another crate.
    fn absolute(&self, at: &[String], written: &[String]) -> Option<Segments> {
        let (first, rest) = written.split_first()?;
        let is_program = at.first().is_some_and(|room| room == "bin");
        let mut base = match first.as_str() {
            "smbios_creds" if is_program => Vec::new(),
            "crate" if is_program => at.get(..2)?.to_vec(),
            "crate" => Vec::new(),
            "self" => at.to_vec(),
            "super" => at.split_last()?.1.to_vec(),
            name => {
                let child = [at, &[name.to_owned()]].concat();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        let mut rest = rest;
        while let Some((first, further)) = rest.split_first()
            && first == "super"
        {
            base.pop();
            rest = further;
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// Returns the file that defines what a path from the crate's root names. Follows `pub use`. Returns `None` if
    /// the path names a module.
    fn defining(&self, path: &[String]) -> Option<String> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let depth = (0..=path.len()).rev().find(|&depth| self.modules.contains_key(&path[..depth]))?;
            let file = &self.modules[&path[..depth]];
            let name = path.get(depth)?;
            match self.exports.get(file).and_then(|exports| exports.get(name)) {
                Some(target) => path = [target, &path[depth + 1..]].concat(),
                None => return Some(file.clone()),
            }
        }
        None
    }
}

/// Collects what a `use` brings in: each name, and its path as it is written. A glob has the name `*`.
fn flatten(tree: &UseTree, before: &[String], out: &mut Vec<(String, Segments)>) {
    let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), out),
        UseTree::Name(name) if name.ident == "self" => {
            out.push((before.last().cloned().unwrap_or_default(), before.to_vec()));
        }
        UseTree::Name(name) => out.push((name.ident.to_string(), with(&name.ident))),
        UseTree::Rename(rename) => out.push((rename.rename.to_string(), with(&rename.ident))),
        UseTree::Glob(_) => out.push(("*".to_owned(), [before, &["*".to_owned()]].concat())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, out)),
    }
}

/// Collects the names that `use` brings into a file.
struct Uses<'a> {
    tree: &'a Tree,
    at: Segments,
    names: BTreeMap<String, Segments>,
    /// Whether to collect only names of this crate that the file re-exports.
    public: bool,
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if self.public && matches!(item.vis, Visibility::Inherited) {
            return;
        }
        let mut all = Vec::new();
        flatten(&item.tree, &[], &mut all);
        for (name, written) in all {
            match self.tree.absolute(&self.at, &written) {
                Some(path) => _ = self.names.insert(name, [&[ROOT.to_owned()][..], &path].concat()),
                None if !self.public => _ = self.names.insert(name, written),
                None => {}
            }
        }
        if self.public {
            for path in self.names.values_mut().filter(|path| path.first().is_some_and(|first| first == ROOT))
            {
                path.remove(0);
            }
        }
    }
}

/// Reads the imports, functions and types of a file, with the names that [`Uses`] has collected.
struct Reader<'a> {
    tree: &'a Tree,
    path: String,
    at: Segments,
    names: BTreeMap<String, Segments>,
    file: File,
}

impl Reader<'_> {
    /// Notes a path as it is written in code.
    fn note(&mut self, written: &[String]) {
        let Some((first, rest)) = written.split_first() else { return };
        let written = match self.names.get(first) {
            Some(path) => [path, rest].concat(),
            None => written.to_vec(),
        };
        if written.first().is_some_and(|first| first == ROOT) {
            self.import(&written[1..]);
        } else if let Some(path) = self.tree.absolute(&self.at, &written) {
            self.import(&path);
        } else if written.len() > 1 {
            self.file.foreign.insert(written.join("::"));
        }
    }

    fn import(&mut self, path: &[String]) {
        if let Some(file) = self.tree.defining(path)
            && file != self.path
        {
            self.file.imports.insert(file);
        }
    }

    /// Notes every path in the arguments of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Segments = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Ident(ident) if colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.note(&std::mem::take(&mut path));
                    colons = 0;
                    match other {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.note(&path);
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.file.functions.push((signature.ident.to_string(), last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(item) {
            return;
        }
        let name = match item {
            Item::Enum(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        self.file.types.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut all = Vec::new();
        flatten(&item.tree, &[], &mut all);
        let is_door = self.path.ends_with("mod.rs") || self.path == "lib.rs";
        let is_passed_on = !matches!(item.vis, Visibility::Inherited);
        for (_, written) in all {
            match self.tree.absolute(&self.at, &written) {
                // A `mod.rs` re-exports names of its own directory. This is not an import.
                Some(path) if is_door && is_passed_on && path.starts_with(&module(&self.path)) => {}
                Some(path) => self.import(&path),
                None => _ = self.file.foreign.insert(written.join("::")),
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&written);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.to_token_stream());
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Fn(item) => &item.attrs[..],
            _ => &[],
        };
        if !attributes.iter().any(is_cfg_test) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn is_test(item: &Item) -> bool {
    let attributes = match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(is_cfg_test)
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.to_token_stream().to_string().replace(' ', "") == "#[cfg(test)]"
}
