//! The codec against every activation that the reference recorded, under PyTorch's names of its modules.

use super::*;
use crate::layers::silu;
use crate::parity::{Fixture, Fixtures, ParityError, Report, Tolerance};
use candle_core::{DType, Device};
use std::collections::BTreeMap;

/// `codec`: encoder, quantizer, decoder, and the order of the tokens.
pub(crate) fn stage(fixtures: &Fixtures) -> std::result::Result<Report, ParityError> {
    let fixture = fixtures.open("codec")?;
    let mut report = Report::default();
    let config = Config {
        ch: fixture.number("ch")?,
        ch_mult: fixture.numbers("ch_mult")?,
        num_res_blocks: fixture.number("nrb")?,
        resolution: fixture.number("res")?,
        attention: fixture.numbers("attn")?,
        z_channels: fixture.number("z")?,
        embed_dim: fixture.number("emb")?,
        n_embed: fixture.number("n")?,
    };
    let vs = VarBuilder::from_tensors(fixture.part("w."), DType::F32, &Device::Cpu);
    let codec = Vqgan::new(&config, Precision::F32, vs)?;
    let x = fixture.get("x")?;
    let ids = |name: &str| -> std::result::Result<Tensor, ParityError> {
        Ok(fixture.get(name)?.to_dtype(DType::U32)?)
    };

    // The path that generation and training take.
    report.tensor(&fixture, "enc_out", &codec.encoder.forward(&x)?, Tolerance::ACTIVATION)?;
    let latents = codec.latents(&x)?;
    report.tensor(&fixture, "quant_conv_out", &latents, Tolerance::ACTIVATION)?;
    let quantized = codec.quantize(&latents)?;
    let found = quantized.ids.to_vec1::<u32>()?;
    report.ids("indices_rowmajor", &found, &fixture.ids("indices_rowmajor")?);
    report.tensor(&fixture, "quantized", &quantized.vectors, Tolerance::ACTIVATION)?;
    report.tensor(&fixture, "quant_loss", &quantized.loss, Tolerance::ACTIVATION)?;
    let tokens = codec.encode(&x)?.flatten_all()?.to_vec1::<u32>()?;
    report.ids("tokens_timemajor", &tokens, &fixture.ids("tokens_timemajor")?);
    let decoded = codec.decode_latents(&fixture.get("quantized")?)?;
    report.tensor(&fixture, "decoded", &decoded, Tolerance::ACTIVATION)?;
    let rows = latents.dim(2)?;
    for (tokens, name) in
        [("tokens_timemajor", "decoded_from_tokens"), ("rand_tokens_timemajor", "rand_decoded")]
    {
        report.tensor(&fixture, name, &codec.decode(&ids(tokens)?, rows)?, Tolerance::ACTIVATION)?;
    }
    token_order(&fixture, &mut report)?;

    // The same in the steps of the modules.
    let mut taken = Activations::default();
    taken.encoder(&codec.encoder, &x)?;
    taken.decoder(&codec.decoder, &codec.post_quant_conv.forward(&fixture.get("quantized")?)?)?;
    for name in fixture.under("act.") {
        match taken.0.get(&name) {
            Some(got) => report.tensor(&fixture, &format!("act.{name}"), got, Tolerance::ACTIVATION)?,
            None => report.fail(format!("act.{name}: recorded, but unknown here")),
        }
    }
    Ok(report)
}

/// The permutation of a grid `perm_forward_5x53` and its inverse: every fixture names its own size.
fn token_order(fixture: &Fixture, report: &mut Report) -> std::result::Result<(), ParityError> {
    for name in fixture.under("perm_forward_") {
        let (recorded, inverse) = (format!("perm_forward_{name}"), format!("perm_backward_{name}"));
        let size = name.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
        let Some((height, width)): Option<(usize, usize)> = size else {
            return Err(fixture.unusable(&recorded, "names no size, such as 5x53"));
        };
        // As `encode` orders a grid of row-major ids.
        let grid = Tensor::arange(0u32, (height * width) as u32, &Device::Cpu)?;
        let order = grid.reshape((1, 1, height, width))?.permute((0, 3, 2, 1))?.flatten_all()?;
        report.ids(&recorded, &order.to_vec1()?, &fixture.ids(&recorded)?);
        let back = order.arg_sort_last_dim(true)?;
        report.ids(&inverse, &back.to_vec1()?, &fixture.ids(&inverse)?);
    }
    Ok(())
}

/// What the modules give, by their names.
#[derive(Default)]
struct Activations(BTreeMap<String, Tensor>);

impl Activations {
    fn keep(&mut self, name: String, x: &Tensor) {
        self.0.insert(name, x.clone());
    }

    fn encoder(&mut self, encoder: &Encoder, x: &Tensor) -> Result<()> {
        let mut x = encoder.conv_in.forward(x)?;
        self.keep("encoder.conv_in".into(), &x);
        for (i, level) in encoder.down.iter().enumerate() {
            x = self.blocks(&format!("encoder.down.{i}"), level, &x)?;
            if let Some(conv) = &level.resample {
                x = halve(&x, conv)?;
                self.keep(format!("encoder.down.{i}.downsample"), &x);
            }
        }
        let x = self.middle("encoder.mid", &encoder.mid, &x)?;
        let x = encoder.norm_out.forward(&x)?;
        self.keep("encoder.norm_out".into(), &x);
        self.keep("encoder.conv_out".into(), &encoder.conv_out.forward(&silu(&x)?)?);
        Ok(())
    }

    fn decoder(&mut self, decoder: &Decoder, z: &Tensor) -> Result<()> {
        let x = decoder.conv_in.forward(z)?;
        self.keep("decoder.conv_in".into(), &x);
        let mut x = self.middle("decoder.mid", &decoder.mid, &x)?;
        for (i, level) in decoder.up.iter().enumerate().rev() {
            x = self.blocks(&format!("decoder.up.{i}"), level, &x)?;
            if let Some(conv) = &level.resample {
                x = double(&x, conv)?;
                self.keep(format!("decoder.up.{i}.upsample"), &x);
            }
        }
        let x = decoder.norm_out.forward(&x)?;
        self.keep("decoder.norm_out".into(), &x);
        self.keep("decoder.conv_out".into(), &decoder.conv_out.forward(&silu(&x)?)?);
        Ok(())
    }

    fn blocks(&mut self, name: &str, level: &Level, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, block) in level.blocks.iter().enumerate() {
            x = self.residual(&format!("{name}.block.{i}"), block, &x)?;
            if let Some(attention) = level.attention.get(i) {
                x = self.attention(&format!("{name}.attn.{i}"), attention, &x)?;
            }
        }
        Ok(x)
    }

    fn middle(&mut self, name: &str, mid: &Middle, x: &Tensor) -> Result<Tensor> {
        let x = self.residual(&format!("{name}.block_1"), &mid.block_1, x)?;
        let x = self.attention(&format!("{name}.attn_1"), &mid.attn_1, &x)?;
        self.residual(&format!("{name}.block_2"), &mid.block_2, &x)
    }

    fn residual(&mut self, name: &str, block: &ResBlock, x: &Tensor) -> Result<Tensor> {
        let h = block.norm1.forward(x)?;
        self.keep(format!("{name}.norm1"), &h);
        let h = block.conv1.forward(&silu(&h)?)?;
        self.keep(format!("{name}.conv1"), &h);
        let h = block.norm2.forward(&h)?;
        self.keep(format!("{name}.norm2"), &h);
        let h = silu(&h)?;
        // Dropout is off: what it gives is what it gets.
        self.keep(format!("{name}.dropout"), &h);
        self.keep(format!("{name}.conv2"), &block.conv2.forward(&h)?);
        if let Some(shortcut) = &block.shortcut {
            self.keep(format!("{name}.nin_shortcut"), &shortcut.forward(x)?);
        }
        let y = block.forward(x)?;
        self.keep(name.into(), &y);
        Ok(y)
    }

    fn attention(&mut self, name: &str, block: &AttnBlock, x: &Tensor) -> Result<Tensor> {
        let h = block.norm.forward(x)?;
        self.keep(format!("{name}.norm"), &h);
        for (part, conv) in [("q", &block.q), ("k", &block.k), ("v", &block.v)] {
            self.keep(format!("{name}.{part}"), &conv.forward(&h)?);
        }
        let y = block.forward(x)?;
        self.keep(format!("{name}.proj_out"), &(&y - x)?);
        self.keep(name.into(), &y);
        Ok(y)
    }
}
