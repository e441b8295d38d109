//! What happens when the world fails: kills, full disks, closed doors.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;

fn program() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("aecodec")
}

fn aecodec() -> assert_cmd::Command {
    assert_cmd::Command::new(program())
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// Runs a command 50 times over an old output, kills it after a while, and
/// returns how often the old one was left.
fn kill_at_random(args: &[&str], input: &Path, output: &Path, is_whole: impl Fn(&[u8]) -> bool) -> usize {
    let old = b"the old output";
    let mut kept = 0;
    let mut random = 12345u64;
    let run = || {
        Command::new(program())
            .args(args)
            .args([input, output])
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    };
    fs::write(output, old).unwrap();
    let start = std::time::Instant::now();
    assert!(run().wait().unwrap().success());
    let whole_run = start.elapsed().as_micros() as u64;
    for round in 0..50 {
        fs::write(output, old).unwrap();
        let mut child = run();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % (whole_run + whole_run / 4)));
        let _ = child.kill();
        child.wait().unwrap();
        let left = fs::read(output).unwrap();
        assert!(left == old || is_whole(&left), "round {round}: {} bytes of neither", left.len());
        kept += usize::from(left == old);
    }
    kept
}

#[test]
fn a_killed_program_leaves_the_old_output_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let args = ["compress", "--force", "--threads", "1"];
    let decodes = |bytes: &[u8]| aecodec::decode(bytes, &Default::default()).is_ok();
    let kept = kill_at_random(&args, &testdata("images/kodim23.png"), &at("a.aec"), decodes);
    assert!(kept > 0, "no kill came in time");
    let args = ["decompress", "--force", "--threads", "1"];
    let opens = |bytes: &[u8]| image::load_from_memory(bytes).is_ok();
    let kept = kill_at_random(&args, &testdata("golden/kodim23-q40.aec"), &at("a.png"), opens);
    assert!(kept > 0, "no kill came in time");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere but where there is nothing to write to.
    let is_root = fs::write(closed.join("probe"), "").is_ok();
    let closed = if is_root { PathBuf::from("/proc") } else { closed };
    if !closed.is_dir() {
        eprintln!("skipped: no folder that cannot be written");
        return;
    }
    for (command, input) in [("compress", "images/bikes-192x128.png"), ("decompress", "golden/bikes-q30.aec")]
    {
        let output = closed.join("aecodec-test.png");
        aecodec()
            .arg(command)
            .args([&testdata(input), &output])
            .assert()
            .code(1)
            .stderr(contains("cannot write").and(contains("aecodec-test")).and(contains("because:")));
        assert!(!output.exists());
    }
}

#[test]
fn a_batch_goes_on_past_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for name in ["a.png", "b.png", "d.png"] {
        fs::copy(testdata("images/grey-97x65.png"), input.join(name)).unwrap();
    }
    fs::set_permissions(input.join("b.png"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(input.join("b.png")).is_ok() {
        // Root reads everything but memory that is not there.
        fs::remove_file(input.join("b.png")).unwrap();
        symlink("/proc/self/mem", input.join("b.png")).unwrap();
    }
    symlink("nowhere", input.join("c.png")).unwrap();
    let out = folder.path().join("out");
    aecodec()
        .arg("compress")
        .args(["a.png", "b.png", "c.png", "d.png"].map(|name| input.join(name)))
        .arg(&out)
        .assert()
        .code(1)
        .stderr(contains("b.png").and(contains("c.png")).and(contains("2 of 4 files failed")));
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.aec", "d.aec"]);
}

/// A file system of 64 KiB, where the tests may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_keeps_the_old_output_and_no_rest() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: no right to mount a small disk");
        return;
    };
    let output = disk.0.path().join("a.png");
    fs::write(&output, "old").unwrap();
    aecodec()
        .args(["decompress", "--force"])
        .args([&testdata("golden/kodim23-q40.aec"), &output])
        .assert()
        .code(1)
        .stderr(contains("cannot write").and(contains("a.png")).and(contains("No space left")));
    assert_eq!(fs::read(&output).unwrap(), b"old");
    assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 1, "a rest was left behind");
}
