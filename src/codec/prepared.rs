//! Models made ready to run.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::entropy::Costs;
use crate::error::{Error, Result};
use crate::model::registry::{self, MODELS};
use crate::model::{ByQuality, IntegerNetwork, Model, ModelId, Part, QualityIndex, Tensors};
use crate::nn::{Gradient, Level, Network};

/// A model with networks ready to run. Each is prepared when it is first
/// needed: a decoder has no use for the analysis.
#[derive(Debug)]
pub struct PreparedModel {
    id: ModelId,
    model: Model,
    /// Of which the networks that it lacks are read.
    file: Option<Tensors<'static>>,
    level: Level,
    networks: [ByQuality<OnceLock<Network>>; 6],
    /// For encoders that take their time.
    gradients: [ByQuality<OnceLock<Gradient>>; 6],
    /// For encoders.
    costs: OnceLock<Costs>,
}

impl PreparedModel {
    /// Prepares a model for the best instructions of this processor. `id` is
    /// the beginning of the SHA-256 of the model's file; encoded pictures hold
    /// it, so a wrong one makes files that nobody can decode.
    pub fn new(model: Model, id: ModelId) -> Arc<PreparedModel> {
        Self::at_level(model, id, Level::best())
    }

    /// The same at a given instruction level. No result depends on it.
    pub fn at_level(model: Model, id: ModelId, level: Level) -> Arc<PreparedModel> {
        Self::of_file(model, None, id, level)
    }

    fn of_file(
        model: Model,
        file: Option<Tensors<'static>>,
        id: ModelId,
        level: Level,
    ) -> Arc<PreparedModel> {
        let networks = model.networks.each_ref().map(|ranges| ranges.map(|_| OnceLock::new()));
        let gradients = model.networks.each_ref().map(|ranges| ranges.map(|_| OnceLock::new()));
        Arc::new(PreparedModel { id, model, file, level, networks, gradients, costs: OnceLock::new() })
    }

    /// What files call the model.
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The network of a part for a quality; of those that predict latents, each position's
    /// half of them.
    pub(super) fn network(&self, part: Part, quality: QualityIndex) -> Result<&Network> {
        let cell = self.networks[part as usize].at(quality);
        if let Some(network) = cell.get() {
            return Ok(network);
        }
        let network = self.integers(part, quality)?;
        let network = match part {
            // In the order of `in_first_half`.
            Part::Prior => Network::alternating(&network, self.level, 0)?,
            Part::Context => Network::alternating(&network, self.level, 1)?,
            _ => Network::new(&network, self.level)?,
        };
        Ok(cell.get_or_init(|| network))
    }

    /// The same as the model has it.
    fn integers(&self, part: Part, quality: QualityIndex) -> Result<Cow<'_, IntegerNetwork>> {
        let ranges = &self.model.networks[part as usize];
        match ranges.at(quality) {
            Some(network) => Ok(Cow::Borrowed(network)),
            None => {
                let file =
                    self.file.clone().ok_or_else(|| Error::Model(format!("no network {}", part.name())))?;
                let first = QualityIndex(*ranges.range(quality).start());
                Model::read_network(file, &self.model.arch, part, first).map(Cow::Owned)
            }
        }
    }

    /// What symbols cost.
    pub(super) fn costs(&self) -> &Costs {
        self.costs.get_or_init(|| Costs::new(&self.model.tables))
    }

    /// The network of a part for a quality, to be run in both directions.
    pub(super) fn gradient(&self, part: Part, quality: QualityIndex) -> Result<&Gradient> {
        let cell = self.gradients[part as usize].at(quality);
        if let Some(gradient) = cell.get() {
            return Ok(gradient);
        }
        let gradient = Gradient::new(&*self.integers(part, quality)?, self.level)?;
        Ok(cell.get_or_init(|| gradient))
    }
}

/// The model a file asks for, among the caller's and those of this build.
pub(super) fn find(id: ModelId, models: &[Arc<PreparedModel>]) -> Result<Arc<PreparedModel>> {
    if let Some(model) = models.iter().find(|model| model.id == id) {
        return Ok(Arc::clone(model));
    }
    let unknown = || {
        let without = if cfg!(feature = "old-models") { "" } else { " (it was built without old-models)" };
        Error::Unsupported(format!("model {id}, which this build does not have{without}"))
    };
    embedded(registry::find(id).ok_or_else(unknown)?)
}

/// The model that encoders use unless told otherwise.
pub(super) fn default_model() -> Result<Arc<PreparedModel>> {
    if MODELS.is_empty() {
        return Err(Error::Unsupported("this build has no model of its own, pass one".into()));
    }
    embedded(0)
}

/// An embedded model, read once in the life of the program.
fn embedded(index: usize) -> Result<Arc<PreparedModel>> {
    static PREPARED: [OnceLock<Arc<PreparedModel>>; MODELS.len()] = [const { OnceLock::new() }; MODELS.len()];
    let cell = &PREPARED[index];
    if let Some(model) = cell.get() {
        return Ok(Arc::clone(model));
    }
    // Networks are read when they are needed, and packed: the file's order need not be kept.
    let (file, id) = (Tensors::open(MODELS[index].bytes)?, MODELS[index].id);
    let model = Model::read_without_networks(file.clone())?;
    let model = PreparedModel::of_file(model, Some(file), id, Level::best());
    Ok(Arc::clone(cell.get_or_init(|| model)))
}
