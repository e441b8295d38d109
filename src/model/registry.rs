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
pub static MODELS: &[Embedded] = &[
    Embedded {
        id: ModelId([0xdf, 0x35, 0x08, 0x22]),
        name: "default",
        bytes: include_bytes!("../../models/df350822.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x08, 0x76, 0xc1, 0x59]),
        name: "default",
        bytes: include_bytes!("../../models/0876c159.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0xc4, 0x6b, 0x04, 0x48]),
        name: "default",
        bytes: include_bytes!("../../models/c46b0448.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x73, 0x7a, 0x92, 0x9c]),
        name: "default",
        bytes: include_bytes!("../../models/737a929c.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x35, 0xce, 0x18, 0x8a]),
        name: "default",
        bytes: include_bytes!("../../models/35ce188a.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x9f, 0x08, 0xf6, 0x09]),
        name: "default",
        bytes: include_bytes!("../../models/9f08f609.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x72, 0x9b, 0x7f, 0xe2]),
        name: "default",
        bytes: include_bytes!("../../models/729b7fe2.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x27, 0xbb, 0x02, 0xce]),
        name: "default",
        bytes: include_bytes!("../../models/27bb02ce.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x83, 0x10, 0xed, 0xa8]),
        name: "default",
        bytes: include_bytes!("../../models/8310eda8.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x0f, 0xb4, 0xf7, 0x36]),
        name: "default",
        bytes: include_bytes!("../../models/0fb4f736.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0xc8, 0x84, 0xab, 0xdb]),
        name: "default",
        bytes: include_bytes!("../../models/c884abdb.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x2e, 0x4c, 0xf5, 0x3e]),
        name: "default",
        bytes: include_bytes!("../../models/2e4cf53e.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x59, 0x60, 0xd9, 0xaf]),
        name: "default",
        bytes: include_bytes!("../../models/5960d9af.aem"),
    },
    Embedded {
        id: ModelId([0x78, 0x91, 0x48, 0x51]),
        name: "fast",
        bytes: include_bytes!("../../models/78914851.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x51, 0x37, 0x01, 0xfa]),
        name: "fast",
        bytes: include_bytes!("../../models/513701fa.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x7c, 0xe3, 0x29, 0x58]),
        name: "fast",
        bytes: include_bytes!("../../models/7ce32958.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x7b, 0x58, 0xed, 0x1c]),
        name: "fast",
        bytes: include_bytes!("../../models/7b58ed1c.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x9d, 0x1d, 0x34, 0x3c]),
        name: "fast",
        bytes: include_bytes!("../../models/9d1d343c.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0xf8, 0xcf, 0xf5, 0xc3]),
        name: "fast",
        bytes: include_bytes!("../../models/f8cff5c3.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x8d, 0x18, 0x06, 0x7c]),
        name: "fast",
        bytes: include_bytes!("../../models/8d18067c.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x87, 0xc2, 0x7c, 0x2b]),
        name: "fast",
        bytes: include_bytes!("../../models/87c27c2b.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0xbc, 0x97, 0x0f, 0x1d]),
        name: "fast",
        bytes: include_bytes!("../../models/bc970f1d.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0xb9, 0x1c, 0x8b, 0x9e]),
        name: "fast",
        bytes: include_bytes!("../../models/b91c8b9e.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0x4a, 0x00, 0x3b, 0x09]),
        name: "fast",
        bytes: include_bytes!("../../models/4a003b09.aem"),
    },
    #[cfg(feature = "old-models")]
    Embedded {
        id: ModelId([0xc6, 0x97, 0x39, 0x9f]),
        name: "default",
        bytes: include_bytes!("../../models/c697399f.aem"),
    },
];

/// The models that restore pictures, at most one for each task, which is its name.
pub static RESTORERS: &[Embedded] = &[
    Embedded {
        id: ModelId([0x04, 0xb7, 0xb6, 0xaa]),
        name: "denoise",
        bytes: include_bytes!("../../models/04b7b6aa.aem"),
    },
    Embedded {
        id: ModelId([0xca, 0x19, 0x87, 0x21]),
        name: "upscale2",
        bytes: include_bytes!("../../models/ca198721.aem"),
    },
    Embedded {
        id: ModelId([0xec, 0x3c, 0x75, 0x7f]),
        name: "upscale3",
        bytes: include_bytes!("../../models/ec3c757f.aem"),
    },
    Embedded {
        id: ModelId([0x0d, 0x69, 0xb2, 0x27]),
        name: "upscale4",
        bytes: include_bytes!("../../models/0d69b227.aem"),
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
    use crate::model::{Model, Part, QualityIndex, RestorationModel, Tensors};

    #[test]
    fn networks_can_be_read_alone() {
        let file = MODELS[0].bytes;
        let whole = Model::read(file).unwrap();
        let tensors = Tensors::open(file).unwrap();
        let without = Model::read_without_networks(tensors.clone()).unwrap();
        for part in Part::ALL {
            let (unread, read) = (&without.networks[part as usize], &whole.networks[part as usize]);
            for ((first, unread), (_, read)) in unread.iter().zip(read.iter()) {
                assert!(unread.is_none(), "{}", part.name());
                let network = Model::read_network(tensors.clone(), &without.arch, part, first);
                assert!(network.ok() == *read, "{}", part.name());
            }
        }
        let missing = Model::read_network(tensors, &without.arch, Part::Prior, QualityIndex(1));
        assert!(missing.unwrap_err().to_string().contains("prior@1"));
        assert_eq!(Model { networks: whole.networks, ..without }.write(), file);
    }

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
        for model in RESTORERS {
            assert_eq!(Sha256::digest(model.bytes)[..4], model.id.0, "{}", model.name);
            let read = RestorationModel::read(model.bytes).unwrap();
            assert_eq!((read.name.as_str(), read.arch.task.name().as_str()), (model.name, model.name));
        }
    }
}
