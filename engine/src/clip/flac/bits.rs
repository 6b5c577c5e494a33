//! Writing bits, most significant first, and the checksums over the bytes that they make.

/// A growing string of bits.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not make a byte yet, at the bottom.
    pending: u64,
    /// How many, fewer than 8 between calls.
    count: u32,
}

impl BitWriter {
    /// Appends the low `bits` (at most 32) of `value`.
    pub(super) fn write(&mut self, value: u32, bits: u32) {
        let mask = (1u64 << bits) - 1;
        self.pending = self.pending << bits | u64::from(value) & mask;
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
        }
    }

    /// Appends the low `bits` (at most 32) of a signed value.
    pub(super) fn write_signed(&mut self, value: i32, bits: u32) {
        self.write(value.cast_unsigned(), bits);
    }

    /// Appends `value` zeros and a one.
    pub(super) fn write_unary(&mut self, mut value: u32) {
        while value >= 32 {
            self.write(0, 32);
            value -= 32;
        }
        self.write(0, value);
        self.write(1, 1);
    }

    /// Fills up the last byte with zeros.
    pub(super) fn align(&mut self) {
        if self.count > 0 {
            self.write(0, 8 - self.count);
        }
    }

    /// The bytes that are complete.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// FLAC's checksum of a frame's header: polynomial x^8 + x^2 + x + 1, from 0.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// FLAC's checksum of a frame: polynomial x^16 + x^15 + x^2 + 1, from 0.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(
            crc ^ u16::from(byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_most_significant_first() {
        let mut writer = BitWriter::default();
        writer.write(0b101, 3);
        writer.write_unary(2);
        writer.write_signed(-1, 4);
        writer.align();
        assert_eq!(writer.bytes(), [0b1010_0111, 0b1100_0000]);
        writer.write(0xDEAD_BEEF, 32);
        writer.write_unary(40);
        writer.align();
        assert_eq!(writer.bytes()[2..], [0xDE, 0xAD, 0xBE, 0xEF, 0, 0, 0, 0, 0, 0x80]);
    }

    /// The check values of CRC-8/SMBUS and CRC-16/UMTS, as these two are known elsewhere.
    #[test]
    fn checksums_have_their_check_values() {
        assert_eq!(crc8(b"123456789"), 0xF4);
        assert_eq!(crc16(b"123456789"), 0xFEE8);
    }
}
