//! The two pipelines; the only place where bytes, symbols, tensors and pixels meet.
