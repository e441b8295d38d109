//! Choosing a model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use aecodec::PreparedModel;
use aecodec::model::registry::{self, MODELS};
use aecodec::model::{Model, ModelId, RestorationModel};
use aecodec::restore::Restorer;

/// A model of this build by its name or id, or else a model file by its path.
pub fn load(name: &str) -> Result<Arc<PreparedModel>> {
    if let Some(index) = registry::by_name(name) {
        let embedded = &MODELS[index];
        return Ok(PreparedModel::new(Model::read(embedded.bytes)?, embedded.id));
    }
    if Path::new(name).is_file() {
        return read(Path::new(name));
    }
    let known: Vec<&str> = names().collect();
    bail!("'{name}' is neither a model of this build ({}) nor a model file", known.join(", "))
}

/// What a report says of a model.
pub struct Description {
    /// The name inside the file.
    pub name: String,
    /// What coded pictures call it.
    pub id: ModelId,
    /// The size of its file.
    pub bytes: u64,
    /// What it was asked for by; nothing for the default.
    pub argument: Option<String>,
    /// Whether that is the path of a file.
    pub is_file: bool,
}

/// The names of the models of this build.
pub fn names() -> impl Iterator<Item = &'static str> {
    let newest = |index: &usize| registry::by_name(MODELS[*index].name) == Some(*index);
    (0..MODELS.len()).filter(newest).map(|index| MODELS[index].name)
}

/// The default model, or the one that [`load`] finds.
pub fn describe(name: Option<&str>) -> Result<Description> {
    let argument = name.map(str::to_owned);
    let embedded = match name {
        None => Some(MODELS.first().context("this build has no model of its own, name one")?),
        Some(name) => registry::by_name(name).map(|index| &MODELS[index]),
    };
    if let Some(model) = embedded {
        let (name, bytes) = (model.name.to_owned(), model.bytes.len() as u64);
        return Ok(Description { name, id: model.id, bytes, argument, is_file: false });
    }
    let path = name.unwrap_or_default();
    let model = load(path)?;
    let bytes = fs::metadata(path)?.len();
    Ok(Description { name: model.model().name.clone(), id: model.id(), bytes, argument, is_file: true })
}

/// The file of a model that restores pictures.
pub fn restorer(path: &Path) -> Result<Arc<Restorer>> {
    let open = || -> Result<Arc<Restorer>> {
        let bytes = fs::read(path)?;
        Ok(Restorer::new(RestorationModel::read(&bytes)?, ModelId::of(&bytes))?)
    };
    open().with_context(|| format!("cannot read the model file {}", path.display()))
}

/// A codec's model file.
pub fn read(path: &Path) -> Result<Arc<PreparedModel>> {
    let open = || -> Result<Arc<PreparedModel>> {
        let bytes = fs::read(path)?;
        Ok(PreparedModel::new(Model::read(&bytes)?, ModelId::of(&bytes)))
    };
    open().with_context(|| format!("cannot read the model file {}", path.display()))
}
