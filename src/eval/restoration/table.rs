//! The means over pictures, as a table.

use std::fmt::Write;

use serde::Serialize;

/// One line: what was done to the pictures.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// Of each method, in the order they came: PSNR in dB and seconds of each picture.
    pub methods: Vec<(String, Vec<[f64; 2]>)>,
}

impl Row {
    /// A line without figures.
    pub fn new(name: String) -> Row {
        Row { name, methods: Vec::new() }
    }

    /// Adds what a method made of a picture.
    pub fn add(&mut self, method: &str, psnr: f64, seconds: f64) {
        match self.methods.iter_mut().find(|(name, _)| name == method) {
            Some((_, figures)) => figures.push([psnr, seconds]),
            None => self.methods.push((method.to_owned(), vec![[psnr, seconds]])),
        }
    }
}

/// All lines.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// What the lines are.
    pub of: &'static str,
    /// What the figures are.
    pub measure: &'static str,
    /// The lines.
    pub rows: Vec<Row>,
}

impl Table {
    /// A table without lines.
    pub fn new(of: &'static str, measure: &'static str) -> Table {
        Table { of, measure, rows: Vec::new() }
    }

    /// In Markdown: the mean PSNR and the mean seconds of each method.
    pub fn markdown(&self) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flat_map(|row| &row.methods) {
            if !methods.contains(&name.as_str()) {
                methods.push(name);
            }
        }
        let mut text = format!("{}; seconds a picture in brackets.\n\n| {} |", self.measure, self.of);
        methods.iter().for_each(|name| text += &format!(" {name} |"));
        text += "\n|---|";
        methods.iter().for_each(|_| text += "---:|");
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.name);
            for method in &methods {
                let figures = row.methods.iter().find(|(name, _)| name == method);
                let Some((_, figures)) = figures else {
                    text += " |";
                    continue;
                };
                let mean = |i: usize| figures.iter().map(|f| f[i]).sum::<f64>() / figures.len() as f64;
                let _ = write!(text, " {:.2}", mean(0));
                if mean(1) > 0.0 {
                    let _ = write!(text, " ({:.3})", mean(1));
                }
                text += " |";
            }
        }
        text + "\n"
    }
}
