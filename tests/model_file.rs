//! Model files: what is written is read, and what is wrong is refused.

#[path = "support/synthetic.rs"]
mod synthetic;

use aecodec::Error;
use aecodec::model::class_filters::{CLASS_TAPS, CLASSES};
use aecodec::model::registry::MODELS;
use aecodec::model::trellis::DEPENDENT_256;
use aecodec::model::{ClassFilters, Model, Part, QualityIndex, SiteParams};
use proptest::prelude::*;

fn tiny() -> Model {
    synthetic::model(synthetic::TINY)
}

#[test]
fn a_model_survives_its_file() {
    let filters = ClassFilters { units: vec![300; 9], weights: vec![-7; 9 * CLASSES * CLASS_TAPS] };
    let corrected = Model { class_filters: Some(filters), ..tiny() };
    for model in
        [tiny(), synthetic::dependent(synthetic::TINY), synthetic::ranged(synthetic::TINY), corrected]
    {
        let bytes = model.write();
        assert_eq!(bytes, model.write());
        assert_eq!(Model::read(&bytes).unwrap(), model);
    }
}

#[test]
fn unsound_numbers_are_refused() {
    let spoil = |change: fn(&mut Model)| {
        let mut model = tiny();
        change(&mut model);
        assert!(matches!(Model::read(&model.write()), Err(Error::Model(_))));
    };
    spoil(|model| model.name = "two words".into());
    spoil(|model| model.name = String::new());
    spoil(|model| model.y_step_log2[0] = i16::MAX);
    spoil(|model| model.z_step_log2[0] = i16::MIN);
    spoil(|model| model.quality_map[3] = 200);
    spoil(|model| model.arch.synthesis_channels = 1 << 40);
    spoil(|model| model.arch.analysis_channels = 1 << 40);
    spoil(|model| model.arch.hyper_analysis_channels += 1);
    spoil(|model| model.arch.synthesis_inner += 1);
    spoil(|model| model.arch.analysis_inner = 1 << 40);
    spoil(|model| model.arch.synthesis_blocks += 1);
    spoil(|model| model.arch.analysis_blocks = 0);
    spoil(|model| model.trellis = DEPENDENT_256);
    spoil(|model| model.z_prediction = vec![1 << 14 | 1; 2 * model.arch.hyper_latents]);
    spoil(|model| {
        for params in &mut synthetic::network_mut(model, Part::Analysis).params {
            if let SiteParams::Pointwise { shifts, .. } = params {
                shifts[0] = 31;
            }
        }
    });
    for (limit, shift) in [(0, 3), (-5, 3), (5, 0), (5, 31)] {
        let mut model = tiny();
        for params in &mut synthetic::network_mut(&mut model, Part::Analysis).params {
            if let SiteParams::Gate { limit: l, shift: s } = params {
                (*l, *s) = (limit, shift);
            }
        }
        assert!(matches!(Model::read(&model.write()), Err(Error::Model(_))));
    }
}

#[test]
fn unsound_class_filters_are_refused() {
    let says = |unit: i16, weight: i16| {
        let (mut units, mut weights) = (vec![300; 9], vec![5; 9 * CLASSES * CLASS_TAPS]);
        (units[8], weights[123]) = (unit, weight);
        let model = Model { class_filters: Some(ClassFilters { units, weights }), ..tiny() };
        Model::read(&model.write()).err().map_or(String::new(), |error| error.to_string())
    };
    assert_eq!(says(4096, -4095), "");
    for (unit, weight, named) in [(0, 5, "holds 0"), (4097, 5, "holds 4097"), (9, 4096, "holds 4096")] {
        let error = says(unit, weight);
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_file_leaves_out_what_its_base_has() {
    let embedded = MODELS.iter().find(|model| model.id.to_string() == "8d18067c").unwrap();
    let whole = Model::read(embedded.bytes).unwrap();
    let based = Model { base: Some(embedded.id), name: "mine".into(), ..whole };
    let bytes = based.write();
    assert!(bytes.len() < 1000, "{} bytes", bytes.len());
    assert_eq!(Model::read(&bytes).unwrap(), based);
    let mut other = based.clone();
    other.y_step_log2[0] += 1;
    assert_eq!(Model::read(&other.write()).unwrap(), other);
    let at = bytes.windows(8).position(|window| window == b"8d18067c").unwrap();
    let mut of_none = bytes;
    of_none[at..at + 8].copy_from_slice(b"00000000");
    let error = Model::read(&of_none).unwrap_err().to_string();
    assert!(error.contains("00000000"), "{error}");

    // A base may have one as well.
    let with_base = MODELS.iter().find(|model| model.id.to_string() == "7ce32958").unwrap();
    let mut third = Model::read(with_base.bytes).unwrap();
    assert!(third.base.is_some());
    third.base = Some(with_base.id);
    third.z_step_log2[0] += 1;
    let bytes = third.write();
    assert!(bytes.len() < 3000, "{} bytes", bytes.len());
    assert_eq!(Model::read(&bytes).unwrap(), third);
}

#[test]
fn unsound_ranges_are_refused() {
    let bytes = synthetic::ranged(synthetic::TINY).write();
    let ranges = b";g_s=100,180";
    let at = bytes.windows(ranges.len()).position(|window| window == ranges).unwrap();
    for wrong in [b";g_s=180,100", b";g_s=100,100", b";g_s=000,180", b";g_s=100,256", b";g_s=100,18x"] {
        let mut bytes = bytes.clone();
        bytes[at..at + wrong.len()].copy_from_slice(wrong);
        let error = Model::read(&bytes).unwrap_err().to_string();
        assert!(error.contains(&String::from_utf8_lossy(&wrong[5..]).into_owned()), "{error}");
    }
    // A range without its network, and a network without its range.
    for (other, named) in [(b";g_s=100,181", "g_s@181"), (b";g_s=180;x=1", "belong to nothing")] {
        let mut bytes = bytes.clone();
        bytes[at..at + other.len()].copy_from_slice(other);
        let error = Model::read(&bytes).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn truncated_files_are_refused() {
    let bytes = tiny().write();
    for length in (0..bytes.len()).step_by(97) {
        assert!(matches!(Model::read(&bytes[..length]), Err(Error::Model(_))), "{length}");
    }
}

#[test]
fn qualities_between_whole_ones_interpolate() {
    let mut model = tiny();
    model.quality_map = (0..=100).map(|quality| quality * 2).collect();
    assert_eq!(model.quality_index(0.0), Some(QualityIndex(0)));
    assert_eq!(model.quality_index(50.0), Some(QualityIndex(100)));
    assert_eq!(model.quality_index(50.5), Some(QualityIndex(101)));
    assert_eq!(model.quality_index(100.0), Some(QualityIndex(200)));
    for outside in [-0.1, 100.1, f32::NAN, f32::INFINITY] {
        assert_eq!(model.quality_index(outside), None);
    }
}

proptest! {
    #[test]
    fn damaged_files_do_not_panic(position in 0usize..20_000, value in any::<u8>()) {
        let mut bytes = tiny().write();
        let position = position % bytes.len();
        bytes[position] = value;
        let _ = Model::read(&bytes);
    }
}
