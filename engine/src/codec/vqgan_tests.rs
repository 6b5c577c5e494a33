//! The codec's size, and what it refuses. Its numbers: [`super::parity`].

#![allow(clippy::unwrap_used)]

use super::*;
use candle_core::{DType, Device};

#[test]
fn the_default_is_the_papers_size() {
    let map = candle_nn::VarMap::new();
    let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    Vqgan::new(&Config::default(), Precision::F32, vs).unwrap();
    let data = map.data().lock().unwrap();
    assert_eq!(data.values().map(|v| v.elem_count()).sum::<usize>(), 71_940_481);
    assert!(data.contains_key("encoder.down.2.block.0.nin_shortcut.weight"));
    assert!(data.contains_key("decoder.up.4.attn.2.proj_out.bias"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = Config { ch: 32, ch_mult: vec![1, 2], num_res_blocks: 1, n_embed: 16, ..Config::default() };
    let codec = Vqgan::new(&config, Precision::F32, VarBuilder::zeros(DType::F32, &Device::Cpu)).unwrap();
    let picture = |width| Tensor::zeros((1, 1, 8, width), DType::F32, &Device::Cpu).unwrap();
    assert!(codec.encode(&picture(16)).is_ok() && codec.encode(&picture(15)).is_err());
    let ids = |last: u32| Tensor::new(&[[0, 0, 0, last]], &Device::Cpu).unwrap();
    assert!(codec.decode(&ids(15), 4).is_ok());
    assert!(codec.decode(&ids(15), 3).is_err());
    assert!(codec.decode(&ids(16), 4).is_err());
    let vs = || VarBuilder::zeros(DType::F32, &Device::Cpu);
    for config in [
        Config { ch: 48, ..Config::default() },
        Config { ch_mult: vec![], ..Config::default() },
        Config { n_embed: usize::MAX, ..Config::default() },
    ] {
        assert!(Vqgan::new(&config, Precision::F32, vs()).is_err(), "{config:?}");
    }
}
