//! Filters for classes of blocks, fitted to a picture.

use std::sync::Arc;

use image::DynamicImage;

use crate::codec::{DecodeOptions, EncodeOptions, PreparedModel, Region, decode, encode};
use crate::model::{Model, registry};
use crate::train::class_fit::class_filters;
use crate::train::release::model_file;
use crate::train::requantise::prepared;

/// What a picture decodes to at effort 0, and the mean squared error of that.
fn decoded(picture: &DynamicImage, model: &Arc<PreparedModel>) -> (Vec<u8>, DynamicImage, f64) {
    let options =
        EncodeOptions { quality: 50.0, effort: 0, model: Some(Arc::clone(model)), ..Default::default() };
    let file = encode(picture, &options).unwrap();
    let options = DecodeOptions { models: vec![Arc::clone(model)], ..Default::default() };
    let decoded = decode(&file, &options).unwrap();
    let errors = picture.as_bytes().iter().zip(decoded.as_bytes());
    let squares: f64 = errors.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let region = Region { x: 90, y: 70, width: 33, height: 50 };
    let part = decode(&file, &DecodeOptions { region: Some(region), ..options }).unwrap();
    assert!(part == decoded.crop_imm(region.x, region.y, region.width, region.height));
    (file, decoded, squares / picture.as_bytes().len() as f64)
}

#[test]
fn filters_for_classes_correct_pictures_for_no_bits() {
    let embedded = &registry::MODELS[registry::by_name("8d18067c").unwrap()];
    let without = Model { base: Some(embedded.id), ..Model::read(embedded.bytes).unwrap() };
    let pictures = ["parrot-256x256.png", "bikes-192x128.png"]
        .map(|name| image::open(format!("testdata/images/{name}")).unwrap().to_rgb8().into());
    let filters = class_filters(&without, &pictures[..1]).unwrap();
    assert!(filters.units.is_sorted_by(|a, b| a >= b), "{:?}", filters.units);
    let with = Model { class_filters: Some(filters), ..without.clone() };
    assert!(with.write().len() < 20_000);
    let [without, with] = [without, with].map(|model| prepared(&model).unwrap());
    // Also one that they were not fitted to.
    for (picture, most) in pictures.iter().zip([0.93, 0.99]) {
        let ((old, plain, before), (new, corrected, after)) =
            (decoded(picture, &without), decoded(picture, &with));
        assert_eq!(old.len(), new.len());
        assert!(plain != corrected && after < most * before, "{before} became {after}");
    }
}

#[test]
fn a_file_is_based_on_another_where_that_spares_most_of_it() {
    let embedded = |id| registry::MODELS[registry::by_name(id).unwrap()].bytes;
    // Filters alone are its own.
    let filters = embedded("7ce32958");
    assert_eq!(model_file(Model::read(filters).unwrap()), filters);
    // Two thirds of it are its own networks.
    let networks = Model::read(embedded("513701fa")).unwrap();
    assert!(networks.base.is_some());
    let whole = Model::read(&model_file(networks.clone())).unwrap();
    assert_eq!(whole, Model { base: None, ..networks });
}
