//! The report: one HTML file that needs nothing else.
//!
//! `report.html` is the page, `report.css` how it looks and `report.js` what
//! draws curves and tables from the data, which is put in as JSON. Every figure
//! that takes computing is computed here, once.

use std::io::Cursor;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{DynamicImage, ImageFormat};
use serde::Serialize;
use serde_json::{Value, json};

use crate::eval::description::{DescriptionLength, description_lengths};
use crate::eval::equal::EqualSize;
use crate::eval::peers::ANCHOR;
use crate::eval::run::{Run, bits_per_pixel};
use crate::eval::score::Metric;
use crate::eval::summary::{self, BANDS, compare_all};
use crate::eval::timing::TIMED_AT;

const PAGE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The description lengths of one codec with a model.
#[derive(Debug, Serialize)]
struct Description {
    codec: usize,
    model_bytes: u64,
    lengths: Vec<DescriptionLength>,
}

/// The page of a run; `views` are the pictures to look at.
pub fn page(run: &Run, views: &[EqualSize]) -> Result<String> {
    let data = serde_json::to_string(&data(run, views)?)?;
    // Inside a script element nothing may look like its end.
    let data = data.replace('<', "\\u003c");
    let title = match run.set.as_str() {
        "" => "Rate and distortion".to_owned(),
        set => format!("Rate and distortion on {}", escape(set)),
    };
    let mut out = String::with_capacity(PAGE.len() + data.len() + SCRIPT.len() + STYLE.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the page closes its placeholders");
        out += before;
        out += match name {
            "title" => &title,
            "css" => STYLE,
            "js" => SCRIPT,
            "data" => &data,
            "version" => env!("CARGO_PKG_VERSION"),
            other => unreachable!("the page has no placeholder {other}"),
        };
        rest = after;
    }
    Ok(out + rest)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn data(run: &Run, views: &[EqualSize]) -> Result<Value> {
    let anchor = run.codec(ANCHOR);
    let averages: Vec<_> = (0..run.codecs.len()).map(|codec| summary::averages(run, codec)).collect();
    let comparisons: Vec<Value> = compare_all(run)
        .into_iter()
        .map(|comparison| {
            let mut value = json!(comparison);
            value["metric"] = json!(comparison.metric as usize);
            value["pictures"] = comparison.pictures.iter().map(|percent| rounded(*percent, 100.0)).collect();
            value
        })
        .collect();
    let points: Vec<Value> = run
        .points
        .iter()
        .map(|point| {
            let mut list = vec![json!(point.codec), json!(point.picture), json!(point.setting)];
            list.push(rounded(Some(run.bpp(point)), 1e5));
            list.extend(Metric::ALL.map(|metric| json!(metric.value(&point.scores))));
            Value::Array(list)
        })
        .collect();
    let descriptions: Vec<Description> = anchor
        .into_iter()
        .flat_map(|anchor| {
            run.codecs.iter().enumerate().filter_map(move |(codec, about)| {
                let model_bytes = about.model_bytes?;
                let lengths = description_lengths(run, anchor, codec, model_bytes);
                (!lengths.is_empty()).then_some(Description { codec, model_bytes, lengths })
            })
        })
        .collect();
    Ok(json!({
        "set": run.set,
        "date": run.date,
        "machine": run.machine,
        "metrics": Metric::ALL.map(|metric| json!({ "name": metric.name(), "unit": metric.unit() })),
        "bands": BANDS,
        "anchor": anchor,
        "pictures": run.pictures,
        "codecs": run.codecs,
        "missing": run.missing,
        "averages": averages,
        "points": points,
        "comparisons": comparisons,
        "timed_at": TIMED_AT,
        "times": run.times,
        "descriptions": descriptions,
        "views": views.iter().map(|view| view_data(run, view)).collect::<Result<Vec<Value>>>()?,
    }))
}

fn view_data(run: &Run, view: &EqualSize) -> Result<Value> {
    let picture = &run.pictures[view.picture];
    let bpp = |bytes| bits_per_pixel(bytes, picture.width, picture.height);
    let entries: Result<Vec<Value>> = view
        .entries
        .iter()
        .map(|entry| {
            Ok(json!({
                "codec": entry.codec,
                "setting": entry.setting,
                "bytes": entry.bytes,
                "bpp": bpp(entry.bytes),
                "scores": entry.scores,
                "src": source(&entry.decoded)?,
            }))
        })
        .collect();
    Ok(json!({
        "picture": view.picture,
        "bpp": rounded(Some(bpp(view.target)), 1e3),
        "width": view.original.width(),
        "height": view.original.height(),
        "original": source(&view.original)?,
        "entries": entries?,
    }))
}

/// A picture as a URL that holds it, without loss.
fn source(picture: &DynamicImage) -> Result<String> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::WebP)?;
    Ok(format!("data:image/webp;base64,{}", BASE64.encode(bytes.into_inner())))
}

fn rounded(value: Option<f64>, scale: f64) -> Value {
    json!(value.map(|value| (value * scale).round() / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let mut run = Run::new("2026-11-24".into(), "</script><b>".into(), "<i>".into());
        run.missing.push(crate::eval::run::Missing { name: "x".into(), reason: "<script>".into() });
        let page = page(&run, &[]).unwrap();
        assert_eq!(page.matches("</script>").count(), 2, "its own two only");
        assert!(page.contains("<title>Rate and distortion on &lt;i&gt;</title>"));
        assert!(!page.contains("{{") && !page.contains("http://") || page.matches("http://").count() == 2);
    }
}
