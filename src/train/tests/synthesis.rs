//! A synthesis transform that goes on alone, on the latents of a model's files.

use image::DynamicImage;

use super::runs::{args, pictures, train};
use crate::codec::{DecodeOptions, EncodeOptions, PreparedModel, decode, encode};
use crate::container::Container;
use crate::eval::psnr;
use crate::model::{Arch, Model, ModelId, Part, QualityIndex};
use crate::train::checkpoint::Checkpoint;
use crate::train::config::{CodecArgs, Purpose};
use crate::train::import::import;
use crate::train::release::release;
use crate::train::{ExportArgs, TrainArgs};

#[test]
fn a_wider_synthesis_makes_more_of_the_same_latents() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let codec = args(folder.path(), &folder.path().join("codec"), 60);
    train(&codec).unwrap();
    let export = ExportArgs {
        run: codec.run.clone(),
        val: folder.path().join("val"),
        pictures: 1,
        name: Some("before".into()),
        onto: None,
        first_index: 0,
        output: folder.path().join("before.aem"),
    };
    release(&export).unwrap();

    let mut synthesis = TrainArgs {
        task: Purpose::Synthesis,
        from: Some(export.output.clone()),
        ..args(folder.path(), &folder.path().join("synthesis"), 80)
    };
    synthesis.codec = CodecArgs { channels: 32, inner: Some(16), synthesis_blocks: 2, ..codec.codec.clone() };
    train(&synthesis).unwrap();
    let onto = ExportArgs {
        run: synthesis.run.clone(),
        name: Some("after".into()),
        onto: Some(export.output.clone()),
        output: folder.path().join("after.aem"),
        ..export.clone()
    };
    release(&onto).unwrap();

    let picture = image::open(folder.path().join("a.png")).unwrap();
    let [before, after] = [&export, &onto].map(|export| {
        let bytes = std::fs::read(&export.output).unwrap();
        PreparedModel::new(Model::read(&bytes).unwrap(), ModelId::of(&bytes))
    });
    assert_eq!(after.model().name, "after");
    assert_eq!(after.model().arch.synthesis_channels, 32);
    for part in Part::ALL {
        let same = before.model().networks[part as usize] == after.model().networks[part as usize];
        assert_eq!(same, part != Part::Synthesis, "{}", part.name());
    }
    // It can have less of some things and more of others.
    let mut narrow = synthesis.clone();
    narrow.run = folder.path().join("narrow");
    narrow.stop_after = Some(0);
    narrow.from = Some(onto.output.clone());
    narrow.codec = CodecArgs { channels: 48, inner: Some(16), synthesis_blocks: 1, ..codec.codec.clone() };
    train(&narrow).unwrap();
    let run = Checkpoint::<Arch>::load(&narrow.run).unwrap().unwrap();
    assert_eq!((run.arch.synthesis_channels, run.arch.synthesis_blocks), (48, 1));
    let part = Part::Synthesis.name();
    let from = import(after.model(), QualityIndex(128)).unwrap();
    assert!(from.weights.iter().all(|(name, weights)| (run.weights[name] == *weights) == (name != part)));

    let look = |model: &std::sync::Arc<PreparedModel>| -> (Vec<u8>, f64) {
        let options =
            EncodeOptions { quality: 70.0, effort: 0, model: Some(model.clone()), ..Default::default() };
        let file = encode(&picture, &options).unwrap();
        let options = DecodeOptions { models: vec![model.clone()], ..Default::default() };
        let decoded: DynamicImage = decode(&file, &options).unwrap();
        (Container::read(&file).unwrap().latents.to_vec(), psnr(&picture, &decoded).unwrap().rgb)
    };
    let (old, new) = (look(&before), look(&after));
    assert!(old.0 == new.0, "other latents");
    assert!(new.1 > old.1 + 0.04, "{} dB became {} dB", old.1, new.1);

    // It can be for some qualities only, and then has the shape of those for the others.
    let mut high = TrainArgs { run: folder.path().join("high"), indices: 120..=255, ..synthesis.clone() };
    high.codec = codec.codec.clone();
    high.stop_after = Some(3);
    train(&high).unwrap();
    let high = ExportArgs {
        run: high.run,
        first_index: 128,
        output: folder.path().join("high.aem"),
        ..onto.clone()
    };
    release(&high).unwrap();
    let ranged = Model::read(&std::fs::read(&high.output).unwrap()).unwrap();
    let [old, new] = [before.model(), &ranged].map(|model| &model.networks[Part::Synthesis as usize]);
    assert!(old.range(QualityIndex(0)) == (0..=255) && new.range(QualityIndex(0)) == (0..=127));
    assert!(old.at(QualityIndex(0)) == new.at(QualityIndex(127)));
    assert!(old.at(QualityIndex(255)) != new.at(QualityIndex(128)));
    let mixed = ExportArgs { first_index: 128, ..onto.clone() };
    assert!(format!("{:#}", release(&mixed).unwrap_err()).contains("have one shape"));

    // It fits no other model.
    let other = args(folder.path(), &folder.path().join("other"), 2);
    train(&other).unwrap();
    let other = ExportArgs { run: other.run, output: folder.path().join("other.aem"), ..export };
    release(&other).unwrap();
    let stranger = ExportArgs { onto: Some(other.output), ..onto };
    assert!(format!("{:#}", release(&stranger).unwrap_err()).contains("was not trained on the latents"));
}
