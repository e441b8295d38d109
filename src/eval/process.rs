//! Running a program to its end, and what that took.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use wait4::Wait4;

/// What a process used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds from its start to its end, by the wall clock.
    pub wall: f64,
    /// Seconds of processor time of all its threads, in user and kernel mode.
    pub cpu: f64,
    /// The most memory it held, in MiB.
    pub peak_mib: f64,
}

/// Runs a program without input; its output is dropped. An error holds what it
/// complained of.
///
/// On Linux the peak memory is at least what the caller held when it started the
/// program, see [`run_metered`].
pub fn run(program: &OsStr, arguments: &[OsString]) -> Result<Usage> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let mut complaint = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_end(&mut complaint)?;
    }
    let used = child.wait4().with_context(|| format!("cannot wait for {}", program.display()))?;
    let wall = start.elapsed().as_secs_f64();
    if !used.status.success() {
        bail!("{} failed: {}", program.display(), String::from_utf8_lossy(&complaint).trim());
    }
    Ok(Usage {
        wall,
        cpu: (used.rusage.utime + used.rusage.stime).as_secs_f64(),
        peak_mib: used.rusage.maxrss as f64 / f64::from(1 << 20),
    })
}

/// The same from within a small process of its own, `meter`, which is called
/// with the program and its arguments and prints the [`Usage`] as JSON: a new
/// process begins with the peak memory of the one that starts it.
pub fn run_metered(meter: &[OsString], program: &OsStr, arguments: &[OsString]) -> Result<Usage> {
    let (first, rest) = meter.split_first().context("no program to meter with")?;
    let output = Command::new(first)
        .args(rest)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", first.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("the meter printed something else")
}

/// Everything a program prints, whatever its exit code: versions are told in
/// many ways.
pub fn output(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first file of one of these names in the folders of `PATH`.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let candidates = |folder: PathBuf| {
        names.iter().map(move |name| folder.join(format!("{name}{}", env::consts::EXE_SUFFIX)))
    };
    env::split_paths(&path)
        .flat_map(candidates)
        .find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file()))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn failures_carry_the_complaint() {
        let arguments = ["-c", "echo too bad >&2; exit 3"].map(OsString::from);
        let error = run(OsStr::new("/bin/sh"), &arguments).unwrap_err().to_string();
        assert!(error.contains("too bad"), "{error}");
        assert!(run(OsStr::new("/no/such/program"), &[]).is_err());
    }

    #[test]
    fn usage_is_that_of_the_program() {
        let arguments = ["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"].map(OsString::from);
        let usage = run(OsStr::new("/bin/sh"), &arguments).unwrap();
        assert!(usage.cpu > 0.0 && usage.wall > 0.0 && usage.peak_mib > 0.1, "{usage:?}");
    }
}
