//! `docs/format.md` is enough to write a decoder from: the one in
//! `second_decoder/decode.py` makes the same pixels of the golden files. It needs
//! Python with NumPy, and is skipped where they are missing.

use std::path::Path;
use std::process::Command;

#[test]
fn a_decoder_written_from_the_specification_makes_the_same_pixels() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let has_numpy = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no python3 with NumPy (Debian: apt-get install python3-numpy)");
        return;
    }
    let golden = root.join("testdata/golden");
    let list = std::fs::read_to_string(golden.join("pixels.sha256")).unwrap();
    let mut compared = 0;
    for model in std::fs::read_dir(root.join("models")).unwrap().map(|entry| entry.unwrap().path()) {
        if model.extension().is_none_or(|extension| extension != "aem") {
            continue;
        }
        let id = of_model(&model);
        let files: Vec<&str> = list
            .lines()
            .map(|line| line.split_once("  ").expect("a hash, two spaces, a file").1)
            .filter(|file| aecodec::probe(&std::fs::read(golden.join(file)).unwrap()).unwrap().model == id)
            .collect();
        if files.is_empty() {
            // It restores pictures, and decodes none.
            continue;
        }
        let output = Command::new("python3")
            .arg(root.join("tests/second_decoder/decode.py"))
            .arg(&model)
            .args(&files)
            .current_dir(&golden)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        for line in told.lines() {
            assert!(list.lines().any(|expected| expected == line), "another picture: {line}");
        }
        assert_eq!(told.lines().count(), files.len());
        compared += files.len();
    }
    assert!(compared >= 12, "only {compared} golden files were decoded");
}

/// The id of a model file: the beginning of its SHA-256.
fn of_model(path: &Path) -> aecodec::model::ModelId {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(std::fs::read(path).unwrap());
    aecodec::model::ModelId([digest[0], digest[1], digest[2], digest[3]])
}
