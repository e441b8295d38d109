//! model file
