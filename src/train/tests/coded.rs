//! Training on the latents that files hold.

use std::sync::Arc;

use super::runs::{args, pictures, train};
use crate::codec::{DecodeOptions, EncodeOptions, PreparedModel, decode, encode};
use crate::eval::psnr;
use crate::model::registry::{MODELS, by_name};
use crate::model::{Model, ModelId, Part, QualityIndex};
use crate::train::coded::Coder;
use crate::train::import::import;
use crate::train::kernels::Geometry;
use crate::train::model::{Batch, CodecModel, anchored, image_of_rows, pixel_rows};
use crate::train::quantize::Rounding;
use crate::train::release::release;
use crate::train::requantise::{RequantiseArgs, requantise};
use crate::train::{ExportArgs, TrainArgs};

/// What floats count of a picture is what its file has.
#[test]
fn coded_latents_take_the_bits_of_files() {
    let picture = image::open("testdata/images/parrot-256x256.png").unwrap();
    let embedded = &MODELS[by_name("fast").unwrap()];
    let model = Model::read(embedded.bytes).unwrap();
    let prepared = PreparedModel::new(Model::read(embedded.bytes).unwrap(), embedded.id);
    for quality in [20.0, 50.0, 80.0] {
        let index = model.quality_index(quality).unwrap();
        let mut floats = CodecModel::averaged(&import(&model, index).unwrap()).unwrap();
        floats.coder = Some(Arc::new(Coder::of(&model).unwrap()));
        let mut pixels = Vec::new();
        pixel_rows(&picture.to_rgb8(), 256, 256, &mut pixels);
        let geometry = Geometry { batch: 1, height: 32, width: 32 };
        let batch = Batch { pixels, geometry, qualities: vec![anchored(index)] };
        let bpp = floats.forward(&batch, Rounding::Hard).unwrap().bpp.to_vec1::<f32>().unwrap()[0];
        let (bpp, counted) = (f64::from(bpp), image_of_rows(geometry, &floats.decoded(&batch).unwrap()));

        let options =
            EncodeOptions { quality, effort: 0, model: Some(prepared.clone()), ..Default::default() };
        let file = encode(&picture, &options).unwrap();
        let real = file.len() as f64 * 8.0 / f64::from(1 << 16);
        let decoded = decode(&file, &DecodeOptions::default()).unwrap();
        let [counted, found] = [counted.into(), decoded].map(|decoded| psnr(&picture, &decoded).unwrap().rgb);
        // Hyper-latents are counted by a logistic; a file has a header and ends of streams.
        let around = 60.0 * 8.0 / f64::from(1 << 16);
        assert!(
            (bpp + around - real).abs() < around + 0.02 * real,
            "quality {quality}: {bpp} bpp counted, {real} in the file"
        );
        assert!(
            (counted - found).abs() < 0.05,
            "quality {quality}: {counted} dB counted, {found} in the file"
        );
    }
}

#[test]
fn a_codec_gets_better_on_its_coded_latents() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let codec = args(folder.path(), &folder.path().join("codec"), 60);
    train(&codec).unwrap();
    let before = ExportArgs {
        run: codec.run.clone(),
        val: folder.path().join("val"),
        pictures: 1,
        name: None,
        onto: None,
        first_index: 0,
        output: folder.path().join("before.aem"),
    };
    release(&before).unwrap();
    let coded = TrainArgs {
        coded: true,
        from: Some(before.output.clone()),
        indices: 100..=255,
        ..args(folder.path(), &folder.path().join("coded"), 60)
    };
    train(&coded).unwrap();
    let onto = ExportArgs {
        run: coded.run.clone(),
        onto: Some(before.output.clone()),
        first_index: 128,
        output: folder.path().join("onto.aem"),
        ..before.clone()
    };
    release(&onto).unwrap();
    // What has a network of its own for other qualities keeps it.
    let low = ExportArgs {
        onto: Some(onto.output.clone()),
        first_index: 0,
        output: folder.path().join("low.aem"),
        ..onto.clone()
    };
    release(&low).unwrap();
    let [low, high] =
        [&low.output, &onto.output].map(|path| Model::read(&std::fs::read(path).unwrap()).unwrap());
    for part in Part::ALL {
        let [low, high] = [&low, &high].map(|model| &model.networks[part as usize]);
        assert!(
            low.range(QualityIndex(0)) == (0..=127) && low.at(QualityIndex(0)) != high.at(QualityIndex(0))
        );
        assert!(low.at(QualityIndex(128)) == high.at(QualityIndex(128)), "{}", part.name());
    }
    let after = RequantiseArgs {
        from: onto.output.clone(),
        val: before.val.clone(),
        pictures: 1,
        output: folder.path().join("after.aem"),
    };
    requantise(&after).unwrap();

    let [old, new] = [&before.output, &after.output].map(|path| {
        let bytes = std::fs::read(path).unwrap();
        PreparedModel::new(Model::read(&bytes).unwrap(), ModelId::of(&bytes))
    });
    for part in Part::ALL {
        let [old, new] = [&old, &new].map(|model| &model.model().networks[part as usize]);
        assert!(new.range(QualityIndex(255)) == (128..=255), "{}", part.name());
        assert!(old.at(QualityIndex(0)) == new.at(QualityIndex(0)), "{}", part.name());
        assert!(old.at(QualityIndex(255)) != new.at(QualityIndex(255)), "{}", part.name());
    }
    assert!(old.model().y_step_log2 == new.model().y_step_log2);
    let picture = image::open(folder.path().join("a.png")).unwrap();
    let objective = |model: &Arc<PreparedModel>| {
        let options =
            EncodeOptions { quality: 80.0, effort: 0, model: Some(model.clone()), ..Default::default() };
        let file = encode(&picture, &options).unwrap();
        let options = DecodeOptions { models: vec![model.clone()], ..Default::default() };
        let decoded = decode(&file, &options).unwrap();
        let errors = picture.as_bytes().iter().zip(decoded.as_bytes());
        let squares: f64 = errors.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        8.0 * file.len() as f64 + model.model().quality_index(80.0).unwrap().lambda() * squares / 3.0
    };
    let [old, new] = [objective(&old), objective(&new)];
    assert!(new < 0.97 * old, "{old} became {new}");

    // A model with one quantiser has no such files.
    let scalar = MODELS[by_name("c697399f").unwrap()].bytes;
    let error = Coder::of(&Model::read(scalar).unwrap()).unwrap_err();
    assert!(error.to_string().contains("one quantiser"), "{error}");
}
