//! The adapters that a generator has read, and the transformer with those of the last request.

use crate::clip::AdapterUse;
use crate::diffusion::transformer::Transformer;
use crate::lora::{Adapter, AdapterFile, BaseId, LoraError};
use crate::service::AdapterRef;
use candle_core::Device;
use std::sync::Arc;

/// Adapters that stay read: a few megabytes each.
const KEPT: usize = 16;

/// An adapter that fits the base.
#[derive(Debug, Clone)]
struct Fitted {
    hash: String,
    title: String,
    /// Whether it was made for this base.
    is_for_base: bool,
    adapter: Arc<Adapter>,
}

/// The adapters of one base.
#[derive(Debug)]
pub(super) struct Adapters {
    base: BaseId,
    device: Device,
    fitted: Vec<Fitted>,
    /// The transformer that the adapters of a request have made, and which they were.
    blended: Option<(Vec<(String, f32)>, Transformer)>,
}

impl Adapters {
    pub(super) fn new(base: BaseId, device: &Device) -> Self {
        Self { base, device: device.clone(), fitted: Vec::new(), blended: None }
    }

    /// `base` with the adapters of a request, and what the clip's provenance says of them. Those at strength 0 are not
    /// even read: the base's own clip does not depend on a file that may be missing.
    ///
    /// # Errors
    /// When one cannot be read, is another file than was chosen, or does not fit the base.
    pub(super) fn apply(
        &mut self,
        base: &Transformer,
        wanted: &[AdapterRef],
    ) -> Result<(Transformer, Vec<AdapterUse>), LoraError> {
        let mut uses = Vec::new();
        let mut blend = Vec::new();
        for wanted in wanted.iter().filter(|wanted| wanted.strength != 0.0) {
            let fitted = self.fitted(base, wanted)?;
            uses.push(AdapterUse {
                name: fitted.title.clone(),
                hash: fitted.hash.clone(),
                strength: wanted.strength,
            });
            blend.push((fitted.adapter, f64::from(wanted.strength)));
        }
        if blend.is_empty() {
            return Ok((base.clone(), uses));
        }
        let key: Vec<(String, f32)> = uses.iter().map(|one| (one.hash.clone(), one.strength)).collect();
        if let Some((last, transformer)) = &self.blended
            && *last == key
        {
            return Ok((transformer.clone(), uses));
        }
        let blend: Vec<(&Adapter, f64)> =
            blend.iter().map(|(adapter, strength)| (&**adapter, *strength)).collect();
        // On the CPU thin products cost a fifth of a step, merged ones nothing, and merging takes no longer than a step.
        let transformer =
            if self.device.is_cpu() { base.clone().merged(&blend)? } else { base.clone().adapted(&blend)? };
        self.blended = Some((key, transformer.clone()));
        Ok((transformer, uses))
    }

    fn fitted(&mut self, base: &Transformer, wanted: &AdapterRef) -> Result<Fitted, LoraError> {
        let known =
            self.fitted.iter().find(|one| one.hash == wanted.hash && (one.is_for_base || wanted.force_base));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let file = AdapterFile::open(&wanted.path)?;
        if file.hash() != wanted.hash {
            return Err(LoraError::Changed { path: wanted.path.clone() });
        }
        let for_base = file.check_base(&self.base);
        let is_for_base = for_base.is_ok();
        if !wanted.force_base {
            for_base?;
        }
        let adapter = Arc::new(file.fit(base.config())?.to_device(&self.device)?);
        let fitted = Fitted { hash: wanted.hash.clone(), title: file.title(), is_for_base, adapter };
        if self.fitted.len() >= KEPT {
            self.fitted.remove(0);
        }
        self.fitted.push(fitted.clone());
        Ok(fitted)
    }
}
