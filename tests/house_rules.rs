//! Checks on the source text: what the compiler cannot say about the layout.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have at most.
const LONGEST_FILE: usize = 500;

/// Which modules of the crate each module may name. What is missing here may
/// name everything but `cli`.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("error", &[]),
    ("limits", &["error"]),
    ("tile", &["error", "model"]),
    // The scale tables are part of a model, the fixed point of scales is not
    // the coder's to choose: these two know each other.
    ("model", &["entropy", "error"]),
    ("entropy", &["error", "model"]),
    ("container", &["error", "model"]),
    ("nn", &["error", "model"]),
    ("codec", &["container", "entropy", "error", "limits", "model", "nn", "tile"]),
    ("restore", &["error", "limits", "model", "nn"]),
    // What the image crate sees of the codec.
    ("hooks", &["codec", "container", "error"]),
    // Measures the codec through its public interface only.
    ("eval", &["error", "model", "restore"]),
];

/// Words that may stand in some places only.
const CONFINED: [(&str, &[&str]); 8] = [
    ("candle_core", &["train"]),
    ("candle_nn", &["train"]),
    ("constriction", &["entropy"]),
    ("clap", &["cli", "train"]),
    ("glob::", &["cli"]),
    ("indicatif", &["cli", "train"]),
    ("process::Command", &["eval"]),
    ("println!", &["cli"]),
];

struct Source {
    /// Below `src`, with forward slashes.
    name: String,
    text: String,
}

impl Source {
    /// The folder or file of `src` it belongs to, without `.rs`.
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Lines of code with their numbers; whole-line comments are left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "the sources are where they are looked for");
    files
        .into_iter()
        .map(|path| Source {
            name: path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect()
}

fn is_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Whether `word` stands in `line` on its own, not as the end of a longer name.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !is_word(&line[..at]))
}

/// The first names of all `crate::` paths of a text, those in braces too.
fn crate_imports(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, prefix) in text.match_indices("crate::") {
        if is_word(&text[..at]) || text[..at].ends_with('$') {
            continue;
        }
        let start = at + prefix.len();
        let mut depth = 0;
        let mut begins = true; // the next word is a first name
        for (offset, c) in text[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => begins = true,
                _ if begins && is_word(&text[..=start + offset]) => {
                    let rest = &text[start + offset..];
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                    found.push(&rest[..end]);
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 && !begins {
                break;
            }
        }
    }
    found
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn files_stay_short() {
    let broken = sources()
        .into_iter()
        .map(|source| (source.name, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(name, lines)| format!("src/{name}: {lines} lines, at most {LONGEST_FILE}"));
    report(broken.collect());
}

#[test]
fn every_file_says_what_it_is() {
    let broken = sources()
        .into_iter()
        .filter(|source| !source.name.ends_with("tests.rs") && !source.text.starts_with("//!"))
        .map(|source| format!("src/{} has no module documentation", source.name));
    report(broken.collect());
}

#[test]
fn unsafe_code_stays_in_the_kernels() {
    let mut broken = Vec::new();
    for source in sources() {
        let kernel = source.name.starts_with("nn/kernel");
        let declared = source.module() == "train" && source.text.contains("allow(unsafe_code");
        if kernel || declared {
            continue;
        }
        for (number, line) in source.code() {
            if mentions(line, "unsafe ") || mentions(line, "allow(unsafe_code") {
                broken.push(format!("src/{}:{number}: {line}", source.name));
            }
        }
    }
    report(broken);
}

#[test]
fn modules_import_only_what_is_below_them() {
    let sources = sources();
    let modules: Vec<String> = sources.iter().map(|source| source.module().to_owned()).collect();
    let mut broken = Vec::new();
    for source in &sources {
        let allowed = MAY_IMPORT.iter().find(|(module, _)| *module == source.module());
        let code: String = source.code().flat_map(|(_, line)| [line, "\n"]).collect();
        for import in crate_imports(&code) {
            let own = import == source.module();
            let listed = allowed.is_none_or(|(_, list)| list.contains(&import)) && import != "cli";
            if modules.iter().any(|module| module == import) && !own && !listed {
                broken.push(format!("src/{} imports {import}", source.name));
            }
        }
    }
    report(broken);
}

#[test]
fn dependencies_and_output_stay_in_their_folders() {
    let mut broken = Vec::new();
    for source in sources() {
        for (word, places) in CONFINED {
            if places.iter().any(|place| source.name.starts_with(place)) {
                continue;
            }
            for (number, line) in source.code().filter(|(_, line)| mentions(line, word)) {
                broken.push(format!("src/{}:{number} uses {word}: {line}", source.name));
            }
        }
    }
    report(broken);
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert!(mentions("    println!(\"x\")", "println!") && !mentions("eprintln!(\"x\")", "println!"));
    assert_eq!(crate_imports("use crate::nn::{a, b}; use mycrate::model; $crate::cli; fn x()"), ["nn"]);
    assert_eq!(
        crate_imports("use crate::{\n    Error,\n    entropy::{cdf, escape::*},\n    nn,\n};"),
        ["Error", "entropy", "nn"]
    );
}
