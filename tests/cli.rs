//! The `aecodec` command as a user drives it.

#[path = "support/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};

use aecodec::model::Model;
use assert_cmd::Command;
use image::{DynamicImage, ImageDecoder, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
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
fn what_a_format_cannot_hold_is_an_error_or_a_note() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let rgba = RgbaImage::from_fn(20, 10, |x, y| Rgba([9, 99, 199, (x * y) as u8]));
    DynamicImage::from(rgba).to_rgba16().save(at("a.png")).unwrap();
    aecodec().arg("compress").args([&at("a.png"), &at("a.aec")]).assert().success();
    aecodec()
        .arg("decompress")
        .args([&at("a.aec"), &at("a.ppm")])
        .assert()
        .code(1)
        .stderr(contains("has alpha").and(contains(".ppm")).and(contains(".png")));
    for (name, noted) in
        [("a.tiff", false), ("a.bmp", true), ("a.webp", true), ("a.qoi", true), ("a.tga", true)]
    {
        let noted = if noted {
            contains("16-bit samples became 8-bit").boxed()
        } else {
            contains("note").not().boxed()
        };
        aecodec().arg("decompress").args([&at("a.aec"), &at(name)]).assert().success().stderr(noted);
        assert!(image::open(at(name)).unwrap().color().has_alpha(), "{name}");
    }
}

/// A picture with a profile, Exif and XMP, in the order of the returned payloads.
fn with_metadata(file: &Path, orientation: u8) -> [Vec<u8>; 3] {
    let exif = [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], &[0; 6]].concat();
    let payloads = [vec![7; 200], exif, b"<x:xmpmeta/>".to_vec()];
    let mut encoder = image_webp::WebPEncoder::new(fs::File::create(file).unwrap());
    encoder.set_icc_profile(payloads[0].clone());
    encoder.set_exif_metadata(payloads[1].clone());
    encoder.set_xmp_metadata(payloads[2].clone());
    let picture = RgbImage::from_fn(80, 40, |x, y| Rgb([x as u8 * 3, y as u8 * 5, 90]));
    encoder.encode(&picture, 80, 40, image_webp::ColorType::Rgb8).unwrap();
    payloads
}

/// Profile, Exif and XMP of a file, and its upright size.
fn carried(file: &Path) -> ([Option<Vec<u8>>; 3], (u32, u32)) {
    let mut decoder = image::ImageReader::open(file).unwrap().into_decoder().unwrap();
    let payloads =
        [decoder.icc_profile().unwrap(), decoder.exif_metadata().unwrap(), decoder.xmp_metadata().unwrap()];
    let orientation = decoder.orientation().unwrap();
    let mut picture = DynamicImage::from_decoder(decoder).unwrap();
    picture.apply_orientation(orientation);
    (payloads, (picture.width(), picture.height()))
}

#[test]
fn metadata_comes_back_byte_for_byte() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let payloads = with_metadata(&at("a.webp"), 6).map(Some);
    aecodec().arg("compress").args([&at("a.webp"), &at("a.aec")]).assert().success();
    for name in ["a.png", "b.webp"] {
        aecodec().arg("decompress").args([&at("a.aec"), &at(name)]).assert().success();
        assert_eq!(carried(&at(name)), (payloads.clone(), (40, 80)), "{name}");
    }
    // What cannot be carried is told, and the picture turned upright once.
    aecodec()
        .arg("decompress")
        .args([&at("a.aec"), &at("a.tiff")])
        .assert()
        .success()
        .stderr(contains("Exif, XMP dropped"));
    assert_eq!(carried(&at("a.tiff")), ([payloads[0].clone(), None, None], (40, 80)));
    aecodec()
        .arg("decompress")
        .args([&at("a.aec"), &at("a.bmp")])
        .assert()
        .success()
        .stderr(contains("the colour space, Exif, XMP dropped"));
    assert_eq!(carried(&at("a.bmp")), ([None, None, None], (40, 80)));
}

#[test]
fn strip_turns_upright_and_keeps_colours() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let [icc, ..] = with_metadata(&at("a.webp"), 8);
    aecodec().args(["compress", "--strip"]).args([&at("a.webp"), &at("a.aec")]).assert().success();
    aecodec().arg("decompress").args([&at("a.aec"), &at("a.png")]).assert().success();
    assert_eq!(carried(&at("a.png")), ([Some(icc), None, None], (40, 80)));
    // A usual colour space takes ten bytes and its check instead of a profile.
    let p3 = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/odd/icc-exif-xmp.png");
    aecodec().args(["compress", "--strip", "--force"]).args([&p3, &at("a.aec")]).assert().success();
    assert!(fs::metadata(at("a.aec")).unwrap().len() < 150);
    let report = aecodec().args(["info", "--json"]).arg(at("a.aec")).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&report.get_output().stdout).unwrap();
    assert_eq!(json["cicp"]["primaries"], 12);
    // PNG says it both ways.
    aecodec().args(["decompress", "--force"]).args([&at("a.aec"), &at("a.png")]).assert().success();
    let png = fs::read(at("a.png")).unwrap();
    assert!(png.windows(8).any(|bytes| bytes == b"cICP\x0c\x0d\0\x01"));
    assert!(carried(&at("a.png")).0[0].is_some());
}

#[test]
fn alpha_is_lossy_only_when_asked() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let rgba = RgbaImage::from_fn(90, 70, |x, y| Rgba([9, 99, 199, (x * y + x * 7) as u8]));
    DynamicImage::from(rgba).save(at("a.png")).unwrap();
    let coded = |args: &[&str]| {
        aecodec()
            .args(["compress", "--force"])
            .args(args)
            .args([&at("a.png"), &at("a.aec")])
            .assert()
            .success();
        aecodec().args(["decompress", "--force"]).args([&at("a.aec"), &at("b.png")]).assert().success();
        let alpha =
            |name| image::open(at(name)).unwrap().to_rgba8().pixels().map(|p| p[3]).collect::<Vec<u8>>();
        (fs::metadata(at("a.aec")).unwrap().len(), alpha("b.png") == alpha("a.png"))
    };
    let (lossless, same) = coded(&[]);
    assert!(same);
    let (lossy, same) = coded(&["--alpha-quality", "20"]);
    assert!(lossy < lossless && !same, "{lossy} {lossless}");
}

#[test]
fn limits_are_set_by_options() {
    let folder = folder();
    let file = coded(folder.path());
    let out = folder.path().join("out.png");
    for (option, words) in [
        ("--max-side=191", "192 pixels a side, 191 allowed"),
        ("--max-megapixels=0", "24576 pixels, 0 allowed"),
        ("--max-memory=0", "bytes of memory, 0 allowed"),
    ] {
        aecodec().args(["decompress", option]).args([&file, &out]).assert().code(1).stderr(contains(words));
        assert!(!out.exists());
    }
    aecodec()
        .args(["compress", "--max-side=191"])
        .args([&bikes(), &out])
        .assert()
        .code(1)
        .stderr(contains("192 pixels a side, 191 allowed"));
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
fn info_keeps_to_its_schema() {
    let folder = folder();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/info.schema.json");
    let schema: serde_json::Value = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let p3 = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/odd/cicp-p3.png");
    for (picture, name) in [(bikes(), "a.aec"), (p3, "b.aec")] {
        let file = folder.path().join(name);
        aecodec().arg("compress").args([&picture, &file]).assert().success();
        let output = aecodec().args(["info", "--json"]).arg(&file).assert().success();
        let report: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        let report = report.as_object().unwrap();
        assert!(report.keys().eq(properties.keys()), "{:?}", report.keys());
        for (key, value) in report {
            let kind = match value {
                serde_json::Value::Null => "null",
                serde_json::Value::Bool(_) => "boolean",
                serde_json::Value::Number(number) if number.is_f64() => "number",
                serde_json::Value::Number(_) => "integer",
                serde_json::Value::String(_) => "string",
                serde_json::Value::Array(_) => "array",
                serde_json::Value::Object(_) => "object",
            };
            let allowed = &properties[key]["type"];
            let fits =
                allowed == kind || allowed.as_array().is_some_and(|all| all.iter().any(|one| one == kind));
            assert!(fits, "{key} is {kind}, not {allowed}");
        }
        assert!(schema["required"].as_array().unwrap().len() == properties.len());
    }
}

#[test]
fn packagers_get_man_pages_completions_and_a_type() {
    let folder = folder();
    aecodec().arg("assets").arg(folder.path()).assert().success();
    let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
    assert!(read("man/man1/aecodec.1").contains(".TH aecodec 1"));
    assert!(read("man/man1/aecodec-compress.1").contains("quality"));
    for path in [
        "bash-completion/completions/aecodec",
        "zsh/site-functions/_aecodec",
        "fish/vendor_completions.d/aecodec.fish",
        "powershell/aecodec.ps1",
    ] {
        assert!(read(path).contains("decompress"), "{path}");
    }
    assert!(read("mime/packages/aecodec.xml").contains("image/x-aec"));
    assert!(read("misc/aecodec.magic").contains("AEC image"));
    assert!(!folder.path().join("man/man1/aecodec-assets.1").exists());
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
    let models = aecodec::model::registry::MODELS.iter().map(|model| model.id.to_string());
    let told = aecodec().arg("--version").assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
    let told = String::from_utf8(told.get_output().stdout.clone()).unwrap();
    assert!(models.into_iter().all(|id| told.contains(&id)) && told.contains("format 1"), "{told}");
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
