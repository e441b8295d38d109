//! `aecodec train`: the trainer, and a first Ctrl-C that ends it in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aecodec::train::{TrainArgs, trainer};
use anyhow::Result;

/// Trains; an interrupt saves a checkpoint first.
pub fn run(args: &TrainArgs) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))?;
    trainer::train(args, &stop)
}
