//! Whether UDP gets through to a listener and back.
//!
//! A datagram of a QUIC version that nobody has is answered by every QUIC listener with the list of those that it has
//! (RFC 9000, section 6; RFC 8999, section 6), and keeps no state for it. It must be as long as the shortest first
//! datagram of a connection, so an answer also says that datagrams of that length get there. The answer repeats an
//! identifier that was drawn for this question, so nothing else is taken for one.

use identity::{Entropy as _, SystemEntropy};

/// Bytes of a question (RFC 9000, section 14.1).
const BYTES: usize = 1200;
/// A version that is reserved for being unknown (RFC 9000, section 15).
const VERSION: [u8; 4] = [0x5a, 0x3a, 0x7a, 0x1a];
/// Where the length of the destination's identifier is.
const DESTINATION: usize = 5;

/// What a question is known by.
pub(super) type ProbeId = [u8; 8];

/// A question, and what its answer has.
pub(super) fn question() -> (ProbeId, Vec<u8>) {
    let mut ids = [0; 16];
    SystemEntropy.fill(&mut ids);
    let (there, here) = ids.split_at(8);
    let mut datagram = vec![0xc0];
    datagram.extend(VERSION);
    for id in [there, here] {
        datagram.push(8);
        datagram.extend(id);
    }
    datagram.resize(BYTES, 0);
    let mut id = ProbeId::default();
    id.copy_from_slice(here);
    (id, datagram)
}

/// Which question a datagram answers, if it answers one.
pub(super) fn answered(datagram: &[u8]) -> Option<ProbeId> {
    let long = datagram.first()? & 0x80 != 0;
    let negotiates = datagram.get(1..DESTINATION)? == [0; 4];
    let id = datagram.get(DESTINATION + 1..DESTINATION + 9)?;
    (long && negotiates && datagram.get(DESTINATION) == Some(&8)).then(|| id.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_a_question_is_one() {
        let (id, question) = question();
        assert_eq!(question.len(), 1200);
        assert_eq!(answered(&question), None);
        let mut answer = vec![0xd0, 0, 0, 0, 0, 8];
        answer.extend(id);
        assert_eq!(answered(&answer), Some(id));
        for end in 0..answer.len() {
            assert_eq!(answered(&answer[..end]), None);
        }
        answer[4] = 1;
        assert_eq!(answered(&answer), None);
    }
}
