//! The evaluation sheet: generated sounds beside the real ones, to be looked at and listened to.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use soundlocd_engine::MEL_BANDS;

use super::picture::Picture;

/// One prompt of the sheet.
pub struct Item {
    /// The caption.
    pub prompt: String,
    /// Its category.
    pub category: String,
    /// What the classifier took the generated sound for.
    pub heard: String,
    /// Spectrogram of the generated sound, frame-major.
    pub generated: Vec<f32>,
    /// Spectrogram of the real one.
    pub real: Vec<f32>,
    /// Samples of the generated sound at 22.05 kHz.
    pub generated_audio: Vec<f32>,
    /// Samples of the real one.
    pub real_audio: Vec<f32>,
}

/// Widest picture, in frames (5 s).
const MOST_FRAMES: usize = 430;
/// Cells of the PNG sheet side by side.
const COLUMNS: usize = 3;
const MARGIN: usize = 12;
/// Two lines of text above the pictures.
const HEADING: usize = 24;
const CELL: (usize, usize) = (MOST_FRAMES + MARGIN, HEADING + 2 * (MEL_BANDS + 4) + 2 * MARGIN);

/// Writes `sheet.html`, `sheet.png` and, in `sheet/`, pictures and WAV files of the items. `table` is
/// the report in Markdown.
pub fn write(folder: &Path, items: &[Item], table: &str) -> Result<()> {
    let files = folder.join("sheet");
    std::fs::create_dir_all(&files).with_context(|| format!("could not make {}", files.display()))?;
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Evaluation sheet</title>\n\
         <style>body{{font:15px/1.4 sans-serif;background:#16161a;color:#ddd;margin:2em}}\
         main{{display:grid;grid-template-columns:repeat(auto-fill,minmax(440px,1fr));gap:1.5em}}\
         figure{{margin:0}}img{{display:block;height:160px;max-width:100%;margin:4px 0;image-rendering:pixelated}}\
         audio{{height:28px;width:100%}}small{{color:#999}}pre{{color:#bbb}}</style>\n\
         <h1>Evaluation sheet</h1>\n<pre>{}</pre>\n<p>Above: generated. Below: the real recording that the \
         prompt describes. Low frequencies are at the bottom.</p>\n<main>\n",
        escape(table)
    );
    let rows = items.len().div_ceil(COLUMNS);
    let size = (MARGIN + COLUMNS * CELL.0, MARGIN + rows.max(1) * CELL.1);
    let mut png = Picture::new(size.0, size.1, [22, 22, 26]);
    for (i, item) in items.iter().enumerate() {
        let left = MARGIN + i % COLUMNS * CELL.0;
        let top = MARGIN + i / COLUMNS * CELL.1;
        let widest = MOST_FRAMES / 8;
        png.write(&format!("{:02} {}", i + 1, shorten(&item.prompt, widest - 3)), left, top, [230; 3]);
        let verdict = format!("   {}, heard as {}", item.category, item.heard);
        png.write(&shorten(&verdict, widest), left, top + 11, [150; 3]);
        let _ = writeln!(
            html,
            "<figure><figcaption>{:02}. {}<br><small>{}, heard as {}</small></figcaption>",
            i + 1,
            escape(&item.prompt),
            escape(&item.category),
            escape(&item.heard)
        );
        let sounds =
            [("generated", &item.generated, &item.generated_audio), ("real", &item.real, &item.real_audio)];
        for (row, (name, mel, audio)) in sounds.into_iter().enumerate() {
            let picture = Picture::of_mel(mel, 1, MOST_FRAMES);
            png.paste(&picture, left, top + HEADING + row * (MEL_BANDS + 4));
            let stem = format!("{:02}-{name}", i + 1);
            Picture::of_mel(mel, 2, usize::MAX / 4).save(&files.join(format!("{stem}.png")))?;
            save_wav(&files.join(format!("{stem}.wav")), audio)?;
            let _ = writeln!(
                html,
                "<img src=\"sheet/{stem}.png\" alt=\"{name}\">\
                 <audio controls preload=\"none\" src=\"sheet/{stem}.wav\"></audio>"
            );
        }
        html.push_str("</figure>\n");
    }
    html.push_str("</main></html>\n");
    png.save(&folder.join("sheet.png"))?;
    let path = folder.join("sheet.html");
    std::fs::write(&path, html).with_context(|| format!("could not write {}", path.display()))
}

/// Writes mono samples at the model's rate as 16-bit WAV.
fn save_wav(path: &Path, audio: &[f32]) -> Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: soundlocd_engine::SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let write = || -> hound::Result<()> {
        let mut writer = hound::WavWriter::create(path, spec)?;
        for sample in audio {
            writer.write_sample((sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16)?;
        }
        writer.finalize()
    };
    write().with_context(|| format!("could not write {}", path.display()))
}

/// The first `most` characters, with dots if some are missing.
fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(2)).chain("..".chars()).collect()
}

/// Text for use within HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_every_file_it_names_and_escapes_its_prompts() {
        let folder = std::env::temp_dir().join(format!("soundlocd-sheet-{}", std::process::id()));
        let item = |prompt: &str, frames: usize| Item {
            prompt: prompt.into(),
            category: "BELLS".into(),
            heard: "GLASS".into(),
            generated: vec![0.5; frames * MEL_BANDS],
            real: vec![0.7; 30 * MEL_BANDS],
            generated_audio: vec![0.1; frames * 256],
            real_audio: vec![0.1; 30 * 256],
        };
        let items = [item("A <b>bell</b> & a \"gong\"", 20), item(&"long ".repeat(40), 900), item("", 0)];
        write(&folder, &items, "| a | b |").unwrap();
        let html = std::fs::read_to_string(folder.join("sheet.html")).unwrap();
        assert!(html.contains("A &lt;b&gt;bell&lt;/b&gt; &amp; a &quot;gong&quot;"));
        for source in html.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(folder.join(source).is_file(), "{source}");
        }
        assert!(folder.join("sheet.png").is_file());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
