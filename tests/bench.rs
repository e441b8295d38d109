//! Measuring and comparing, as a user drives it.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use image::{DynamicImage, Rgb, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

fn aecodec() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("aecodec")
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A folder with a colour and a grey picture in it.
fn pictures(folder: &Path) -> PathBuf {
    let pictures = folder.join("set");
    fs::create_dir_all(&pictures).unwrap();
    fs::copy(testdata("images/bikes-192x128.png"), pictures.join("bikes.png")).unwrap();
    fs::copy(testdata("images/grey-97x65.png"), pictures.join("grey.png")).unwrap();
    pictures
}

/// `aecodec bench` on these pictures, with a cache of its own.
fn bench(folder: &Path) -> Command {
    let mut command = aecodec();
    command.arg("bench").arg(pictures(folder)).arg("--cache").arg(folder.join("cache"));
    command
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn bench_writes_a_row_for_each_measurement_and_names_what_is_missing() {
    let folder = folder();
    let (csv, json_file) = (folder.path().join("a.csv"), folder.path().join("a.json"));
    bench(folder.path())
        .args(["--qualities", "10,50.5,90", "--csv"])
        .arg(&csv)
        .arg("--json")
        .arg(&json_file)
        .env("PATH", "") // without peers, which may or may not be there
        .assert()
        .success()
        .stdout(contains("PSNR-RGB").and(contains("aecodec")).and(contains("not measured: webp")))
        .stderr(contains("without openjpeg: opj_compress is not on PATH"));
    let csv = fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 3, "{csv}");
    assert!(csv.starts_with("codec,setting,image,width,height,bytes,bpp,psnr_rgb,psnr_y,ms_ssim"), "{csv}");
    let run = json(&json_file);
    assert_eq!(run["points"].as_array().unwrap().len(), 6);
    assert_eq!(run["codecs"].as_array().unwrap().len(), 1);
    assert!(run["missing"].as_array().unwrap().len() >= 7, "{run}");
    assert_eq!(run["set"], "set");
    assert!(run["codecs"][0]["model_bytes"].as_u64().unwrap() > 100_000);
}

#[test]
fn a_second_run_measures_nothing_again() {
    let folder = folder();
    let cached = || fs::read_to_string(folder.path().join("cache/measurements.jsonl")).unwrap();
    let run = |qualities: &str| {
        let assert =
            bench(folder.path()).args(["--peers", "none", "--qualities", qualities]).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let first = run("20,70");
    assert_eq!(cached().lines().count(), 4);
    // As if the first had been interrupted while it wrote.
    let text = cached();
    fs::write(folder.path().join("cache/measurements.jsonl"), &text[..text.len() - 9]).unwrap();
    assert_eq!(run("20,70"), first);
    assert_eq!(cached().lines().count(), 5, "the torn line and one instead of it");
    run("20,70,80");
    assert_eq!(cached().lines().count(), 7, "only the new quality");
}

#[test]
fn models_and_efforts_are_told_apart() {
    let folder = folder();
    let json_file = folder.path().join("a.json");
    let model = testdata("../models/5960d9af.aem");
    bench(folder.path())
        .args(["--peers", "none", "--qualities", "50", "--models"])
        .arg(format!("default,{}", model.display()))
        .assert()
        .failure()
        .stderr(contains("two codecs are called 'aecodec-default'"));
    bench(folder.path())
        .args(["--peers", "none", "--qualities", "50", "--models", "all", "--json"])
        .arg(&json_file)
        .assert()
        .success();
    let codecs = json(&json_file)["codecs"].as_array().unwrap().len();
    let names: std::collections::BTreeSet<_> =
        aecodec::model::registry::MODELS.iter().map(|m| m.name).collect();
    assert_eq!(codecs, names.len(), "the newest of each name");
}

#[test]
fn wrong_names_are_told() {
    let folder = folder();
    bench(folder.path()).args(["--peers", "gif"]).assert().code(1).stderr(contains("'gif' is not one of"));
    bench(folder.path())
        .args(["--peers", "none", "--show", "nobody", "--report", "x.html"])
        .assert()
        .code(1)
        .stderr(contains("no picture is called 'nobody'"));
    bench(folder.path()).args(["--models", "no-such"]).assert().code(1).stderr(contains("no-such"));
}

#[test]
fn a_bad_picture_is_counted_and_the_others_are_measured() {
    let folder = folder();
    fs::write(pictures(folder.path()).join("bad.png"), "not a picture").unwrap();
    bench(folder.path())
        .args(["--peers", "none", "--qualities", "50"])
        .assert()
        .code(1)
        .stdout(contains("aecodec"))
        .stderr(contains("bad.png").and(contains("1 measurements failed")));
}

#[test]
fn times_are_those_of_processes() {
    let folder = folder();
    let json_file = folder.path().join("a.json");
    bench(folder.path())
        .args(["--peers", "none", "--qualities", "50", "--time", "2", "--json"])
        .arg(&json_file)
        .assert()
        .success()
        .stdout(contains("one thread").and(contains("default threads")));
    let times = json(&json_file)["times"].as_array().unwrap().clone();
    assert_eq!(times.len(), 2);
    for time in &times {
        for way in ["encode", "decode"] {
            let figure = |what: &str| time[way][what].as_f64().unwrap();
            assert!(figure("wall") > 0.0 && figure("cpu") > 0.0 && figure("peak_mib") > 1.0, "{time}");
        }
    }
}

#[test]
fn openjpeg_is_the_anchor_of_documents() {
    if !installed("opj_compress") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    bench(folder.path())
        .args(["--peers", "openjpeg", "--qualities", "10,40,60,90", "--json"])
        .arg(at("run.json"))
        .assert()
        .success()
        .stdout(contains("BD-rate against openjpeg at equal PSNR-RGB"));
    fs::write(
        at("README.md"),
        format!(
            "# Title\n{}\nold\n{}\nend\n",
            aecodec::eval::report::markdown::BEGIN,
            aecodec::eval::report::markdown::END
        ),
    )
    .unwrap();
    let results = || {
        let mut command = aecodec();
        command.current_dir(folder.path()).args(["results", "run.json"]);
        command
    };
    results()
        .args(["--markdown", "results.md", "--plot", "plot.svg", "--readme", "README.md"])
        .assert()
        .success();
    let readme = fs::read_to_string(at("README.md")).unwrap();
    assert!(readme.contains("![PSNR over bits per pixel](plot.svg)") && !readme.contains("old"), "{readme}");
    assert!(readme.starts_with("# Title\n") && readme.ends_with("\nend\n"), "{readme}");
    let markdown = fs::read_to_string(at("results.md")).unwrap();
    for part in ["BD-rate", "description length", "| bikes |", "opj_compress -i {in}", "`run.json`"] {
        assert!(markdown.contains(part), "{part} is missing:\n{markdown}");
    }
    assert!(fs::read_to_string(at("plot.svg")).unwrap().contains("aecodec</text>"));
    results().args(["--markdown", "results.md"]).assert().code(1).stderr(contains("--force"));
    results().assert().success().stdout(contains("BD-rate against openjpeg"));
}

#[test]
fn peers_code_colour_and_grey_better_at_higher_settings() {
    use aecodec::eval::peers::PEERS;
    let folder = folder();
    let mut found = 0;
    for peer in PEERS {
        let Ok(contender) = peer.find() else {
            println!("skipped: {} is not installed ({})", peer.name, peer.package);
            continue;
        };
        found += 1;
        for picture in ["images/bikes-192x128.png", "images/grey-97x65.png"] {
            let original = image::open(testdata(picture)).unwrap();
            let colour = original.color().has_color();
            let format = contender.pixels[0].extension(colour);
            let input = folder.path().join(format!("in.{format}"));
            let pnm =
                format!("P{}\n{} {}\n255\n", if colour { 6 } else { 5 }, original.width(), original.height());
            if format == "png" {
                original.save(&input).unwrap();
            } else {
                fs::write(&input, [pnm.as_bytes(), original.as_bytes()].concat()).unwrap();
            }
            let mut last = (0, 0.0);
            for setting in [contender.settings[1], *contender.settings.last().unwrap()] {
                let trial = contender.run(&input, colour, setting, folder.path()).unwrap();
                let judge = aecodec::eval::Judge::new(original.clone()).unwrap();
                let psnr = judge.scores(&judge.same_colour(trial.decoded)).unwrap().psnr_rgb.unwrap();
                let name = peer.name;
                assert!(
                    trial.bytes > last.0 && psnr > last.1,
                    "{name} {setting}: {} bytes, {psnr} dB",
                    trial.bytes
                );
                last = (trial.bytes, psnr);
            }
            assert!(last.1 > 32.0, "{} on {picture}: {last:?}", peer.name);
        }
    }
    println!("{found} peers");
}

/// The page in a browser: a script drives it as a reader would and leaves what
/// it saw in the document.
#[test]
fn the_report_works_in_a_browser() {
    if !installed("opj_compress") || !installed("chromium") {
        return;
    }
    let folder = folder();
    let report = folder.path().join("report.html");
    bench(folder.path())
        .args(["--peers", "openjpeg,webp", "--qualities", "10,40,60,90", "--time", "1"])
        .args(["--show", "bikes", "--show-bpp", "0.5", "--report"])
        .arg(&report)
        .assert()
        .success();
    let page = fs::read_to_string(&report).unwrap();
    for external in ["src=\"http", "href=\"http", "url(http", "@import", "fetch("] {
        assert!(!page.contains(external), "the page refers to something outside: {external}");
    }
    let driver = r##"<script>
        const seen = { errors: [] };
        const change = (id, value) => {
          const select = document.getElementById(id);
          select.value = value;
          select.dispatchEvent(new Event("change"));
        };
        try {
          const svg = () => document.querySelector("#chart svg");
          const dot = svg().querySelectorAll("g circle")[3].getBoundingClientRect();
          svg().dispatchEvent(new PointerEvent("pointermove", { clientX: dot.x + 3, clientY: dot.y + 3 }));
          seen.tip = document.getElementById("tip").hidden ? "" : document.getElementById("tip").textContent;
          seen.curves = svg().querySelectorAll("g path").length;
          const first = svg().querySelector("g path").getAttribute("d");
          document.getElementById("curve-log").click();
          seen.linear = svg().querySelector("g path").getAttribute("d") !== first;
          change("curve-picture", "1");
          document.querySelector("#legend button").click();
          seen.hidden = svg().querySelectorAll("g path").length;
          seen.bd = document.querySelectorAll("#bd-table tbody tr").length;
          const before = document.getElementById("bd-table").textContent;
          change("anchor", "0");
          seen.anchor = document.getElementById("bd-table").textContent !== before;
          seen.pictures = document.querySelectorAll("#picture-table tbody tr").length;
          seen.times = document.querySelectorAll("#speed-table tbody tr").length;
          seen.lengths = document.querySelectorAll("#dl-table tbody tr").length;
          document.getElementById("handle").dispatchEvent(new KeyboardEvent("keydown", { key: "PageUp", bubbles: true }));
          seen.slider = document.getElementById("handle").getAttribute("aria-valuenow");
          change("view-right", "-1");
          seen.caption = document.getElementById("caption-a").textContent;
          seen.wide = document.documentElement.scrollWidth > innerWidth;
        } catch (error) {
          seen.errors.push(String(error));
        }
        const out = document.createElement("pre");
        out.id = "seen";
        out.textContent = JSON.stringify(seen);
        document.body.appendChild(out);
    </script>"##;
    let driven = folder.path().join("driven.html");
    fs::write(&driven, page.replace("</body>", &format!("{driver}</body>"))).unwrap();
    for width in ["1280,900", "500,900"] {
        let output = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"])
            .arg(format!("--user-data-dir={}", folder.path().join("browser").display()))
            .arg(format!("--window-size={width}"))
            .arg("--dump-dom")
            .arg(format!("file://{}", driven.display()))
            .timeout(std::time::Duration::from_secs(120))
            .assert()
            .success();
        let dom = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        let seen =
            dom.split("<pre id=\"seen\">").nth(1).expect("the driver ran").split("</pre>").next().unwrap();
        let seen: Value = serde_json::from_str(seen).unwrap();
        assert_eq!(seen["errors"], Value::Array(Vec::new()), "{seen}");
        let codecs = if installed("cwebp") { 3 } else { 2 };
        assert_eq!(seen["curves"], codecs, "{seen}");
        assert_eq!(seen["hidden"], codecs - 1, "{seen}");
        assert_eq!(seen["bd"], codecs - 1, "{seen}");
        assert!(seen["tip"].as_str().unwrap().contains("bpp"), "{seen}");
        assert_eq!((&seen["linear"], &seen["anchor"]), (&Value::Bool(true), &Value::Bool(true)), "{seen}");
        assert!(seen["lengths"].as_u64().unwrap() >= 3, "{seen}");
        assert_eq!(seen["pictures"], 2, "{seen}");
        assert_eq!((&seen["times"], &seen["slider"]), (&Value::from(codecs), &Value::from("60")), "{seen}");
        assert!(seen["caption"].as_str().unwrap().contains("bytes"), "{seen}");
        assert_eq!(seen["wide"], Value::Bool(false), "the page is wider than its window: {seen}");
    }
}

/// The figures that people read are those of the run that is kept.
#[test]
fn documents_say_what_the_run_says() {
    use aecodec::eval::Run;
    use aecodec::eval::report::{markdown, plot};
    let at = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = |name: &str| fs::read_to_string(at(name)).unwrap();
    let run = Run::read(&at("docs/results/kodak.json")).unwrap();
    let how = "run `aecodec results` as docs/measuring.md says";
    assert!(text("docs/results.md") == markdown::results(&run, "results/kodak.json").unwrap(), "{how}");
    assert!(text("docs/results/kodak.svg") == plot::plot(&run), "{how}");
    let figures = markdown::readme(&run, "docs/results/kodak.svg", "docs/results.md").unwrap();
    assert!(text("README.md") == markdown::replace_figures(&text("README.md"), &figures).unwrap(), "{how}");
}

#[test]
fn pictures_are_compared_by_every_metric() {
    let folder = folder();
    let (original, copy) = (testdata("images/parrot-256x256.png"), testdata("golden/parrot-q60.aec"));
    let diff = folder.path().join("diff.png");
    aecodec()
        .arg("compare")
        .args([&original, &copy])
        .args(["--gain", "4", "--diff"])
        .arg(&diff)
        .assert()
        .success()
        .stdout(contains("PSNR-RGB     35.37 dB").and(contains("SSIMULACRA2")).and(contains("Butteraugli")));
    let (a, diff) = (image::open(&original).unwrap().into_rgb8(), image::open(&diff).unwrap().into_rgb8());
    let decoded = aecodec::decode(&fs::read(&copy).unwrap(), &Default::default()).unwrap().into_rgb8();
    for ((a, b), d) in a.pixels().zip(decoded.pixels()).zip(diff.pixels()) {
        for c in 0..3 {
            let expected = (128 + 4 * (i32::from(b.0[c]) - i32::from(a.0[c]))).clamp(0, 255);
            assert_eq!(i32::from(d.0[c]), expected);
        }
    }
    let assert = aecodec().args(["compare", "--json"]).args([&original, &original]).assert().success();
    let same: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!((&same["psnr_rgb"], &same["differing_samples"]), (&Value::Null, &Value::from(0)));
    aecodec()
        .arg("compare")
        .args([&original, &testdata("images/grey-97x65.png")])
        .assert()
        .code(1)
        .stderr(contains("256 x 256").and(contains("97 x 65")));
}

#[test]
fn pictures_of_other_kinds_are_compared_too() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let rgb = RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, 90]));
    let plain = DynamicImage::ImageRgb8(rgb);
    plain.save(at("plain.bmp")).unwrap();
    DynamicImage::ImageRgb16(plain.to_rgb16()).save(at("deep.png")).unwrap();
    let mut clear = plain.to_rgba8();
    clear.pixels_mut().for_each(|pixel| pixel.0[3] = 127);
    clear.save(at("clear.png")).unwrap();
    let compare = |copy: &str| {
        let mut command = aecodec();
        command.arg("compare").args([at("plain.bmp"), at(copy)]);
        command.assert().success().stdout(contains("infinite: no difference"))
    };
    compare("deep.png").stderr(contains("8 bits"));
    compare("clear.png").stdout(contains("PSNR-alpha   5.99 dB"));
}

#[test]
fn a_map_shows_where_the_bits_went() {
    let folder = folder();
    let map = folder.path().join("map.png");
    let file = testdata("golden/kodim23-q40.aec");
    let assert = aecodec().args(["info", "--json"]).arg(&file).arg("--map").arg(&map).assert().success();
    let info: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let bits = |what: &str| info["map"][what].as_f64().unwrap();
    // Header, checksum, and what the coder falls short of the ideal.
    assert!((150.0..400.0).contains(&bits("other_bits")), "{info}");
    assert!(bits("latent_bits") > bits("hyper_latent_bits") && bits("hyper_latent_bits") > 0.0, "{info}");
    assert!(bits("bpp_from") < bits("bpp_to"), "{info}");
    let picture = image::open(&map).unwrap();
    assert_eq!((picture.width(), picture.height()), (768, 512));
    aecodec().arg("info").arg(&file).arg("--map").arg(&map).assert().code(1).stderr(contains("--force"));
    aecodec()
        .args(["info", "--force"])
        .arg(&file)
        .arg("--map")
        .arg(&map)
        .assert()
        .success()
        .stdout(contains("latents"));
}

#[test]
fn maps_cover_every_tile() {
    let model = aecodec::EncodeOptions::default();
    let picture: DynamicImage = RgbImage::from_fn(1040, 40, |x, y| {
        let noise = if x > 1024 { (x * 37 + y * 91) % 251 } else { 120 };
        Rgb([noise as u8, (noise / 2) as u8, 100])
    })
    .into();
    let file = aecodec::encode(&picture, &model).unwrap();
    let map = aecodec::codec::bit_map(&file, &Default::default()).unwrap();
    assert_eq!((map.width, map.height, map.bits.len()), (65, 3, 195));
    let sum: f64 = map.bits.iter().map(|&bits| f64::from(bits)).sum();
    assert!((sum - map.latents - map.hyper_latents).abs() < 0.01 * sum);
    let last: f32 = (0..3).map(|row| map.bits[row * 65 + 64]).sum();
    assert!(f64::from(last) > 0.3 * sum, "the noise is in the second tile: {last} of {sum}");
    assert!(aecodec::codec::bit_map(&file[..file.len() - 2], &Default::default()).is_err());
}
