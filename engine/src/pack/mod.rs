//! Model packs: everything needed to go from a prompt to a waveform.
//!
//! A pack is a folder with a [`Manifest`] (`pack.json`), a `tokenizer.json` and one safetensors file for each
//! [`Part`]. The default pack is compiled into the program. Whatever comes from disk is distrusted: sizes are
//! checked before anything is allocated, then the hash, then every tensor's type, shape and values.

mod error;
pub mod library;
mod manifest;
mod reference;
mod source;

pub use crate::codec::{Codec, CodecConfig};
pub use crate::vocoder::{Vocoder, VocoderConfig};
pub use error::PackError;
pub use library::Library;
pub use manifest::{FORMAT, FileEntry, Files, Manifest, Part, Sampling};
pub use reference::PackRef;
pub(crate) use source::hexadecimal;
pub use source::sha256_hex;

use crate::diffusion::transformer::Transformer;
use crate::layers::kernel::Precision;
use crate::text::TextEncoder;
use crate::weights::{Layout, Summary, Weights};
use candle_core::Device;
use candle_nn::VarBuilder;
use source::Source;
use std::borrow::Cow;
use std::path::Path;

/// Name of the manifest within a pack's folder.
pub const MANIFEST_FILE: &str = "pack.json";

/// A model pack whose manifest has been read and checked; its weights are read when asked for.
#[derive(Debug, Clone)]
pub struct Pack {
    manifest: Manifest,
    hash: String,
    source: Source,
}

impl Pack {
    /// The default pack, compiled into the program.
    ///
    /// # Errors
    /// When the program was built with a broken default pack.
    pub fn embedded() -> Result<Self, PackError> {
        Self::from_source(Source::Embedded)
    }

    /// The pack in the folder `folder`.
    ///
    /// # Errors
    /// When there is no `pack.json` in it, or it is not valid.
    pub fn open(folder: &Path) -> Result<Self, PackError> {
        Self::from_source(Source::Folder(folder.into()))
    }

    fn from_source(source: Source) -> Result<Self, PackError> {
        let json = source.manifest()?;
        Ok(Self { manifest: Manifest::parse(&json)?, hash: sha256_hex(&json), source })
    }

    /// What the pack is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `pack.json`, lower-case hexadecimal. As that holds the hash of every other file, it
    /// identifies the pack.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Checks size, hash and kind of every file, every value, and that the tensors are those of the architecture.
    /// Compiled-in files are checked here only: this program's tests vouch for them.
    ///
    /// # Errors
    /// The first file found wrong.
    pub fn verify(&self) -> Result<&Self, PackError> {
        self.manifest.files.iter().try_for_each(|file| self.source.verify(file))?;
        for part in Part::ALL {
            let weights = self.weights(part)?;
            weights.check()?;
            self.layout(part)?.check_shapes(&weights.shapes()).map_err(|source| PackError::Layout {
                file: self.manifest.files.weights(part).name.clone(),
                part,
                source,
            })?;
        }
        Ok(self)
    }

    /// The text encoder's `tokenizer.json`.
    ///
    /// # Errors
    /// When the file is missing, or of another size or hash than the manifest says.
    pub fn tokenizer(&self) -> Result<Cow<'static, [u8]>, PackError> {
        self.source.read(&self.manifest.files.tokenizer)
    }

    /// Checks that every file is there in the size that the manifest says. Reads none of them: quick enough
    /// for a list, no promise that the pack loads.
    ///
    /// # Errors
    /// The first file found wrong.
    pub fn check_sizes(&self) -> Result<(), PackError> {
        for part in Part::ALL {
            let file = self.manifest.files.weights(part);
            if file.bytes == 0 {
                return Err(PackError::Untrained { file: file.name.clone(), part });
            }
        }
        self.manifest.files.iter().try_for_each(|file| self.source.check_size(file))
    }

    /// Bytes of all its files but the manifest.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// Numbers in all weights, as the headers of the weights files say; `None` if one cannot be read.
    #[must_use]
    pub fn parameters(&self) -> Option<u64> {
        let of_part = |part| self.summary(part).ok().map(|summary| summary.parameters);
        Part::ALL.into_iter().map(of_part).try_fold(0u64, |sum, count| sum.checked_add(count?))
    }

    /// The tensors that `part` needs.
    fn layout(&self, part: Part) -> Result<Layout, PackError> {
        let Manifest { text, transformer, codec, vocoder, .. } = &self.manifest;
        let file = || self.manifest.files.weights(part).name.clone();
        let layout = match part {
            Part::Text => {
                return text.layout().map_err(|source| PackError::Text { file: file(), source });
            }
            Part::Transformer => Layout::of(|vs| Transformer::new(transformer, Precision::F32, vs)),
            Part::Codec => Layout::of(|vs| Codec::new(codec, transformer.rows, Precision::F32, vs)),
            Part::Vocoder => Layout::of(|vs| Vocoder::new(vocoder, Precision::F32, vs)),
        };
        layout.map_err(|source| PackError::Build { file: file(), part, source })
    }

    /// What the weights file of `part` holds, by its header alone.
    ///
    /// # Errors
    /// When the file is missing, of another size than the manifest says, or not a weights file.
    pub fn summary(&self, part: Part) -> Result<Summary, PackError> {
        let file = self.manifest.files.weights(part);
        if file.bytes == 0 {
            return Err(PackError::Untrained { file: file.name.clone(), part });
        }
        Ok(Summary::read(&file.name, &mut self.source.reader(file)?)?)
    }

    /// The weights of `part`.
    ///
    /// # Errors
    /// When the file is missing, of another size, kind or hash than the manifest says, or no weights file.
    pub fn weights(&self, part: Part) -> Result<Weights<'static>, PackError> {
        self.source.weights(self.manifest.files.weights(part), part)
    }

    /// Loads all parts onto `device`, for the CPU on several threads.
    ///
    /// # Errors
    /// As [`Self::weights`], and when tensors do not fit the architecture.
    pub fn load(&self, device: &Device) -> Result<Model, PackError> {
        let (text, transformer, codec, vocoder) = if device.is_cpu() {
            let sound = || rayon::join(|| self.counted_codec(device), || self.counted_vocoder(device));
            let (text, (transformer, (codec, vocoder))) = rayon::join(
                || self.counted_text_encoder(device),
                || rayon::join(|| self.counted_transformer(device), sound),
            );
            (text?, transformer?, codec?, vocoder?)
        } else {
            // A GPU has a queue for each thread: from one only, and waited for, so that others may use what it made.
            let parts = (
                self.counted_text_encoder(device)?,
                self.counted_transformer(device)?,
                self.counted_codec(device)?,
                self.counted_vocoder(device)?,
            );
            device.synchronize().map_err(|source| PackError::Device { source })?;
            parts
        };
        Ok(Model {
            parameters: text.1 + transformer.1 + codec.1 + vocoder.1,
            text: text.0,
            transformer: transformer.0,
            codec: codec.0,
            vocoder: vocoder.0,
        })
    }

    /// Loads the tokenizer and the text encoder onto `device`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn text_encoder(&self, device: &Device) -> Result<TextEncoder, PackError> {
        Ok(self.counted_text_encoder(device)?.0)
    }

    /// Loads the denoising transformer onto `device`, for inference.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn transformer(&self, device: &Device) -> Result<Transformer, PackError> {
        Ok(self.counted_transformer(device)?.0)
    }

    /// Loads the codec onto `device`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn codec(&self, device: &Device) -> Result<Codec, PackError> {
        Ok(self.counted_codec(device)?.0)
    }

    /// Loads the vocoder onto `device`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn vocoder(&self, device: &Device) -> Result<Vocoder, PackError> {
        Ok(self.counted_vocoder(device)?.0)
    }

    fn counted_text_encoder(&self, device: &Device) -> Result<(TextEncoder, u64), PackError> {
        let tokenizer = self.tokenizer()?;
        let weights = self.weights(Part::Text)?;
        let parameters = weights.parameters();
        let encoder = TextEncoder::new(&self.manifest.text, &tokenizer, weights.into_var_builder(device))
            .map_err(|source| PackError::Text { file: self.manifest.files.text.name.clone(), source })?;
        Ok((encoder, parameters))
    }

    fn counted_transformer(&self, device: &Device) -> Result<(Transformer, u64), PackError> {
        self.build(Part::Transformer, device, |vs| {
            Transformer::new(&self.manifest.transformer, Precision::fastest_on(device), vs)?.tabulated()
        })
    }

    fn counted_codec(&self, device: &Device) -> Result<(Codec, u64), PackError> {
        let rows = self.manifest.transformer.rows;
        self.build(Part::Codec, device, |vs| {
            Codec::new(&self.manifest.codec, rows, Precision::fastest_on(device), vs)
        })
    }

    fn counted_vocoder(&self, device: &Device) -> Result<(Vocoder, u64), PackError> {
        self.build(Part::Vocoder, device, |vs| {
            Vocoder::new(&self.manifest.vocoder, Precision::fastest_on(device), vs)
        })
    }

    /// Reads the weights of `part` and makes it of them; returns their number too.
    fn build<T>(
        &self,
        part: Part,
        device: &Device,
        new: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<T>,
    ) -> Result<(T, u64), PackError> {
        let weights = self.weights(part)?;
        let parameters = weights.parameters();
        let built = new(weights.into_var_builder(device)).map_err(|source| PackError::Build {
            file: self.manifest.files.weights(part).name.clone(),
            part,
            source,
        })?;
        Ok((built, parameters))
    }
}

/// All parts of a pack, loaded.
#[derive(Debug)]
pub struct Model {
    /// The text encoder, with its tokenizer.
    pub text: TextEncoder,
    /// The denoising transformer.
    pub transformer: Transformer,
    /// The spectrogram codec.
    pub codec: Codec,
    /// The vocoder.
    pub vocoder: Vocoder,
    /// Numbers in all weights.
    pub parameters: u64,
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
