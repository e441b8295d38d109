//! From the paths a user gives to jobs: one input, one output.
//!
//! Inputs are files, folders, glob patterns or `-`; the output is a file, a
//! folder or `-`. What stands in a folder keeps its path below that folder.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::output::Output;

/// The path that means standard input or standard output.
const STREAM: &str = "-";

/// The paths of a command that turns files into other files.
#[derive(Debug)]
pub struct InputsOutput {
    /// Files, folders, patterns or `-`; at least one.
    pub inputs: Vec<PathBuf>,
    /// A file, a folder or `-`.
    pub output: PathBuf,
    /// Replace outputs that exist.
    pub force: bool,
}

/// What is typed for [`InputsOutput`]. All paths are one list: clap cannot tell
/// the output from the inputs where options stand between them.
#[derive(Debug, Args)]
struct Typed {
    /// Files, folders, glob patterns or - for standard input; at the end the
    /// output: a file, a folder where there are several inputs, or -
    #[arg(required = true, value_name = "IN... OUT")]
    paths: Vec<PathBuf>,
    /// Replace outputs that exist
    #[arg(long)]
    force: bool,
}

impl FromArgMatches for InputsOutput {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Typed { mut paths, force } = Typed::from_arg_matches(matches)?;
        match paths.pop() {
            Some(output) if !paths.is_empty() => Ok(InputsOutput { inputs: paths, output, force }),
            _ => Err(clap::Error::raw(ErrorKind::TooFewValues, "an input and an output are needed\n")),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for InputsOutput {
    fn augment_args(command: Command) -> Command {
        Typed::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Typed::augment_args_for_update(command)
    }
}

/// Which files of a folder a command works on, and what it makes of them.
#[derive(Debug, Clone, Copy)]
pub struct Conversion {
    /// Picks the inputs among the files of a folder.
    pub wanted: fn(&Path) -> bool,
    /// What those files are called in messages.
    pub what: &'static str,
    /// Extension of outputs that are named after their input.
    pub extension: &'static str,
}

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, which may turn out to be missing.
    File(PathBuf),
}

/// One file to turn into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The file to read.
    pub input: Input,
    /// The file to write.
    pub output: Output,
}

impl Input {
    /// The input that a path given by the user stands for.
    pub fn from_path(path: PathBuf) -> Input {
        if path.as_os_str() == STREAM { Input::Stdin } else { Input::File(path) }
    }

    /// All bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Input::Stdin => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Input::File(path) => fs::read(path),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Stdin => f.write_str("standard input"),
            Input::File(path) => path.display().fmt(f),
        }
    }
}

/// The jobs that inputs and an output add up to.
pub fn plan(inputs: &[PathBuf], output: &Path, conversion: Conversion) -> Result<Vec<Job>> {
    if let [only] = inputs
        && !only.is_dir()
        && !is_pattern(only)
    {
        return Ok(vec![single(Input::from_path(only.clone()), output, conversion)?]);
    }
    if inputs.iter().any(|input| input.as_os_str() == STREAM) {
        bail!("standard input (-) can only be the one input");
    }
    if output.as_os_str() == STREAM {
        bail!("standard output (-) holds one file only; name a folder for several inputs");
    }
    if output.exists() && !output.is_dir() {
        bail!("{} is a file; several inputs need a folder", output.display());
    }
    let mut jobs = Vec::new();
    for input in inputs {
        for (file, name) in expand(input, conversion)? {
            let file_name = output.join(name).with_extension(conversion.extension);
            jobs.push(Job { input: Input::File(file), output: Output::File(file_name) });
        }
    }
    refuse_collisions(&jobs)?;
    Ok(jobs)
}

fn single(input: Input, output: &Path, conversion: Conversion) -> Result<Job> {
    let into_folder = output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/");
    let output = if output.as_os_str() == STREAM {
        Output::Stdout
    } else if into_folder {
        let Input::File(path) = &input else {
            bail!("standard input has no name to use in {}; name a file", output.display());
        };
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        Output::File(output.join(name).with_extension(conversion.extension))
    } else {
        Output::File(output.to_path_buf())
    };
    let job = Job { input, output };
    refuse_collisions(std::slice::from_ref(&job))?;
    Ok(job)
}

/// The files an input stands for, each with its path below the output folder.
fn expand(input: &Path, conversion: Conversion) -> Result<Vec<(PathBuf, PathBuf)>> {
    if is_pattern(input) {
        let pattern = input.to_str().context("a pattern has to be UTF-8")?;
        let matches = glob::glob(pattern).with_context(|| format!("'{pattern}' is not a pattern"))?;
        let mut files = Vec::new();
        for path in matches {
            let path = path?;
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().map(PathBuf::from).context("a match without a name")?;
            files.push((path, name));
        }
        ensure!(!files.is_empty(), "no file matches '{pattern}'");
        return Ok(files);
    }
    if input.is_dir() {
        let mut files = BTreeSet::new();
        walk(input, &mut files)?;
        files.retain(|path| (conversion.wanted)(path));
        ensure!(!files.is_empty(), "{} holds no {}", input.display(), conversion.what);
        let below = |path: PathBuf| {
            let name = path.strip_prefix(input).expect("found below the folder").to_path_buf();
            (path, name)
        };
        return Ok(files.into_iter().map(below).collect());
    }
    let name = input.file_name().with_context(|| format!("{} names no file", input.display()))?;
    Ok(vec![(input.to_path_buf(), PathBuf::from(name))])
}

/// All files below a folder. Links to folders are not followed: they may lead back.
fn walk(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() {
            files.insert(path);
        }
    }
    Ok(())
}

/// Whether a path is a glob pattern: a file of exactly that name comes first.
fn is_pattern(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().any(|byte| b"*?[".contains(byte)) && !path.exists()
}

/// Two jobs must not write one file, and none may write over an input.
fn refuse_collisions(jobs: &[Job]) -> Result<()> {
    let mut writers: HashMap<&Path, &Input> = HashMap::new();
    let inputs: HashMap<PathBuf, &Input> = jobs
        .iter()
        .filter_map(|job| match &job.input {
            Input::File(path) => Some((path.canonicalize().ok()?, &job.input)),
            Input::Stdin => None,
        })
        .collect();
    for job in jobs {
        let Output::File(path) = &job.output else { continue };
        if let Some(other) = writers.insert(path, &job.input) {
            bail!("{other} and {} would both become {}", job.input, path.display());
        }
        if let Some(input) = path.canonicalize().ok().and_then(|path| inputs.get(&path)) {
            bail!("{} would be written over the input {input}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG_TO_AEC: Conversion = Conversion {
        wanted: |path| path.extension().is_some_and(|extension| extension == "png" || extension == "jpg"),
        what: "pictures",
        extension: "aec",
    };

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    /// The outputs of a plan, below `root`.
    fn outputs(root: &Path, inputs: &[&str], output: &str) -> Result<Vec<String>> {
        let inputs: Vec<PathBuf> = inputs.iter().map(|input| root.join(input)).collect();
        let jobs = plan(&inputs, &root.join(output), PNG_TO_AEC)?;
        Ok(jobs
            .iter()
            .map(|job| job.output.to_string().replace(&format!("{}/", root.display()), ""))
            .collect())
    }

    #[test]
    fn folders_keep_the_paths_below_them() {
        let root = folder(&["in/b.png", "in/deep/er/a.png", "in/notes.txt", "c.png"]);
        let planned = outputs(root.path(), &["in", "c.png"], "out").unwrap();
        assert_eq!(planned, ["out/b.aec", "out/deep/er/a.aec", "out/c.aec"]);
    }

    #[test]
    fn patterns_match_files() {
        let root = folder(&["a1.png", "a2.png", "b.png", "a3/x.png"]);
        assert_eq!(outputs(root.path(), &["a*"], "out").unwrap(), ["out/a1.aec", "out/a2.aec"]);
        let error = outputs(root.path(), &["c*.png"], "out").unwrap_err().to_string();
        assert!(error.contains("no file matches") && error.contains("c*.png"), "{error}");
    }

    #[test]
    fn a_file_named_like_a_pattern_is_a_file() {
        let root = folder(&["a[1].png"]);
        assert_eq!(outputs(root.path(), &["a[1].png"], "b.aec").unwrap(), ["b.aec"]);
    }

    #[test]
    fn one_file_goes_where_the_output_says() {
        let root = folder(&["a.png", "out/keep"]);
        assert_eq!(outputs(root.path(), &["a.png"], "x.y").unwrap(), ["x.y"]);
        assert_eq!(outputs(root.path(), &["a.png"], "out").unwrap(), ["out/a.aec"]);
        assert_eq!(outputs(root.path(), &["a.png"], "new/").unwrap(), ["new/a.aec"]);
        let job = &plan(&["-".into()], Path::new("-"), PNG_TO_AEC).unwrap()[0];
        assert_eq!((&job.input, &job.output), (&Input::Stdin, &Output::Stdout));
    }

    #[test]
    fn collisions_name_both_inputs() {
        let root = folder(&["in/a.png", "in/a.jpg"]);
        let error = outputs(root.path(), &["in"], "out").unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains("a.jpg") && error.contains("a.aec"), "{error}");
    }

    #[test]
    fn inputs_are_never_written_over() {
        let root = folder(&["a.png"]);
        let error = outputs(root.path(), &["a.png"], "a.png").unwrap_err().to_string();
        assert!(error.contains("written over the input"), "{error}");
    }

    #[test]
    fn several_inputs_need_a_folder() {
        let root = folder(&["a.png", "b.png", "c.aec"]);
        for output in ["c.aec", "-"] {
            let inputs = ["a.png", "b.png"].map(|name| root.path().join(name));
            let output = if output == "-" { PathBuf::from("-") } else { root.path().join(output) };
            assert!(plan(&inputs, &output, PNG_TO_AEC).is_err());
        }
        assert!(plan(&["-".into(), "a.png".into()], Path::new("out"), PNG_TO_AEC).is_err());
        assert!(plan(&["-".into()], root.path(), PNG_TO_AEC).is_err());
    }

    #[test]
    fn a_folder_without_pictures_is_an_error() {
        let root = folder(&["in/notes.txt"]);
        let error = outputs(root.path(), &["in"], "out").unwrap_err().to_string();
        assert!(error.contains("holds no pictures"), "{error}");
    }
}
