//! `aecodec assets`: what a package installs beside the program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

use super::note;

/// The MIME type, for shared-mime-info.
const MIME: &str = include_str!("../../assets/aecodec.xml");
/// The magic number, for file(1).
const MAGIC: &str = include_str!("../../assets/magic");

/// Write man pages, shell completions and the MIME type, for packagers
#[derive(Debug, Args)]
pub struct AssetsArgs {
    /// The folder to write below, as /usr/share: man/man1, bash-completion and
    /// so on; created if need be
    folder: PathBuf,
}

impl AssetsArgs {
    /// Writes everything there is to say about the programs.
    pub fn run(&self, programs: [Command; 2]) -> Result<()> {
        let write = |path: &str, bytes: &[u8]| write(&self.folder.join(path), bytes);
        let manual = self.folder.join("man/man1");
        for mut program in programs {
            fs::create_dir_all(&manual)
                .and_then(|()| clap_mangen::generate_to(program.clone(), &manual))
                .with_context(|| format!("cannot write {}", manual.display()))?;
            let name = program.get_name().to_owned();
            for (shell, path) in [
                (Shell::Bash, format!("bash-completion/completions/{name}")),
                (Shell::Zsh, format!("zsh/site-functions/_{name}")),
                (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
                (Shell::PowerShell, format!("powershell/{name}.ps1")),
            ] {
                let mut bytes = Vec::new();
                clap_complete::generate(shell, &mut program, name.as_str(), &mut bytes);
                write(&path, &bytes)?;
            }
        }
        write("mime/packages/aecodec.xml", MIME.as_bytes())?;
        write("misc/aecodec.magic", MAGIC.as_bytes())?;
        note(&format!("written below {}", self.folder.display()));
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().expect("below a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}
