//! Measurements kept on disk, so that a run goes on where the last one ended.
//!
//! A file of JSON objects, one a line, which is only ever appended to. A line
//! that was cut off by a crash is skipped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was measured before, by key. Threads may share it.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    values: HashMap<String, Value>,
    file: File,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    key: String,
    /// For people who look into the file.
    what: String,
    value: T,
}

impl Cache {
    /// Opens the cache in a folder, which is created if need be.
    pub fn open(folder: &Path) -> Result<Cache> {
        let path = folder.join("measurements.jsonl");
        let open = || -> Result<Inner> {
            fs::create_dir_all(folder)?;
            let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Line<Value>>(line).ok());
            let values = lines.map(|line| (line.key, line.value)).collect();
            let mut file = File::options().create(true).append(true).open(&path)?;
            if !text.is_empty() && !text.ends_with('\n') {
                file.write_all(b"\n")?;
            }
            Ok(Inner { values, file })
        };
        let inner = open().with_context(|| format!("cannot open the cache {}", path.display()))?;
        Ok(Cache { path, inner: Mutex::new(inner) })
    }

    /// What was stored under a key; nothing where it has another shape now.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        serde_json::from_value(inner.values.get(key)?.clone()).ok()
    }

    /// Stores a value at once, on disk too.
    pub fn put<T: Serialize>(&self, key: &str, what: &str, value: &T) -> Result<()> {
        let value = serde_json::to_value(value)?;
        let line = Line { key: key.to_owned(), what: what.to_owned(), value };
        let text = serde_json::to_string(&line)? + "\n";
        let mut inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        inner
            .file
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot write to {}", self.path.display()))?;
        inner.values.insert(line.key, line.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_and_a_torn_line_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.put("a", "first", &[1.5, 2.0]).unwrap();
        cache.put("b", "second", &"text").unwrap();
        drop(cache);
        let path = folder.path().join("measurements.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 4]).unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!(cache.get::<Vec<f64>>("a"), Some(vec![1.5, 2.0]));
        assert_eq!(cache.get::<String>("b"), None);
        assert_eq!(cache.get::<String>("a"), None, "another shape");
        cache.put("b", "second", &"again").unwrap();
        drop(cache);
        assert_eq!(Cache::open(folder.path()).unwrap().get::<String>("b").unwrap(), "again");
    }
}
