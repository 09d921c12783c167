//! Columns of numbers as few bytes, byte-aligned so that zstd finds what repeats.

/// Why bytes are not a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    /// Ends too soon.
    #[error("ends in the middle of a value")]
    Truncated,
    /// A number does not fit.
    #[error("holds a number over 64 bits")]
    Overflow,
    /// More values than announced or allowed.
    #[error("holds more values than announced")]
    TooMany,
    /// An encoding this version does not know.
    #[error("uses an unknown encoding")]
    Encoding,
}

type Result<T> = std::result::Result<T, ColumnError>;

/// Reads from the front of a slice.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ColumnError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ColumnError::Overflow);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ColumnError::Overflow)
    }

    /// A count that must not be over `limit`.
    pub(crate) fn count(&mut self, limit: usize) -> Result<usize> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= limit).ok_or(ColumnError::TooMany)
    }

    pub(crate) fn zigzag(&mut self) -> Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Integers by differences: of first order (values) or second (times).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    First,
    Second,
}

/// Writes integers as runs of equal differences (odd header) and stretches of unequal ones (even header).
pub(crate) fn put_integers(out: &mut Vec<u8>, values: &[i64], order: Order) {
    let (mut previous, mut slope) = (0i64, 0i64);
    let differences: Vec<i64> = values
        .iter()
        .map(|value| {
            let step = value.wrapping_sub(previous);
            previous = *value;
            match order {
                Order::First => step,
                Order::Second => {
                    let bend = step.wrapping_sub(slope);
                    slope = step;
                    bend
                }
            }
        })
        .collect();
    let mut at = 0;
    let mut literal_from = 0;
    while at < differences.len() {
        let run = differences[at..].iter().take_while(|other| **other == differences[at]).count();
        if run >= 3 {
            put_literals(out, &differences[literal_from..at]);
            put_varint(out, (run as u64) << 1 | 1);
            put_zigzag(out, differences[at]);
            literal_from = at + run;
        }
        at += run;
    }
    put_literals(out, &differences[literal_from..]);
}

fn put_literals(out: &mut Vec<u8>, differences: &[i64]) {
    if differences.is_empty() {
        return;
    }
    put_varint(out, (differences.len() as u64) << 1);
    differences.iter().for_each(|difference| put_zigzag(out, *difference));
}

/// Reads exactly `count` integers.
pub(crate) fn integers(reader: &mut Reader<'_>, count: usize, order: Order) -> Result<Vec<i64>> {
    let mut values = Vec::with_capacity(count.min(reader.0.len().saturating_mul(64)));
    let (mut previous, mut slope) = (0i64, 0i64);
    let mut push = |values: &mut Vec<i64>, difference: i64| {
        slope = match order {
            Order::First => difference,
            Order::Second => slope.wrapping_add(difference),
        };
        previous = previous.wrapping_add(slope);
        values.push(previous);
    };
    while values.len() < count {
        let header = reader.varint()?;
        let length = usize::try_from(header >> 1).map_err(|_| ColumnError::TooMany)?;
        if length == 0 || length > count - values.len() {
            return Err(ColumnError::TooMany);
        }
        if header & 1 == 1 {
            let difference = reader.zigzag()?;
            (0..length).for_each(|_| push(&mut values, difference));
        } else {
            for _ in 0..length {
                let difference = reader.zigzag()?;
                push(&mut values, difference);
            }
        }
    }
    Ok(values)
}

/// Largest integer that every smaller one shares with `f64` exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Encodings 0..=6: integers divided by that power of ten; the rest below.
const DECIMALS: u8 = 6;
const SECOND_ORDER: u8 = 7;
const XOR: u8 = 8;

/// Writes numbers, exactly, by whichever encoding fits: decimals as integers, else XOR with the previous.
pub(crate) fn put_numbers(out: &mut Vec<u8>, values: &[f64]) {
    for decimals in 0..=DECIMALS {
        if let Some(integers) = scaled(values, decimals) {
            out.push(decimals);
            let from = out.len();
            put_integers(out, &integers, Order::First);
            if decimals == 0 && values.len() > 4 {
                let mut second = Vec::with_capacity(out.len() - from);
                put_integers(&mut second, &integers, Order::Second);
                if second.len() < out.len() - from {
                    out.truncate(from);
                    out[from - 1] = SECOND_ORDER;
                    out.extend_from_slice(&second);
                }
            }
            return;
        }
    }
    out.push(XOR);
    put_xor(out, values);
}

/// The values times a power of ten, when that loses nothing.
fn scaled(values: &[f64], decimals: u8) -> Option<Vec<i64>> {
    let scale = 10f64.powi(i32::from(decimals));
    values
        .iter()
        .map(|value| {
            let integer = (value * scale).round();
            let exact = integer.abs() < EXACT && (integer / scale).to_bits() == value.to_bits();
            exact.then_some(integer as i64)
        })
        .collect()
}

/// Each value as XOR with the previous: `0x01..=0x7f` repeats, else `0x80 | leading << 3 | trailing` zero
/// bytes and the bytes between.
fn put_xor(out: &mut Vec<u8>, values: &[f64]) {
    let mut previous = 0u64;
    let mut repeats = 0u8;
    for value in values {
        let different = value.to_bits() ^ previous;
        previous = value.to_bits();
        if different == 0 && repeats < 0x7f {
            repeats += 1;
            continue;
        }
        if repeats > 0 {
            out.push(repeats);
        }
        repeats = u8::from(different == 0);
        if different != 0 {
            let (leading, trailing) =
                ((different.leading_zeros() / 8) as usize, (different.trailing_zeros() / 8) as usize);
            out.push(0x80 | (leading as u8) << 3 | trailing as u8);
            out.extend_from_slice(&different.to_be_bytes()[leading..8 - trailing]);
        }
    }
    if repeats > 0 {
        out.push(repeats);
    }
}

/// Reads exactly `count` numbers.
pub(crate) fn numbers(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>> {
    let encoding = reader.byte()?;
    match encoding {
        0..=DECIMALS => {
            let scale = 10f64.powi(i32::from(encoding));
            let scaled = integers(reader, count, Order::First)?;
            Ok(scaled.into_iter().map(|integer| integer as f64 / scale).collect())
        }
        SECOND_ORDER => {
            Ok(integers(reader, count, Order::Second)?.into_iter().map(|integer| integer as f64).collect())
        }
        XOR => xored(reader, count),
        _ => Err(ColumnError::Encoding),
    }
}

fn xored(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>> {
    let mut values = Vec::with_capacity(count.min(reader.0.len().saturating_mul(0x7f)));
    let mut previous = 0u64;
    while values.len() < count {
        let control = reader.byte()?;
        if control & 0x80 == 0 {
            let repeats = usize::from(control);
            if repeats == 0 || repeats > count - values.len() {
                return Err(ColumnError::TooMany);
            }
            values.extend(std::iter::repeat_n(f64::from_bits(previous), repeats));
            continue;
        }
        let (leading, trailing) = (usize::from(control >> 3 & 7), usize::from(control & 7));
        if leading + trailing >= 8 {
            return Err(ColumnError::Encoding);
        }
        let mut bytes = [0; 8];
        bytes[leading..8 - trailing].copy_from_slice(reader.take(8 - leading - trailing)?);
        previous ^= u64::from_be_bytes(bytes);
        values.push(f64::from_bits(previous));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(values: &[f64]) -> (Vec<u64>, usize) {
        let mut out = Vec::new();
        put_numbers(&mut out, values);
        let mut reader = Reader(&out);
        let back = numbers(&mut reader, values.len()).unwrap();
        assert!(reader.0.is_empty());
        (back.iter().map(|value| value.to_bits()).collect(), out.len())
    }

    #[test]
    fn what_is_regular_is_small() {
        assert!(through(&[5.0; 1000]).1 <= 8);
        let steady: Vec<f64> = (0..1000).map(|index| f64::from(index) * 7.0).collect();
        assert!(through(&steady).1 <= 10);
        let cents: Vec<f64> = (0..100).map(|index| f64::from(index % 7) / 100.0).collect();
        assert!(through(&cents).1 <= 120);
    }

    proptest! {
        #[test]
        fn numbers_read_back_bit_by_bit(values in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..50)) {
            let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(through(&values).0, bits);
        }

        #[test]
        fn small_decimals_read_back_bit_by_bit(values in prop::collection::vec(-1000i32..1000, 0..50), scale in 1u32..5) {
            let values: Vec<f64> = values.into_iter().map(|value| f64::from(value) / 10f64.powi(scale as i32)).collect();
            let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(through(&values).0, bits);
        }

        #[test]
        fn integers_read_back(values in prop::collection::vec(any::<i64>(), 0..50), second: bool) {
            let order = if second { Order::Second } else { Order::First };
            let mut out = Vec::new();
            put_integers(&mut out, &values, order);
            prop_assert_eq!(integers(&mut Reader(&out), values.len(), order).unwrap(), values);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), count in 0usize..10_000) {
            let _ = numbers(&mut Reader(&bytes), count);
            let _ = integers(&mut Reader(&bytes), count, Order::Second);
        }
    }
}
