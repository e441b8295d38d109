//! The codecs we are compared with: one file each, which says how the codec is
//! run at its best settings for PSNR, at 4:4:4 where it has it.
//!
//! To add one, write its file and name it in [`PEERS`].

mod avif;
mod heic;
mod jpeg_xl;
mod libjpeg_turbo;
mod mozjpeg;
mod openjpeg;
mod webp;

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Pixels, Tool};
use super::process;

/// Every peer, in the order reports list them.
pub const PEERS: &[Peer] = &[
    openjpeg::IRREVERSIBLE,
    openjpeg::REVERSIBLE,
    libjpeg_turbo::PEER,
    mozjpeg::PEER,
    webp::PEER,
    jpeg_xl::PEER,
    avif::PEER,
    heic::PEER,
];

/// The peer that rates are quoted against.
pub const ANCHOR: &str = openjpeg::IRREVERSIBLE.name;

/// How a codec is run, where its programs are installed.
#[derive(Debug)]
pub struct Peer {
    /// The name that reports use.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The Debian package that has the programs.
    pub package: &'static str,
    encoder: Program,
    decoder: Program,
    /// The arguments that make the encoder print its version, and the words in
    /// front of it.
    version: (&'static [&'static str], &'static str),
    extension: &'static str,
    pixels: [Pixels; 2],
    settings: &'static [f64],
    bounds: (f64, f64),
    whole: bool,
}

/// See [`Tool`]. The first of `names` that is found is run.
#[derive(Debug)]
struct Program {
    names: &'static [&'static str],
    arguments: &'static [&'static str],
    one_thread: &'static [&'static str],
    all_threads: &'static [&'static str],
}

impl Peer {
    /// The peer, if both its programs are on `PATH`; the error says what is missing.
    pub fn find(&self) -> Result<Contender> {
        let encoder = self.encoder.find(self.package)?;
        let decoder = self.decoder.find(self.package)?;
        let (arguments, before) = self.version;
        let text = process::output(&encoder.program, arguments)?;
        let rest = text.split_once(before).map(|(_, rest)| rest);
        let version = rest.and_then(|rest| {
            let word =
                rest.split(|c: char| c.is_whitespace() || ",();".contains(c)).find(|word| !word.is_empty());
            word.map(|word| word.trim_end_matches('.').to_owned())
        });
        let program = encoder.program.display();
        let version = version.with_context(|| format!("{program} is another program of that name"))?;
        ensure!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{program} has the odd version '{version}'"
        );
        Ok(Contender {
            name: self.name.into(),
            about: self.about.into(),
            version,
            encoder,
            decoder,
            extension: self.extension,
            pixels: self.pixels,
            settings: self.settings.to_vec(),
            bounds: self.bounds,
            whole: self.whole,
            model_bytes: None,
        })
    }
}

impl Program {
    fn find(&self, package: &str) -> Result<Tool> {
        let program = process::find(self.names).with_context(|| {
            format!("{} is not on PATH (Debian: apt-get install {package})", self.names.join(" or "))
        })?;
        let strings = |list: &[&str]| list.iter().map(|&argument| argument.to_owned()).collect();
        Ok(Tool {
            program,
            arguments: strings(self.arguments),
            one_thread: strings(self.one_thread),
            all_threads: strings(self.all_threads),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_have_names_of_their_own_and_settings_from_small_to_large() {
        for (index, peer) in PEERS.iter().enumerate() {
            assert!(PEERS[..index].iter().all(|other| other.name != peer.name), "{}", peer.name);
            let rising = peer.bounds.0 < peer.bounds.1;
            assert!(peer.settings.windows(2).all(|pair| (pair[0] < pair[1]) == rising), "{}", peer.name);
            let inside =
                |s: f64| s >= peer.bounds.0.min(peer.bounds.1) && s <= peer.bounds.0.max(peer.bounds.1);
            assert!(peer.settings.iter().all(|&setting| inside(setting)), "{}", peer.name);
            assert!(
                !peer.whole || peer.settings.iter().all(|setting| setting.fract() == 0.0),
                "{}",
                peer.name
            );
        }
    }
}
