//! The codec against activations that the reference recorded.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::layers::silu;
use candle_core::{DType, Device};
use std::collections::HashMap;

struct Fixture {
    tensors: HashMap<String, Tensor>,
    codec: Vqgan,
}

impl Fixture {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/codec.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let config = Config {
            ch: 32,
            ch_mult: vec![1, 2],
            num_res_blocks: 1,
            resolution: 16,
            attention: vec![8],
            z_channels: 24,
            embed_dim: 12,
            n_embed: 16,
        };
        let vs = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu).pp("w");
        Self { codec: Vqgan::new(&config, Precision::F32, vs).unwrap(), tensors }
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn ids(&self, name: &str) -> Tensor {
        self.get(name).to_dtype(DType::U32).unwrap()
    }

    /// Compares with what the reference recorded under `name`.
    fn check(&self, name: &str, got: &Tensor) {
        let want = self.get(name);
        assert_eq!(got.dims(), want.dims(), "{name}");
        let largest =
            |x: &Tensor| x.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        let difference = largest(&(got - want).unwrap());
        assert!(difference <= 1e-4 * largest(want).max(1.0), "{name} differs by {difference}");
    }

    fn res_block(&self, name: &str, block: &ResBlock, x: &Tensor) -> Tensor {
        let part = |part: &str| format!("act.{name}.{part}");
        let h = block.norm1.forward(x).unwrap();
        self.check(&part("norm1"), &h);
        let h = block.conv1.forward(&silu(&h).unwrap()).unwrap();
        self.check(&part("conv1"), &h);
        let h = block.norm2.forward(&h).unwrap();
        self.check(&part("norm2"), &h);
        let h = silu(&h).unwrap();
        self.check(&part("dropout"), &h);
        self.check(&part("conv2"), &block.conv2.forward(&h).unwrap());
        let y = block.forward(x).unwrap();
        self.check(&format!("act.{name}"), &y);
        y
    }

    fn attention(&self, name: &str, block: &AttnBlock, x: &Tensor) -> Tensor {
        let part = |part: &str| format!("act.{name}.{part}");
        let h = block.norm.forward(x).unwrap();
        self.check(&part("norm"), &h);
        self.check(&part("q"), &block.q.forward(&h).unwrap());
        self.check(&part("k"), &block.k.forward(&h).unwrap());
        self.check(&part("v"), &block.v.forward(&h).unwrap());
        let y = block.forward(x).unwrap();
        self.check(&part("proj_out"), &(&y - x).unwrap());
        self.check(&format!("act.{name}"), &y);
        y
    }

    fn middle(&self, name: &str, mid: &Middle, x: &Tensor) -> Tensor {
        let x = self.res_block(&format!("{name}.block_1"), &mid.block_1, x);
        let x = self.attention(&format!("{name}.attn_1"), &mid.attn_1, &x);
        self.res_block(&format!("{name}.block_2"), &mid.block_2, &x)
    }
}

#[test]
fn encoder_agrees_with_the_reference() {
    let f = Fixture::load();
    let encoder = &f.codec.encoder;
    let x = encoder.conv_in.forward(f.get("x")).unwrap();
    f.check("act.encoder.conv_in", &x);
    let x = encoder.down[0].blocks(&x).unwrap();
    let x = halve(&x, encoder.down[0].resample.as_ref().unwrap()).unwrap();
    f.check("act.encoder.down.0.downsample", &x);
    let x = encoder.down[1].blocks(&x).unwrap();
    f.check("act.encoder.down.1.attn.0", &x);
    let x = f.middle("encoder.mid", &encoder.mid, &x);
    f.check("act.encoder.norm_out", &encoder.norm_out.forward(&x).unwrap());
    f.check("enc_out", &encoder.forward(f.get("x")).unwrap());
    f.check("quant_conv_out", &f.codec.latents(f.get("x")).unwrap());
}

#[test]
fn quantizer_and_token_order_agree_with_the_reference() {
    let f = Fixture::load();
    let quantized = f.codec.quantize(&f.codec.latents(f.get("x")).unwrap()).unwrap();
    let rows = f.ids("indices_rowmajor").flatten_all().unwrap();
    assert_eq!(quantized.ids.to_vec1::<u32>().unwrap(), rows.to_vec1::<u32>().unwrap());
    f.check("quantized", &quantized.vectors);
    f.check("quant_loss", &quantized.loss);
    let tokens = f.codec.encode(f.get("x")).unwrap();
    assert_eq!(tokens.to_vec2::<u32>().unwrap(), f.ids("tokens_timemajor").to_vec2::<u32>().unwrap());
}

#[test]
fn decoder_agrees_with_the_reference() {
    let f = Fixture::load();
    let decoder = &f.codec.decoder;
    let z = f.codec.post_quant_conv.forward(f.get("quantized")).unwrap();
    let x = decoder.conv_in.forward(&z).unwrap();
    f.check("act.decoder.conv_in", &x);
    let x = f.middle("decoder.mid", &decoder.mid, &x);
    let level = &decoder.up[1];
    let x = level.attention[0].forward(&level.blocks[0].forward(&x).unwrap()).unwrap();
    f.check("act.decoder.up.1.attn.0", &x);
    let x = level.attention[1].forward(&level.blocks[1].forward(&x).unwrap()).unwrap();
    f.check("act.decoder.up.1.attn.1", &x);
    let x = double(&x, level.resample.as_ref().unwrap()).unwrap();
    f.check("act.decoder.up.1.upsample", &x);
    let x = decoder.up[0].blocks(&x).unwrap();
    f.check("act.decoder.norm_out", &decoder.norm_out.forward(&x).unwrap());
    f.check("decoded", &f.codec.decode_latents(f.get("quantized")).unwrap());
    f.check("decoded_from_tokens", &f.codec.decode(&f.ids("tokens_timemajor"), 4).unwrap());
    f.check("rand_decoded", &f.codec.decode(&f.ids("rand_tokens_timemajor"), 4).unwrap());
}

#[test]
fn time_major_order_is_the_references_permutation() {
    let f = Fixture::load();
    let grid = Tensor::arange(0u32, 265, &Device::Cpu).unwrap().reshape((1, 1, 5, 53)).unwrap();
    // The permutation that `encode` applies to a grid of row-major ids.
    let order = grid.permute((0, 3, 2, 1)).unwrap().flatten_all().unwrap();
    let want = f.ids("perm_forward_5x53");
    assert_eq!(order.to_vec1::<u32>().unwrap(), want.to_vec1::<u32>().unwrap());
    let inverse = order.arg_sort_last_dim(true).unwrap();
    assert_eq!(inverse.to_vec1::<u32>().unwrap(), f.ids("perm_backward_5x53").to_vec1::<u32>().unwrap());
}

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
    let f = Fixture::load();
    assert!(f.codec.encode(&f.get("x").narrow(3, 0, 15).unwrap()).is_err());
    assert!(f.codec.decode(&f.ids("tokens_timemajor"), 5).is_err());
    assert!(f.codec.decode(&Tensor::new(&[[16u32, 0, 0, 0]], &Device::Cpu).unwrap(), 4).is_err());
    let vs = || VarBuilder::zeros(DType::F32, &Device::Cpu);
    for config in [
        Config { ch: 48, ..Config::default() },
        Config { ch_mult: vec![], ..Config::default() },
        Config { n_embed: usize::MAX, ..Config::default() },
    ] {
        assert!(Vqgan::new(&config, Precision::F32, vs()).is_err(), "{config:?}");
    }
}
