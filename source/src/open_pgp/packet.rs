//! Packets (RFC 9580, 4) and the numbers inside them.

pub(super) const SIGNATURE: u8 = 2;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const USER_ATTRIBUTE: u8 = 17;
/// Packets of one keyring or signature.
const PACKETS_MAX: usize = 20_000;

/// One packet.
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// All packets of a message.
pub(super) fn all(mut bytes: &[u8]) -> Result<Vec<Packet<'_>>, String> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (packet, rest) = one(bytes).ok_or("its packets are damaged")?;
        packets.push(packet);
        bytes = rest;
        if packets.len() > PACKETS_MAX {
            return Err(format!("it holds more than {PACKETS_MAX} packets"));
        }
    }
    Ok(packets)
}

fn one(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let (tag, length, rest) = if first & 0x40 != 0 {
        let (length, rest) = new_length(rest)?;
        (first & 0x3f, length, rest)
    } else {
        // Old format; what goes on to the end of the message is never a key or a signature.
        let width = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        let (length, rest) = rest.split_at_checked(width)?;
        ((first >> 2) & 0x0f, number(length), rest)
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((Packet { tag, body }, rest))
}

/// A length of the new format; partial ones are for data only. Subpackets count in the same way.
pub(super) fn new_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match *first {
        length @ 0..192 => Some((usize::from(length), rest)),
        high @ 192..224 => {
            let (low, rest) = rest.split_first()?;
            Some(((usize::from(high) - 192) * 256 + usize::from(*low) + 192, rest))
        }
        255 => {
            let (length, rest) = rest.split_at_checked(4)?;
            Some((number(length), rest))
        }
        224..255 => None,
    }
}

/// The length of a subpacket: like that of a packet, with two bytes up to 254.
pub(super) fn subpacket_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if (224..255).contains(first) {
        let (low, rest) = rest.split_first()?;
        return Some(((usize::from(*first) - 192) * 256 + usize::from(*low) + 192, rest));
    }
    new_length(bytes)
}

/// A big-endian number of at most four bytes.
pub(super) fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte))
}

/// A multiprecision integer: its bits, then its bytes, without leading zeros.
pub(super) fn integer<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (bits, rest) = bytes.split_at_checked(2)?;
    let (integer, rest) = rest.split_at_checked(number(bits).div_ceil(8))?;
    *bytes = rest;
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..)
}

/// The number in so many bytes.
pub(super) fn padded(integer: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; width.checked_sub(integer.len())?];
    bytes.extend_from_slice(integer);
    Some(bytes)
}
