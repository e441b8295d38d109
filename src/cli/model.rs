//! Choosing a model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use aecodec::PreparedModel;
use aecodec::model::registry::{self, MODELS};
use aecodec::model::{Model, ModelId};

/// A model of this build by its name, or else a model file by its path.
pub fn load(name: &str) -> Result<Arc<PreparedModel>> {
    if let Some(index) = registry::by_name(name) {
        let embedded = &MODELS[index];
        return Ok(PreparedModel::new(Model::read(embedded.bytes)?, embedded.id));
    }
    if Path::new(name).is_file() {
        return read(Path::new(name));
    }
    let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    bail!("'{name}' is neither a model of this build ({}) nor a model file", known.join(", "))
}

/// A model file.
pub fn read(path: &Path) -> Result<Arc<PreparedModel>> {
    let open = || -> Result<Arc<PreparedModel>> {
        let bytes = fs::read(path)?;
        let [a, b, c, d, ..] = Sha256::digest(&bytes)[..] else { unreachable!("a digest has 32 bytes") };
        Ok(PreparedModel::new(Model::read(&bytes)?, ModelId([a, b, c, d])))
    };
    open().with_context(|| format!("cannot read the model file {}", path.display()))
}
