//! Pictures of a run: curves and spectrograms.

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const FONT: &[u8] = include_bytes!("../../../assets/fonts/Inter-Regular.otf");

/// Makes the window's font known to plots.
pub fn register_font() {
    // Its errors are of no use: without a font the panels have no titles.
    let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, FONT);
}

/// Draws every metric of a `metrics.jsonl` over the steps, one panel a metric: training blue, valid split red.
pub fn curves(log: &Path, picture: &Path) -> Result<()> {
    let text = std::fs::read_to_string(log).with_context(|| format!("could not read {}", log.display()))?;
    let mut series: BTreeMap<String, BTreeMap<String, Vec<(f64, f64)>>> = BTreeMap::new();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let (Some(object), Some(step)) = (value.as_object(), value["step"].as_f64()) else { continue };
        let split = value["split"].as_str().unwrap_or_default().to_owned();
        for (name, v) in object {
            if !["split", "step", "seconds"].contains(&name.as_str())
                && let Some(v) = v.as_f64()
            {
                series.entry(name.clone()).or_default().entry(split.clone()).or_default().push((step, v));
            }
        }
    }
    if series.is_empty() {
        return Ok(());
    }
    register_font();
    let columns = 3;
    let rows = series.len().div_ceil(columns);
    let root = BitMapBackend::new(picture, (1200, 260 * rows as u32)).into_drawing_area();
    let draw = |e: &dyn std::fmt::Display| anyhow!("could not draw {}: {e}", picture.display());
    root.fill(&WHITE).map_err(|e| draw(&e))?;
    for ((name, splits), area) in series.iter().zip(root.split_evenly((rows, columns))) {
        let points = || splits.values().flatten();
        let span = |f: fn(&(f64, f64)) -> f64| {
            let low = points().map(f).fold(f64::INFINITY, f64::min);
            let high = points().map(f).fold(f64::NEG_INFINITY, f64::max);
            low..if high > low { high } else { low + 1.0 }
        };
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .caption(name.replace('_', " "), ("sans-serif", 15))
            .x_label_area_size(18)
            .y_label_area_size(44)
            .build_cartesian_2d(span(|p| p.0), span(|p| p.1))
            .map_err(|e| draw(&e))?;
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(5)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 11))
            .draw()
            .map_err(|e| draw(&e))?;
        for (split, values) in splits {
            let colour = if split == "valid" { RED } else { BLUE };
            chart.draw_series(LineSeries::new(values.iter().copied(), colour)).map_err(|e| draw(&e))?;
        }
    }
    root.present().map_err(|e| draw(&e))
}

/// Draws spectrograms `[80, frames]` (y in 0..1, row-major, low band first) in rows of pictures, 3 pixels a frame.
pub fn spectrograms(rows: &[Vec<Vec<f32>>], picture: &Path) -> Result<()> {
    const BANDS: usize = 80;
    const ZOOM: u32 = 2;
    const GAP: u32 = 6;
    let frames = |mel: &Vec<f32>| (mel.len() / BANDS) as u32;
    let width = rows.iter().map(|r| r.iter().map(|m| frames(m) * ZOOM + GAP).sum::<u32>()).max().unwrap_or(1);
    let height = rows.len() as u32 * (BANDS as u32 * ZOOM + GAP);
    let root = BitMapBackend::new(picture, (width.max(1), height.max(1))).into_drawing_area();
    let draw = |e: &dyn std::fmt::Display| anyhow!("could not draw {}: {e}", picture.display());
    root.fill(&RGBColor(40, 40, 46)).map_err(|e| draw(&e))?;
    for (r, row) in rows.iter().enumerate() {
        let mut left = 0;
        for mel in row {
            let n = frames(mel);
            for band in 0..BANDS as u32 {
                for frame in 0..n {
                    let colour = magma(mel[(band * n + frame) as usize]);
                    let y = r as u32 * (BANDS as u32 * ZOOM + GAP) + (BANDS as u32 - 1 - band) * ZOOM;
                    for dy in 0..ZOOM {
                        for dx in 0..ZOOM {
                            let at = ((left + frame * ZOOM + dx) as i32, (y + dy) as i32);
                            root.draw_pixel(at, &colour).map_err(|e| draw(&e))?;
                        }
                    }
                }
            }
            left += n * ZOOM + GAP;
        }
    }
    root.present().map_err(|e| draw(&e))
}

/// Matplotlib's magma, sampled at nine points.
fn magma(value: f32) -> RGBColor {
    const STOPS: [(f32, f32, f32); 9] = [
        (0.0, 0.0, 4.0),
        (28.0, 16.0, 68.0),
        (79.0, 18.0, 123.0),
        (129.0, 37.0, 129.0),
        (181.0, 54.0, 122.0),
        (229.0, 80.0, 100.0),
        (251.0, 135.0, 97.0),
        (254.0, 194.0, 135.0),
        (252.0, 253.0, 191.0),
    ];
    let at = value.clamp(0.0, 1.0) * 8.0;
    let i = (at as usize).min(7);
    let (a, b, f) = (STOPS[i], STOPS[i + 1], at - i as f32);
    let mix = |a: f32, b: f32| (a + (b - a) * f) as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}
