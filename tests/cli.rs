//! The `aecodec` command as a user drives it.

#[path = "support/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};

use aecodec::model::Model;
use assert_cmd::Command;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

fn aecodec() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("aecodec")
}

/// The small colour picture of the test data.
fn bikes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/images/bikes-192x128.png")
}

/// The grey picture of the test data.
fn grey() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/images/grey-97x65.png")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The names of all files in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A valid `.aec` file, of the small colour picture.
fn coded(folder: &Path) -> PathBuf {
    let path = folder.join("valid.aec");
    aecodec().arg("compress").arg(bikes()).arg(&path).assert().success();
    path
}

#[test]
fn a_picture_comes_back_in_its_size_and_colour() {
    let folder = folder();
    for original in [bikes(), grey()] {
        let (file, back) = (folder.path().join("a.aec"), folder.path().join("a.png"));
        aecodec()
            .args(["compress", "--force", "-q", "80"])
            .args([&original, &file])
            .assert()
            .success()
            .stdout("")
            .stderr(contains("bpp").and(contains("bytes")));
        aecodec().args(["decompress", "--force"]).args([&file, &back]).assert().success().stdout("");
        let (original, back) = (image::open(original).unwrap(), image::open(back).unwrap());
        assert_eq!((back.width(), back.height()), (original.width(), original.height()));
        assert_eq!(back.color(), original.color());
        assert!(aecodec::eval::psnr(&original, &back).unwrap().rgb > 25.0);
    }
}

#[test]
fn higher_qualities_give_larger_and_closer_files() {
    let folder = folder();
    let original = image::open(bikes()).unwrap();
    let mut last = (0, 0.0);
    for quality in ["0", "20", "40.5", "60", "80", "100"] {
        let (file, back) = (folder.path().join("a.aec"), folder.path().join("a.png"));
        aecodec()
            .args(["compress", "--force", "--quality", quality])
            .args([&bikes(), &file])
            .assert()
            .success();
        aecodec().args(["decompress", "--force"]).args([&file, &back]).assert().success();
        let bytes = fs::metadata(&file).unwrap().len();
        let psnr = aecodec::eval::psnr(&original, &image::open(&back).unwrap()).unwrap().rgb;
        assert!(bytes > last.0 && psnr > last.1, "{quality}: {bytes} bytes, {psnr} dB after {last:?}");
        last = (bytes, psnr);
    }
}

#[test]
fn streams_hold_the_same_bytes_as_files() {
    let folder = folder();
    let file = coded(folder.path());
    let stream = aecodec()
        .args(["compress", "-", "-"])
        .write_stdin(fs::read(bikes()).unwrap())
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    assert_eq!(stream, fs::read(&file).unwrap());

    let png = aecodec().args(["decompress", "-", "-"]).write_stdin(stream).assert().success();
    let back = folder.path().join("back.png");
    aecodec().arg("decompress").args([&file, &back]).assert().success();
    assert_eq!(png.get_output().stdout, fs::read(&back).unwrap());
}

#[test]
fn a_folder_becomes_a_folder() {
    let folder = folder();
    let (from, coded, back) =
        (folder.path().join("in"), folder.path().join("aec"), folder.path().join("out"));
    fs::create_dir_all(from.join("deep")).unwrap();
    fs::copy(bikes(), from.join("one.png")).unwrap();
    fs::copy(grey(), from.join("deep/two.png")).unwrap();
    fs::write(from.join("notes.txt"), "not a picture").unwrap();

    aecodec().arg("compress").args([&from, &coded]).assert().success();
    assert_eq!(names(&coded), ["deep", "one.aec"]);
    assert_eq!(names(&coded.join("deep")), ["two.aec"]);
    aecodec().arg("decompress").args([&coded, &back]).assert().success();
    assert_eq!(names(&back), ["deep", "one.png"]);
    assert_eq!(names(&back.join("deep")), ["two.png"]);
}

#[test]
fn patterns_are_understood_without_a_shell() {
    let folder = folder();
    for name in ["a1.png", "a2.png", "b1.png"] {
        fs::copy(grey(), folder.path().join(name)).unwrap();
    }
    let out = folder.path().join("out");
    aecodec().arg("compress").args([&folder.path().join("a*.png"), &out]).assert().success();
    assert_eq!(names(&out), ["a1.aec", "a2.aec"]);
    aecodec()
        .arg("compress")
        .args([&folder.path().join("c*.png"), &out])
        .assert()
        .code(1)
        .stderr(contains("no file matches").and(contains("c*.png")));
}

#[test]
fn one_bad_file_does_not_stop_the_others() {
    let folder = folder();
    let (good, bad, missing) =
        (folder.path().join("good.png"), folder.path().join("bad.png"), folder.path().join("missing.png"));
    fs::copy(grey(), &good).unwrap();
    fs::write(&bad, "no picture at all").unwrap();
    let out = folder.path().join("out");
    aecodec().arg("compress").args([&bad, &missing, &good, &out]).assert().code(1).stderr(
        contains("bad.png: ")
            .and(contains("missing.png: "))
            .and(contains("good.aec: "))
            .and(contains("2 of 3 files failed")),
    );
    assert_eq!(names(&out), ["good.aec"]);
}

#[test]
fn outputs_that_collide_are_refused_before_any_work() {
    let folder = folder();
    for sub in ["x", "y"] {
        fs::create_dir(folder.path().join(sub)).unwrap();
        fs::copy(grey(), folder.path().join(sub).join("a.png")).unwrap();
    }
    let out = folder.path().join("out");
    aecodec()
        .arg("compress")
        .args([&folder.path().join("x/a.png"), &folder.path().join("y"), &out])
        .assert()
        .code(1)
        .stderr(contains("x/a.png").and(contains("y/a.png")).and(contains("a.aec")));
    assert!(!out.exists());
}

#[test]
fn existing_outputs_stay_without_force() {
    let folder = folder();
    let file = folder.path().join("a.aec");
    fs::write(&file, "precious").unwrap();
    aecodec()
        .arg("compress")
        .args([&bikes(), &file])
        .assert()
        .code(1)
        .stderr(contains("a.aec exists").and(contains("--force")));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    aecodec().args(["compress", "--force"]).args([&bikes(), &file]).assert().success();
    assert_ne!(fs::read(&file).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["a.aec"]);
}

#[test]
fn a_missing_input_is_named() {
    let folder = folder();
    let out = folder.path().join("out.aec");
    aecodec()
        .arg("compress")
        .args([&folder.path().join("nowhere.png"), &out])
        .assert()
        .code(1)
        .stderr(contains("nowhere.png").and(contains("because:")));
    assert!(!out.exists());
}

#[test]
fn what_is_no_aec_file_is_refused() {
    let folder = folder();
    let (file, back) = (folder.path().join("a.aec"), folder.path().join("a.png"));
    for content in [&b""[..], b"a", b"not an .aec file, but long enough to hold a header of one"] {
        fs::write(&file, content).unwrap();
        aecodec().arg("decompress").args([&file, &back]).assert().code(1).stderr(contains("a.aec"));
        aecodec().arg("info").arg(&file).assert().code(1).stdout("").stderr(contains("a.aec"));
    }
    aecodec()
        .arg("decompress")
        .args([&bikes(), &back])
        .assert()
        .code(1)
        .stderr(contains("bikes-192x128.png"));
    assert!(!back.exists());
}

#[test]
fn a_shortened_file_is_refused() {
    let folder = folder();
    let file = coded(folder.path());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let back = folder.path().join("a.png");
    aecodec().arg("decompress").args([&file, &back]).assert().code(1).stderr(contains("valid.aec"));
    assert!(!back.exists());
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = folder();
    let file = coded(folder.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[4] += 1;
    fs::write(&file, bytes).unwrap();
    for args in [&["info"][..], &["decompress", "--force"]] {
        let mut program = aecodec();
        program.args(args).arg(&file);
        if args[0] == "decompress" {
            program.arg(folder.path().join("a.png"));
        }
        program.assert().code(1).stderr(contains("valid.aec").and(contains("version 2")));
    }
}

#[test]
fn a_file_of_another_model_is_shown_but_not_decoded() {
    let folder = folder();
    let file = coded(folder.path());
    let mut bytes = fs::read(&file).unwrap();
    // After the magic, version, flags, two bytes for each side, and the quality.
    bytes[11..15].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    fs::write(&file, bytes).unwrap();
    aecodec()
        .arg("decompress")
        .args([&file, &folder.path().join("a.png")])
        .assert()
        .code(1)
        .stderr(contains("valid.aec").and(contains("deadbeef")));
    aecodec().arg("info").arg(&file).assert().success().stdout(contains("deadbeef"));
}

#[test]
fn a_model_can_come_from_a_file() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let model = Model { name: "only-here".into(), ..synthetic::model(synthetic::TINY) };
    fs::write(at("tiny.model"), model.write()).unwrap();
    aecodec()
        .args(["compress", "--model"])
        .args([&at("tiny.model"), &bikes(), &at("a.aec")])
        .assert()
        .success();
    aecodec()
        .arg("decompress")
        .args([&at("a.aec"), &at("a.png")])
        .assert()
        .code(1)
        .stderr(contains("which this build does not have"));
    aecodec()
        .args(["decompress", "--model"])
        .args([&at("tiny.model"), &at("a.aec"), &at("a.png")])
        .assert()
        .success();
    let back = image::open(at("a.png")).unwrap();
    assert_eq!((back.width(), back.height()), (192, 128));
}

#[test]
fn an_unknown_model_is_named() {
    let folder = folder();
    aecodec()
        .args(["compress", "--model", "no-such-model"])
        .args([&bikes(), &folder.path().join("a.aec")])
        .assert()
        .code(1)
        .stderr(contains("no-such-model"));
}

#[test]
fn pictures_that_cannot_be_kept_whole_are_refused() {
    let folder = folder();
    let rgb = DynamicImage::ImageRgb8(RgbImage::from_pixel(20, 10, Rgb([9, 99, 199])));
    for (picture, kind) in [
        (DynamicImage::from(rgb.to_rgba8()), "Rgba8"),
        (rgb.to_luma_alpha8().into(), "La8"),
        (rgb.to_rgb16().into(), "Rgb16"),
        (rgb.to_luma16().into(), "L16"),
    ] {
        let (file, out) = (folder.path().join(format!("{kind}.png")), folder.path().join("out.aec"));
        picture.save(&file).unwrap();
        aecodec()
            .arg("compress")
            .args([&file, &out])
            .assert()
            .code(1)
            .stderr(contains(format!("{kind}.png")).and(contains(format!("colour type {kind} "))));
        assert!(!out.exists());
    }
}

#[test]
fn metadata_is_dropped_only_when_asked() {
    let folder = folder();
    let (file, out) = (folder.path().join("profile.png"), folder.path().join("out.aec"));
    let picture = RgbImage::from_pixel(20, 10, Rgb([9, 99, 199]));
    let mut encoder = image::codecs::png::PngEncoder::new(fs::File::create(&file).unwrap());
    image::ImageEncoder::set_icc_profile(&mut encoder, vec![7; 200]).unwrap();
    picture.write_with_encoder(encoder).unwrap();
    aecodec()
        .arg("compress")
        .args([&file, &out])
        .assert()
        .code(1)
        .stderr(contains("profile.png").and(contains("ICC profile")).and(contains("--strip")));
    aecodec().args(["compress", "--strip"]).args([&file, &out]).assert().success();
}

#[test]
fn every_lossless_format_is_written_and_read() {
    let folder = folder();
    for original in [bikes(), grey()] {
        let file = folder.path().join("a.aec");
        aecodec().args(["compress", "--force"]).args([&original, &file]).assert().success();
        let mut pixels: Option<DynamicImage> = None;
        for extension in ["png", "ppm", "bmp", "tiff", "tga", "qoi", "webp"] {
            let back = folder.path().join(format!("a.{extension}"));
            aecodec().args(["decompress", "--force"]).args([&file, &back]).assert().success();
            let format = ImageFormat::from_extension(extension).unwrap();
            let got = image::load_from_memory_with_format(&fs::read(&back).unwrap(), format).unwrap();
            let first = pixels.get_or_insert_with(|| got.clone());
            assert_eq!(first.to_rgb8(), got.to_rgb8(), "{extension}");
            let again = folder.path().join(format!("{extension}.aec"));
            aecodec().args(["compress", "--force"]).args([&back, &again]).assert().success();
        }
    }
    aecodec()
        .arg("decompress")
        .args([&folder.path().join("a.aec"), &folder.path().join("a.jpg")])
        .assert()
        .code(1)
        .stderr(contains("'.jpg'").and(contains(".png")));
}

#[test]
fn info_says_what_a_file_holds() {
    let folder = folder();
    let file = coded(folder.path());
    aecodec()
        .arg("info")
        .arg(&file)
        .assert()
        .success()
        .stdout(contains("192 x 128").and(contains("model")).and(contains("bpp")));
    let output = aecodec().args(["info", "--json"]).arg(&file).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!((&json["width"], &json["height"]), (&192.into(), &128.into()));
    assert_eq!(json["bytes"], fs::metadata(&file).unwrap().len());
    assert!(json["model"].as_str().is_some_and(|name| !name.is_empty()) && json["colour"] == "rgb8");
}

#[test]
fn thread_counts_change_neither_bytes_nor_pixels() {
    same_under(&["1", "2", "5"].map(|threads| (["--threads", threads], ["AECODEC_CPU", ""])));
}

#[test]
fn instruction_sets_change_neither_bytes_nor_pixels() {
    same_under(&["scalar", "avx2", "avx512"].map(|cpu| (["--threads", "2"], ["AECODEC_CPU", cpu])));
}

/// Codes and decodes one picture under each pair of arguments and environment
/// variable (none, where its value is empty) and compares.
fn same_under(settings: &[([&str; 2], [&str; 2])]) {
    let folder = folder();
    let mut expected: Option<(Vec<u8>, Vec<u8>)> = None;
    for (args, [variable, value]) in settings {
        let run = |command: &str, input: Vec<u8>| {
            let mut program = aecodec();
            program.args([command, "-", "-"]).args(args).env_remove(variable).current_dir(&folder);
            if !value.is_empty() {
                program.env(variable, value);
            }
            program.write_stdin(input).assert().success().get_output().stdout.clone()
        };
        let bytes = run("compress", fs::read(bikes()).unwrap());
        let pixels = run("decompress", bytes.clone());
        let expected = expected.get_or_insert_with(|| (bytes.clone(), pixels.clone()));
        assert!(expected.0 == bytes, "other bytes under {args:?} {variable}={value}");
        assert!(expected.1 == pixels, "other pixels under {args:?} {variable}={value}");
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    for args in [
        &["compress"][..],
        &["compress", "a.png"],
        &["compress", "a.png", "b.aec", "-q", "101"],
        &["compress", "a.png", "b.aec", "-q", "nan"],
        &["compress", "a.png", "b.aec", "--threads", "0"],
        &["frobnicate"],
        &["info"],
    ] {
        aecodec().args(args).assert().code(2).stderr(contains("--help"));
    }
    aecodec().arg("--help").assert().success().stdout(contains("compress").and(contains("bench")));
    aecodec().arg("--version").assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    aecodec().arg("compress").arg(bikes()).arg("/dev/full").assert().code(1).stderr(contains("/dev/full"));
    assert!(!Path::new("/dev/full").is_file());
}

#[test]
#[cfg(unix)]
fn a_reader_that_leaves_is_no_error() {
    use std::process::{Command, Stdio};
    let folder = folder();
    let file = coded(folder.path());
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("aecodec"))
        .arg("decompress")
        .arg(&file)
        .arg("-")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn bench_writes_a_row_for_each_measurement() {
    let folder = folder();
    let pictures = folder.path().join("in");
    fs::create_dir(&pictures).unwrap();
    fs::copy(bikes(), pictures.join("bikes.png")).unwrap();
    fs::copy(grey(), pictures.join("grey.png")).unwrap();
    let (csv, json) = (folder.path().join("a.csv"), folder.path().join("a.json"));
    aecodec()
        .args(["bench", "--qualities", "10,50,90", "--csv"])
        .arg(&csv)
        .arg("--json")
        .arg(&json)
        .arg(&pictures)
        .env("PATH", "") // without OpenJPEG, which may or may not be there
        .assert()
        .success()
        .stdout(contains("PSNR-RGB").and(contains("aecodec")))
        .stderr(contains("without OpenJPEG"));
    let csv = fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 3, "{csv}");
    assert!(csv.starts_with("codec,setting,image,width,height,bytes,bpp,psnr_rgb,psnr_y"), "{csv}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 6);
    assert_eq!(json["summary"]["averages"].as_array().unwrap().len(), 3);
}

#[test]
fn parts_and_small_pictures_are_decompressed() {
    let folder = folder();
    let (file, out) = (coded(folder.path()), folder.path().join("part.png"));
    let decompress = |options: &[&str]| {
        let mut command = aecodec();
        command.args(["decompress", "--force"]).args(options).arg(&file).arg(&out);
        command
    };
    decompress(&[]).assert().success();
    let whole = image::open(&out).unwrap();
    decompress(&["--region", "20,30,100,50"]).assert().success();
    assert_eq!(image::open(&out).unwrap(), whole.crop_imm(20, 30, 100, 50));
    decompress(&["--scale", "1/8"]).assert().success();
    assert_eq!((image::open(&out).unwrap().width(), image::open(&out).unwrap().height()), (24, 16));
    decompress(&["--region", "100,0,93,10"])
        .assert()
        .failure()
        .code(1)
        .stderr(contains("100,0,93,10").and(contains("192x128")));
    decompress(&["--region", "1,2,3"]).assert().failure().code(2);
    decompress(&["--scale", "1/3"]).assert().failure().code(2);
}
