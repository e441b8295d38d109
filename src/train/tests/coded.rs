//! Training on the latents that files hold.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use image::DynamicImage;

use super::runs::{args, pictures, train};
use crate::codec::{DecodeOptions, EncodeOptions, PreparedModel, decode, encode};
use crate::model::registry::{MODELS, by_name};
use crate::model::{Model, ModelId, Part, QualityIndex};
use crate::train::checkerboard::Checkerboard;
use crate::train::coded::Coder;
use crate::train::import::import;
use crate::train::kernels::Geometry;
use crate::train::model::{Batch, CodecModel, anchored, image_of_rows, pixel_rows};
use crate::train::quantize::Rounding;
use crate::train::release::release;
use crate::train::requantise::{FitArgs, requantise};
use crate::train::{ExportArgs, TrainArgs};

/// The sum of the squared differences of all samples.
fn squares(a: &DynamicImage, b: &DynamicImage) -> f64 {
    let samples = a.as_bytes().iter().zip(b.as_bytes());
    samples.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum()
}

/// What floats count of a picture is what its file has.
#[test]
fn coded_latents_take_the_bits_of_files() {
    let picture = image::open("testdata/images/parrot-256x256.png").unwrap();
    let embedded = &MODELS[by_name("fast").unwrap()];
    // Floats know nothing of filters.
    let model = Model { class_filters: None, ..Model::read(embedded.bytes).unwrap() };
    let prepared = PreparedModel::new(model.clone(), embedded.id);
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
        let decoding = DecodeOptions { models: vec![prepared.clone()], ..Default::default() };
        let decoded = decode(&file, &decoding).unwrap();
        // Hyper-latents are counted by a logistic; a file has a header and ends of streams.
        let around = 60.0 * 8.0 / f64::from(1 << 16);
        assert!(
            (bpp + around - real).abs() < around + 0.02 * real,
            "quality {quality}: {bpp} and {real} bpp"
        );
        // Rounding leads to other ways through the trellis, which cost as much.
        let cost = |bpp: f64, decoded: &DynamicImage| {
            bpp + index.lambda() * squares(&picture, decoded) / f64::from(3 << 16)
        };
        let (counted, found) = (cost(bpp + around, &counted.into()), cost(real, &decoded));
        assert!((counted / found - 1.0).abs() < 0.03, "quality {quality}: costs {counted} and {found}");
    }
}

#[test]
fn what_is_not_coded_stays_at_its_mean() {
    let coder = Coder::of(&Model::read(MODELS[by_name("fast").unwrap()].bytes).unwrap()).unwrap();
    let grid = Checkerboard(Geometry { batch: 1, height: 2, width: 2 });
    let rows = |row: &[f32]| Tensor::from_vec(row.repeat(4), (4, row.len()), &Device::Cpu).unwrap();
    let (y, steps) = (rows(&[0.9; 4]), Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap());
    let params = rows(&[0.25, 0.25, 0.25, 0.25, -20.0, -20.0, -20.0, -20.0]);
    for first in [true, false] {
        let coded = coder.code(grid, first, &y, &params, &steps).unwrap();
        assert_eq!(coded.values.iter().filter(|value| **value == 0.25).count(), 8);
        assert!(coded.values.iter().all(|value| [0.0, 0.25].contains(value)));
        assert_eq!(coded.bits, [0.0; 4]);
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
        assert!(low.at(QualityIndex(0)) != high.at(QualityIndex(0)), "{}", part.name());
        assert!(low.at(QualityIndex(128)) == high.at(QualityIndex(128)), "{}", part.name());
    }
    let after = FitArgs {
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
        let lambda = model.model().quality_index(80.0).unwrap().lambda();
        8.0 * file.len() as f64 + lambda * squares(&picture, &decoded) / 3.0
    };
    let [old, new] = [objective(&old), objective(&new)];
    assert!(new < 0.985 * old, "{old} became {new}");

    // A model with one quantiser has no such files.
    let scalar = MODELS[by_name("c697399f").unwrap()].bytes;
    let error = Coder::of(&Model::read(scalar).unwrap()).unwrap_err();
    assert!(error.to_string().contains("one quantiser"), "{error}");
}
