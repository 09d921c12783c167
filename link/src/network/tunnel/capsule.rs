//! Capsules (RFC 9297, section 3.2): type, length, value; a DATAGRAM's value is a context (RFC 9298: 0) and the datagram.

use bytes::{Buf as _, BytesMut};

/// The type of a DATAGRAM capsule.
const DATAGRAM: u64 = 0;
/// The longest value of a capsule; QUIC's datagrams on links have up to 1,452 bytes.
const VALUE_BYTES_MAX: u64 = 2048;

/// A capsule is longer than any that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a capsule has {0} bytes, at most {VALUE_BYTES_MAX} are taken")]
pub(crate) struct CapsuleTooLong(u64);

/// Appends a datagram; says whether it is short enough to be taken.
pub(crate) fn encode(datagram: &[u8], into: &mut Vec<u8>) -> bool {
    let length = datagram.len() + 1;
    let Some(short) = u16::try_from(length).ok().filter(|length| u64::from(*length) <= VALUE_BYTES_MAX)
    else {
        return false;
    };
    into.push(0);
    // The length in two bytes, as integers of QUIC are written (RFC 9000, section 16).
    into.extend((0x4000 | short).to_be_bytes());
    into.push(0);
    into.extend(datagram);
    true
}

/// Takes the next datagram; nothing while it is not there in full. Capsules and contexts of other kinds are skipped.
///
/// # Errors
/// [`CapsuleTooLong`], before its value is waited for.
pub(crate) fn decode(from: &mut BytesMut) -> Result<Option<BytesMut>, CapsuleTooLong> {
    loop {
        let mut rest: &[u8] = from;
        let (Some(kind), Some(length)) = (integer(&mut rest), integer(&mut rest)) else { return Ok(None) };
        if length > VALUE_BYTES_MAX {
            return Err(CapsuleTooLong(length));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if rest.len() < length {
            return Ok(None);
        }
        from.advance(from.len() - rest.len());
        let value = from.split_to(length);
        let mut inner: &[u8] = &value;
        if kind == DATAGRAM && integer(&mut inner) == Some(0) {
            let start = value.len() - inner.len();
            let mut value = value;
            value.advance(start);
            return Ok(Some(value));
        }
    }
}

/// An integer as QUIC writes them (RFC 9000, section 16).
fn integer(from: &mut &[u8]) -> Option<u64> {
    let first = *from.first()?;
    let length = 1_usize << (first >> 6);
    let bytes = from.get(..length)?;
    let value = bytes[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    *from = &from[length..];
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_however_they_are_cut() {
        let datagrams: [Vec<u8>; 4] = [vec![], vec![1], vec![2; 1200], vec![3; 1452]];
        let mut bytes = Vec::new();
        assert!(datagrams.iter().all(|datagram| encode(datagram, &mut bytes)));
        for step in [1, 2, 7, 1000, bytes.len()] {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for chunk in bytes.chunks(step) {
                buffer.extend_from_slice(chunk);
                while let Some(datagram) = decode(&mut buffer).unwrap() {
                    found.push(datagram.to_vec());
                }
            }
            assert_eq!(found, datagrams, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_not_known_is_skipped_and_what_is_too_long_is_refused_at_once() {
        // Type 0x29 with three bytes, a datagram of context 2, a datagram.
        let mut buffer = BytesMut::from(&[0x29, 3, 9, 9, 9, 0, 2, 2, 7, 0, 2, 0, 8][..]);
        assert_eq!(decode(&mut buffer).unwrap().unwrap(), &[8][..]);
        assert_eq!(decode(&mut buffer), Ok(None));
        let mut long = BytesMut::from(&[0, 0x80, 0, 0x10, 0][..]);
        assert_eq!(decode(&mut long), Err(CapsuleTooLong(4096)));
        assert!(!encode(&[0; 2048], &mut Vec::new()));
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm() {
        let mut state = 1_u64;
        for _ in 0..2_000 {
            let mut buffer = BytesMut::new();
            for _ in 0..64 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                buffer.extend_from_slice(&[state.to_be_bytes()[0]]);
            }
            while let Ok(Some(datagram)) = decode(&mut buffer) {
                assert!(datagram.len() < 64);
            }
        }
    }
}
