//! What the network says of a packet that a peer did not get (RFC 8656 sections 11.5 and 18.13).

/// An ICMP message, as far as the ICMP attribute tells of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Icmp {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The next hop's MTU in bytes where a packet was too big for it, else 0.
    pub data: u32,
}

impl Icmp {
    /// The attribute's value: 16 bits reserved, 7 for the type and 9 for the code, 32 for the data.
    pub(super) fn to_value(self) -> [u8; 8] {
        let type_and_code = u16::from(self.kind & 0x7f) << 9 | u16::from(self.code);
        let mut value = [0; 8];
        value[2..4].copy_from_slice(&type_and_code.to_be_bytes());
        value[4..].copy_from_slice(&self.data.to_be_bytes());
        value
    }

    /// What a value says, if it has the length of one.
    pub(super) fn from_value(value: &[u8]) -> Option<Self> {
        let (&[_, _, high, low], data) = value.split_first_chunk()?;
        let type_and_code = u16::from_be_bytes([high, low]);
        let data = u32::from_be_bytes(data.try_into().ok()?);
        Some(Self { kind: (type_and_code >> 9) as u8, code: type_and_code as u8, data })
    }
}
