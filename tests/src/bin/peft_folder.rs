//! Writes an adapter as `train adapter --peft` does, and what the engine makes of it, for the test that reads it with
//! PEFT: `peft_folder ADAPTER FOLDER`. `expected.safetensors` has for each matrix an input `x` `[5, in]` and what the
//! adapter at full strength adds to the matrix's output, `delta` `[5, out]`.
#![allow(clippy::expect_used, clippy::panic, reason = "only tests run this")]

use candle_core::{Device, Tensor};
use soundlocd_engine::lora::{Adapter, AdapterFile, CONFIG_FILE, PeftConfig, WEIGHTS_FILE};
use soundlocd_engine::pack::Pack;
use std::collections::HashMap;
use std::path::PathBuf;

fn main() {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(adapter), Some(folder)) = (paths.next(), paths.next()) else {
        panic!("usage: peft_folder ADAPTER FOLDER")
    };
    let file = AdapterFile::open(&adapter).expect("the adapter can be read");
    let config = Pack::embedded().expect("there is a default pack").manifest().transformer;
    let adapter = file.fit(&config).expect("the adapter fits the default pack");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let card = file.card().cloned().unwrap_or_default();
    AdapterFile::write(&folder.join(WEIGHTS_FILE), &card, &adapter).expect("the weights can be written");
    std::fs::write(folder.join(CONFIG_FILE), PeftConfig::json(&adapter, 0.0))
        .expect("the settings can be written");

    let mut expected = HashMap::new();
    for (target, change) in Adapter::blend(&[(&adapter, 1.0)]).expect("one adapter can be blended") {
        let (input, _) = target.shape(&config);
        let values: Vec<f32> = (0..5 * input).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::from_vec(values, (5, input), &Device::Cpu).expect("the shape is right");
        let delta = change.forward(&x).expect("the adapter fits its input");
        expected.extend([(format!("{target}.x"), x), (format!("{target}.delta"), delta)]);
    }
    candle_core::safetensors::save(&expected, folder.join("expected.safetensors"))
        .expect("they can be written");
}
