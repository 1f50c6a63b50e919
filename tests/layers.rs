//! The layer rule over the text of `src`: a module uses what stands to its left or above, no more.
//!
//! Code is tokenised, so comments, strings and doc tests do not count; test code does. In a
//! `macro_rules!` body `super` and `self` mean the caller's place, so only `crate` counts there.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "helpers of a test: small counts, and files that are there"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rows from the lowest layer to the highest; within a row, left before right.
const LAYERS: [&[&str]; 10] = [
    &["secret", "topic", "wire"],
    &["suite", "schedule"],
    // `cose` is another dress of one message: bytes, suites and the nonce, no session
    &["cose", "session", "replay", "message"],
    &["policy", "keyring"],
    &["guard"],
    &["peer", "update"],
    &["store", "tls"],
    &["client", "rumqttc_v4", "rumqttc_v5"],
    &["proxy"],
    &["bin"],
];

/// Names that say nothing about what a module knows.
const VAGUE_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "types", "prelude"];

const MAX_LINES: usize = 800;

// --- the rules over src ---

#[test]
fn src_uses_only_lower_layers() {
    let mut faults = BTreeSet::new();
    for file in sources() {
        faults.extend(layer_faults(&file.path, &file.text));
    }
    assert_clean(&faults);
}

#[test]
fn src_has_no_vague_module_and_no_global_error() {
    let mut faults = BTreeSet::new();
    for file in sources() {
        faults.extend(name_faults(&file.path, &file.text));
    }
    assert_clean(&faults);
}

#[test]
fn src_has_no_file_above_the_line_limit() {
    let mut faults = BTreeSet::new();
    for file in sources() {
        faults.extend(length_fault(&file.path, &file.text));
    }
    assert_clean(&faults);
}

/// A source file; `path` is relative to `src`, with `/` between its parts.
struct Source {
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(source(&root, &path));
            }
        }
    }
    assert!(!found.is_empty(), "no source file under {}", root.display());
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("folder of src is readable");
    entries.map(|entry| entry.expect("entry of src is readable").path()).collect()
}

fn source(root: &Path, path: &Path) -> Source {
    let inside = path.strip_prefix(root).expect("found below the root");
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    let text = fs::read_to_string(path).expect("source is UTF-8");
    Source { path: parts.join("/"), text }
}

fn assert_clean(faults: &BTreeSet<String>) {
    let list: Vec<_> = faults.iter().map(String::as_str).collect();
    assert!(list.is_empty(), "{} faults\n  {}", list.len(), list.join("\n  "));
}

// --- one file against the rules ---

/// Row and column in [`LAYERS`].
fn rank(module: &str) -> Option<(usize, usize)> {
    let rows = LAYERS.iter().enumerate();
    rows.flat_map(|(row, names)| names.iter().enumerate().map(move |(col, name)| (row, col, *name)))
        .find_map(|(row, col, name)| (name == module).then_some((row, col)))
}

/// The module path of a file: `topic/filter.rs` → `[topic, filter]`, `topic/mod.rs` → `[topic]`.
fn module_path(path: &str) -> Vec<&str> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.split('/').collect()
}

/// Everything in `text` that reaches a module it must not know.
fn layer_faults(path: &str, text: &str) -> Vec<String> {
    let module = module_path(path);
    let Some(&top) = module.first() else {
        return Vec::new();
    };
    if path == "lib.rs" || top == "bin" {
        return Vec::new(); // the façade, and programs on top of the library
    }
    let Some(own) = rank(top) else {
        return vec![format!("{path}: module `{top}` has no rank: add it to LAYERS")];
    };
    let uses = root_uses(text, module.len());
    uses.into_iter()
        .filter_map(|used| {
            let why = match rank(&used.name) {
                _ if used.name == top => return None,
                Some(other) if other < own => return None,
                Some(_) => format!("`{top}` must not use `{}`: not below it", used.name),
                None => format!("`{}` is no ranked module: import from its own module", used.name),
            };
            Some(format!("{path}:{}: {why}", used.line))
        })
        .collect()
}

fn name_faults(path: &str, text: &str) -> Vec<String> {
    let tokens = tokenize(text);
    let inline = tokens.windows(2).filter_map(|pair| match pair {
        [Token { text: word, .. }, Token { text: name, .. }] if word == "mod" => {
            Some(name.as_str())
        }
        _ => None,
    });
    let mut faults: Vec<_> = module_path(path)
        .into_iter()
        .chain(inline)
        .filter(|name| VAGUE_NAMES.contains(name))
        .map(|name| format!("{path}: module `{name}`: name it after what it knows"))
        .collect();
    if module_path(path).first() == Some(&"error") {
        faults.push(format!("{path}: an error enum lives in the module that returns it"));
    }
    faults
}

fn length_fault(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MAX_LINES).then(|| format!("{path}: {lines} lines, more than {MAX_LINES}: split it"))
}

// --- paths that reach the crate's root ---

/// A name taken from the crate's root; `*` for a glob, `self` for the root itself.
#[derive(Debug, PartialEq)]
struct RootUse {
    name: String,
    line: usize,
}

/// Every name that `text`, a file `depth` modules below the root, takes from the root.
fn root_uses(text: &str, depth: usize) -> Vec<RootUse> {
    let tokens = tokenize(text);
    let mut scopes = Scopes { braces: 0, open: Vec::new() };
    let mut uses = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let (before, rest) = tokens.split_at(at);
        scopes.step(before, token);
        let starts_path = before.last().is_none_or(|token| token.text != "::");
        let of_the_caller = scopes.in_macro() && matches!(token.text.as_str(), "super" | "self");
        if starts_path && !of_the_caller {
            walk(rest, Place::Start { depth: depth + scopes.modules() }, &mut uses);
        }
    }
    uses
}

/// What the current token stands in, each with the brace depth it opened at.
struct Scopes {
    braces: usize,
    open: Vec<(Scope, usize)>,
}

#[derive(PartialEq)]
enum Scope {
    Module,
    Macro,
}

impl Scopes {
    fn step(&mut self, before: &[Token], token: &Token) {
        match token.text.as_str() {
            "{" => {
                let scope = match before {
                    [.., word, _, _] if word.text == "macro_rules" => Some(Scope::Macro),
                    [.., word, _] if word.text == "mod" => Some(Scope::Module),
                    _ => None,
                };
                self.open.extend(scope.map(|scope| (scope, self.braces)));
                self.braces += 1;
            }
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                self.open.pop_if(|(_, braces)| *braces == self.braces);
            }
            _ => {}
        }
    }

    fn modules(&self) -> usize {
        self.open.iter().filter(|(scope, _)| *scope == Scope::Module).count()
    }

    fn in_macro(&self) -> bool {
        self.open.iter().any(|(scope, _)| *scope == Scope::Macro)
    }
}

/// Where the next segment of a path is looked up.
#[derive(Clone, Copy)]
enum Place {
    /// Before the first segment, in a module that stands this many modules below the root.
    Start { depth: usize },
    /// After a `::`, in the module that stands this many modules below the root.
    Below(usize),
}

/// Follows the path at the head of `tokens` as far as the root, through nested groups.
fn walk(tokens: &[Token], place: Place, uses: &mut Vec<RootUse>) {
    let [first, rest @ ..] = tokens else { return };
    let follow = |place| match rest {
        [sep, tail @ ..] if sep.text == "::" => Some((tail, place)),
        _ => None,
    };
    let (word, mut found) = (first.text.as_str(), None);
    let next = match (word, place) {
        ("crate" | "mqtt_seal", Place::Start { .. }) => follow(Place::Below(0)),
        ("super", Place::Start { depth } | Place::Below(depth)) => {
            follow(Place::Below(depth.saturating_sub(1)))
        }
        ("self", Place::Start { depth }) => follow(Place::Below(depth)),
        ("{", Place::Below(_)) => {
            for item in group_items(rest) {
                walk(item, place, uses);
            }
            None
        }
        (_, Place::Below(0)) => {
            found = Some(word);
            None
        }
        _ => None,
    };
    if let Some((tail, place)) = next {
        walk(tail, place, uses);
    } else if let Some(alias) = root_alias(word, place, rest) {
        found = Some(alias);
    }
    if let Some(name) = found {
        uses.push(RootUse { name: name.to_owned(), line: first.line });
    }
}

/// `crate as x` and `super as x` name the root whole, and hide what is taken from it.
fn root_alias(word: &str, place: Place, rest: &[Token]) -> Option<&'static str> {
    let is_root = match (word, place) {
        ("crate", Place::Start { .. }) => true,
        ("super", Place::Start { depth } | Place::Below(depth)) => depth <= 1,
        _ => false,
    };
    let aliased = rest.first().is_some_and(|token| token.text == "as");
    (is_root && aliased).then_some("self")
}

/// The items of a `{…}` group whose opening brace has been read.
fn group_items(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut items, mut braces, mut rest) = (vec![tokens], 0_usize, tokens);
    while let [token, tail @ ..] = rest {
        match (token.text.as_str(), braces) {
            ("}", 0) => break,
            (",", 0) => items.push(tail),
            ("{", _) => braces += 1,
            ("}", _) => braces -= 1,
            _ => {}
        }
        rest = tail;
    }
    // A trailing comma leaves the closing brace as an item.
    items.retain(|item| item.first().is_some_and(|token| token.text != "}"));
    items
}

// --- Rust text to tokens ---

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Identifiers, `::`, single characters. Comments, strings, characters and lifetimes are left out.
fn tokenize(text: &str) -> Vec<Token> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, keep) = lexeme(rest, first);
        let (head, tail) = rest.split_at(length);
        if keep {
            let name = head.strip_prefix("r#").unwrap_or(head);
            tokens.push(Token { text: name.to_owned(), line });
        }
        line += head.matches('\n').count();
        rest = tail;
    }
    tokens
}

/// Length in bytes of what `rest` begins with, and whether it is a token.
fn lexeme(rest: &str, first: char) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if let Some(length) = string(rest).or_else(|| quote(rest)) {
        return (length, false);
    }
    let word = rest.strip_prefix("r#").unwrap_or(rest);
    let letters = word.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(word.len());
    if letters > 0 {
        return (rest.len() - word.len() + letters, true);
    }
    if rest.starts_with("::") {
        return (2, true);
    }
    (first.len_utf8(), !first.is_whitespace())
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut rest) = (0_usize, text);
    while let Some(first) = rest.chars().next() {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            first.len_utf8()
        };
        rest = rest.split_at(step).1;
        if depth == 0 {
            break;
        }
    }
    text.len() - rest.len()
}

/// Length of the string literal, raw, byte or C string that `text` begins with.
fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    if let Some(raw) = body.strip_prefix('r') {
        let inside = raw.trim_start_matches('#');
        let hashes = raw.len() - inside.len();
        let inside = inside.strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return Some(text.len() - inside.len() + length);
    }
    let inside = body.strip_prefix('"')?;
    Some(text.len() - inside.len() + closing(inside, '"'))
}

/// Length of the character, byte or lifetime that `text` begins with.
fn quote(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("b'").or_else(|| text.strip_prefix('\''))?;
    let start = text.len() - inside.len();
    let mut chars = inside.chars();
    let (first, second) = (chars.next()?, chars.next());
    if first == '\\' || second == Some('\'') {
        return Some(start + closing(inside, '\''));
    }
    let name = inside.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    Some(start + name.unwrap_or(inside.len()))
}

/// Bytes up to and with the `end` that no backslash precedes.
fn closing(inside: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == end && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    inside.len()
}

// --- the rules can fail: small samples ---

fn names(text: &str, depth: usize) -> Vec<String> {
    root_uses(text, depth).into_iter().map(|used| used.name).collect()
}

#[test]
fn higher_layer_is_a_fault_with_its_line() {
    let faults = layer_faults("topic/name.rs", "use core::fmt;\nuse crate::guard::Guard;\n");
    assert_eq!(faults, ["topic/name.rs:2: `topic` must not use `guard`: not below it"]);
}

#[test]
fn right_sibling_is_a_fault_for_every_pair_of_a_row() {
    for row in LAYERS.iter().filter(|row| !row.contains(&"bin")) {
        for (at, left) in row.iter().enumerate() {
            for right in row.iter().skip(at + 1) {
                let text = |name| format!("use crate::{name}::X;");
                assert_eq!(layer_faults(&format!("{left}/mod.rs"), &text(right)).len(), 1);
                assert!(layer_faults(&format!("{right}.rs"), &text(left)).is_empty());
            }
        }
    }
}

#[test]
fn lower_layer_and_own_module_are_clean() {
    let text = "use crate::secret::Key; use crate::suite::{Aead, self}; use super::Session;";
    assert!(layer_faults("session/sid.rs", text).is_empty());
    assert!(layer_faults("session/sid.rs", "crate::session::Sid::new()").is_empty());
}

#[test]
fn root_reexport_is_a_fault() {
    let faults = layer_faults("client/link.rs", "use crate::Guard;");
    assert_eq!(
        faults,
        ["client/link.rs:1: `Guard` is no ranked module: import from its own module"]
    );
}

#[test]
fn unranked_module_is_a_fault() {
    let faults = layer_faults("gadget/mod.rs", "");
    assert_eq!(faults, ["gadget/mod.rs: module `gadget` has no rank: add it to LAYERS"]);
}

#[test]
fn crate_root_and_programs_are_exempt() {
    assert!(layer_faults("lib.rs", "pub use crate::guard::Guard;").is_empty());
    assert!(layer_faults("bin/mqtt-seal/main.rs", "use mqtt_seal::Guard;").is_empty());
}

#[test]
fn groups_are_followed_over_lines_and_levels() {
    let text =
        "use crate::{\n    secret::{Key, guard},\n    guard::{self, {Tx, Rx}},\n    tls,\n};";
    let found: Vec<_> = root_uses(text, 1).into_iter().map(|u| (u.name, u.line)).collect();
    let expected = [("secret", 2), ("guard", 3), ("tls", 4)];
    assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)));
    assert_eq!(names("use crate::{{wire::A, {tls::B}}, peer::C};", 1), ["wire", "tls", "peer"]);
}

#[test]
fn path_in_an_expression_is_seen() {
    let text = "fn f() -> crate::guard::Guard { g::<crate::tls::T>(&crate::store::open()) }";
    assert_eq!(names(text, 1), ["guard", "tls", "store"]);
    assert_eq!(names("macro_rules! m { () => { $crate::guard::f() } }", 1), ["guard"]);
}

#[test]
fn super_is_a_fault_only_where_it_leaves_the_top_module() {
    assert!(names("use super::guard;", 2).is_empty());
    assert_eq!(names("use super::guard;", 1), ["guard"]);
    assert_eq!(names("use super::super::guard;", 2), ["guard"]);
    assert_eq!(names("use self::super::guard;", 1), ["guard"]);
    assert_eq!(names("use super::{name, super::{guard, tls}};", 2), ["guard", "tls"]);
}

#[test]
fn inline_module_adds_a_level_until_its_brace_closes() {
    assert!(names("mod tests { use super::*; fn f() { super::g() } }", 1).is_empty());
    assert_eq!(names("mod tests { use super::super::guard; }", 1), ["guard"]);
    assert_eq!(names("mod tests { fn f() {} } use super::guard;", 1), ["guard"]);
}

#[test]
fn super_in_a_macro_body_is_the_callers() {
    let body = |code| format!("macro_rules! m {{ ($t:ty) => {{ {code} }}; }}");
    assert!(names(&body("super::TAG_LEN"), 1).is_empty());
    assert_eq!(names(&body("crate::guard::f()"), 1), ["guard"]);
    assert_eq!(names(&format!("{} use super::tls;", body("super::A")), 1), ["tls"]);
}

#[test]
fn glob_and_alias_of_the_root_are_faults() {
    assert_eq!(names("use crate::*;", 1), ["*"]);
    assert_eq!(names("use super::*;", 1), ["*"]);
    assert_eq!(names("use crate as root;", 1), ["self"]);
    assert_eq!(names("use crate::{self as root};", 1), ["self"]);
    assert_eq!(names("use super::super as root;", 2), ["self"]);
}

#[test]
fn visibility_is_no_use() {
    let text = "pub(crate) fn f() {} pub(super) struct S; pub(in crate::topic) struct T;";
    assert_eq!(names(text, 1), ["topic"]);
    assert!(layer_faults("topic/mod.rs", text).is_empty());
}

#[test]
fn comments_strings_and_chars_are_no_code() {
    let silent = [
        "// crate::guard::X",
        "/// [`crate::guard::X`]\nfn f() {}",
        "/* crate::guard /* crate::tls */ crate::peer */",
        r#"const A: &str = "a \" crate::guard::X";"#,
        r##"const A: &str = r#"" crate::guard::X"#;"##,
        r#"const A: &[u8] = b"\\ crate::guard";"#,
    ];
    for text in silent {
        assert!(names(text, 1).is_empty(), "{text}");
    }
    let loud = [
        "const A: &str = \"\\\\\"; use crate::guard;",
        "const A: char = '\"'; use crate::guard;",
        "const A: char = '\\''; use crate::guard;",
        "const A: u8 = b'\"'; use crate::guard;",
        "fn f<'a>(x: &'a str) -> &'a crate::guard::X {}",
        "/* a */ use crate::guard;",
        "let r#type = r\"\\\"; use crate::guard;",
    ];
    for text in loud {
        assert_eq!(names(text, 1), ["guard"], "{text}");
    }
}

#[test]
fn vague_name_is_a_fault_as_folder_file_or_inline_module() {
    for name in VAGUE_NAMES {
        for path in [format!("{name}.rs"), format!("{name}/mod.rs"), format!("wire/{name}.rs")] {
            assert_eq!(name_faults(&path, "").len(), 1, "{path}");
        }
        assert_eq!(name_faults("wire/mod.rs", &format!("mod {name} {{}}")).len(), 1);
    }
    assert!(name_faults("wire/header.rs", "mod tests { fn common() {} }").is_empty());
}

#[test]
fn error_module_is_a_fault_at_the_root_only() {
    assert_eq!(name_faults("error.rs", "").len(), 1);
    assert_eq!(name_faults("error/mod.rs", "").len(), 1);
    assert!(name_faults("message/error.rs", "").is_empty());
}

#[test]
fn file_above_the_limit_is_a_fault() {
    assert!(length_fault("wire/mod.rs", &"x\n".repeat(MAX_LINES)).is_none());
    assert!(length_fault("wire/mod.rs", &"x\n".repeat(MAX_LINES + 1)).is_some());
}
