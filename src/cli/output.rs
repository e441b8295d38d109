//! Writing files whole or not at all.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Where bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file; its folder is created if need be.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("standard output"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

impl Output {
    /// Fails where [`Output::write`] would be bound to refuse, before any work is done.
    pub fn check(&self, force: bool) -> Result<()> {
        match self {
            Output::Stdout => {
                ensure!(!io::stdout().is_terminal(), "standard output is a terminal; redirect it to a file");
            }
            Output::File(path) if path.is_dir() => bail!("{} is a folder", path.display()),
            Output::File(path) if path.is_file() && !force => {
                bail!("{} exists; --force replaces it", path.display());
            }
            Output::File(_) => {}
        }
        Ok(())
    }

    /// Writes all bytes. A regular file appears complete or not at all; without
    /// `force` an existing one stays.
    pub fn write(&self, bytes: &[u8], force: bool) -> Result<()> {
        match self {
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(bytes)
                    .and_then(|()| stdout.flush())
                    .context("cannot write to standard output")
            }
            Output::File(path) => {
                self.check(force)?;
                write_file(path, bytes, force).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}

fn write_file(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    // A device or a pipe is written to; renaming a file over it would destroy it.
    if path.exists() && !path.is_file() {
        return Ok(File::options().write(true).open(path)?.write_all(bytes)?);
    }
    // Through a link, replace what it points at.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".aecodec-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if force {
        file.persist(&path)?;
    } else {
        file.persist_noclobber(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::File(folder.path().join("new/a.bin"));
        output.write(b"one", false).unwrap();
        let error = output.write(b"two", false).unwrap_err().to_string();
        assert!(error.contains("a.bin exists"), "{error}");
        output.write(b"three", true).unwrap();
        assert_eq!(fs::read(folder.path().join("new/a.bin")).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn files_are_readable_by_others_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        let usual = fs::metadata(&file).unwrap().permissions().mode();
        symlink(&file, &link).unwrap();
        Output::File(link.clone()).write(b"new", true).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode(), usual);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn devices_are_written_to_and_stay_devices() {
        Output::File("/dev/null".into()).write(b"gone", false).unwrap();
        assert!(!Path::new("/dev/null").is_file());
        let error = Output::File("/dev/full".into()).write(b"too much", false).unwrap_err();
        assert!(format!("{error:#}").contains("/dev/full"), "{error:#}");
    }
}
