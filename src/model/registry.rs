//! The models inside this build. A released model is never changed or removed:
//! files name it by its id.

use super::ModelId;

/// A model file inside the program.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// The beginning of the SHA-256 of `bytes`.
    pub id: ModelId,
    /// The name in the file.
    pub name: &'static str,
    /// The model file.
    pub bytes: &'static [u8],
}

/// Every model of this build, of each name the newest first; the first of all is
/// the default of encoders.
pub const MODELS: &[Embedded] = &[
    Embedded {
        id: ModelId([0x59, 0x60, 0xd9, 0xaf]),
        name: "default",
        bytes: include_bytes!("../../models/5960d9af.aem"),
    },
    Embedded {
        id: ModelId([0xc6, 0x97, 0x39, 0x9f]),
        name: "default",
        bytes: include_bytes!("../../models/c697399f.aem"),
    },
];

/// The place in [`MODELS`] of the model that a file asks for.
pub fn find(id: ModelId) -> Option<usize> {
    MODELS.iter().position(|model| model.id == id)
}

/// The place in [`MODELS`] of the newest model with this name, or of the model
/// whose id this is.
pub fn by_name(name: &str) -> Option<usize> {
    MODELS.iter().position(|model| model.name == name || model.id.to_string() == name)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::model::Model;

    #[test]
    fn embedded_models_are_what_they_are_called() {
        for (index, model) in MODELS.iter().enumerate() {
            assert_eq!(Sha256::digest(model.bytes)[..4], model.id.0, "{}", model.name);
            assert_eq!(Model::read(model.bytes).unwrap().name, model.name);
            assert_eq!(find(model.id), Some(index), "{}: two models share an id", model.name);
            assert_eq!(by_name(&model.id.to_string()), Some(index));
            let newest = by_name(model.name).unwrap();
            assert!(newest <= index && MODELS[newest].name == model.name, "{}", model.name);
        }
    }
}
