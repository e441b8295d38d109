//! The same pixels and the same bytes on every architecture.
//!
//! ```text
//! cargo test --release --test architectures -- --ignored --nocapture
//! ```
//!
//! builds the golden tests and those of the kernels for other machines and runs
//! them here: aarch64 (NEON) and s390x (big-endian) under qemu-user, wasm32 with
//! and without SIMD under node. What is missing is named and skipped. On
//! Debian everything comes from
//!
//! ```text
//! apt-get install qemu-user-static gcc-aarch64-linux-gnu gcc-s390x-linux-gnu nodejs
//! rustup target add aarch64-unknown-linux-gnu s390x-unknown-linux-gnu wasm32-unknown-unknown
//! ```
//!
//! On x86-64 itself `cargo test` runs every level that the processor has.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program, if it can be started and says that all is well.
fn works(program: &str, argument: &str) -> bool {
    let run = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn has_target(target: &str) -> bool {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// Whether everything is there; what is not is told.
fn have(target: &str, programs: &[(&str, &str)]) -> bool {
    let mut missing: Vec<String> = programs
        .iter()
        .filter(|(program, argument)| !works(program, argument))
        .map(|(program, _)| (*program).to_string())
        .collect();
    if !has_target(target) {
        missing.push(format!("`rustup target add {target}`"));
    }
    if !missing.is_empty() {
        println!("SKIPPED: {target} needs {}", missing.join(", "));
    }
    missing.is_empty()
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

fn run(command: &mut Command) {
    println!("{command:?}");
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn under_qemu(target: &str, architecture: &str) {
    let linker = format!("{architecture}-linux-gnu-gcc");
    let emulator = format!("qemu-{architecture}-static");
    if !have(target, &[(&linker, "--version"), (&emulator, "--version")]) {
        return;
    }
    let variable = format!("CARGO_TARGET_{}", target.to_uppercase().replace('-', "_"));
    run(cargo()
        .args(["test", "--release", "--no-default-features", "--features", "old-models", "--target", target])
        .args(["--lib", "--test", "golden", "--test", "restored", "--"])
        .args(["nn::", "entropy::", "golden", "encoder", "format", "every_machine"])
        .env(format!("{variable}_LINKER"), linker)
        .env(format!("{variable}_RUNNER"), format!("{emulator} -L /usr/{architecture}-linux-gnu")));
}

#[test]
#[ignore = "takes minutes"]
fn aarch64() {
    under_qemu("aarch64-unknown-linux-gnu", "aarch64");
}

#[test]
#[ignore = "takes minutes"]
fn s390x() {
    under_qemu("s390x-unknown-linux-gnu", "s390x");
}

#[test]
#[ignore = "takes minutes"]
fn wasm32() {
    let target = "wasm32-unknown-unknown";
    if !have(target, &[("node", "--version")]) {
        return;
    }
    for features in ["-simd128", "+simd128"] {
        run(cargo()
            .args(["build", "--release", "--package", "aecodec-web", "--features", "aecodec-web/old-models"])
            .args(["--target", target])
            .env("RUSTFLAGS", format!("-C target-feature={features}"))
            .env("CARGO_PROFILE_RELEASE_STRIP", "true")
            .env("CARGO_TARGET_DIR", "target/architectures"));
        run(Command::new("node")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("web/test/golden.mjs")
            .arg(format!("target/architectures/{target}/release/aecodec_web.wasm")));
    }
}
