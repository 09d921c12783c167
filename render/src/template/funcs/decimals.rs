//! Decimal arithmetic for `addf`, `mulf`, `divf` and their like: sprig computes them in decimals, so that `0.1 + 0.2`
//! is `0.3` and a quotient has sixteen digits after the point.

use crate::template::floats::shortest;

/// Digits after the point of a quotient.
const QUOTIENT_DIGITS: u32 = 16;

/// `digits * 10^-scale`.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    /// The shortest decimal that reads back as `value`, if it is of moderate size.
    fn of(value: f64) -> Option<Self> {
        let text = shortest(value, 'f');
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn value(self) -> Option<f64> {
        let digits = format!("{}e-{}", self.digits, self.scale);
        digits.parse().ok()
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let lift = |one: Self| one.digits.checked_mul(10_i128.checked_pow(scale - one.scale)?);
        Some((lift(self)?, lift(other)?, scale))
    }

    fn add(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Self { digits: a.checked_add(b)?, scale })
    }

    fn sub(self, other: Self) -> Option<Self> {
        self.add(Self { digits: other.digits.checked_neg()?, ..other })
    }

    fn mul(self, other: Self) -> Option<Self> {
        Some(Self {
            digits: self.digits.checked_mul(other.digits)?,
            scale: self.scale.checked_add(other.scale)?,
        })
    }

    /// Rounded half away from zero.
    fn div(self, other: Self) -> Option<Self> {
        let (a, b, _) = self.aligned(other)?;
        let lifted = a.checked_mul(10_i128.pow(QUOTIENT_DIGITS))?;
        let (quotient, rest) = (lifted.checked_div(b)?, lifted.checked_rem(b)?);
        let up = rest.unsigned_abs().checked_mul(2)? >= b.unsigned_abs();
        let step = if (a < 0) == (b < 0) { 1 } else { -1 };
        Some(Self { digits: if up { quotient + step } else { quotient }, scale: QUOTIENT_DIGITS })
    }
}

fn computed(a: f64, b: f64, exact: fn(Decimal, Decimal) -> Option<Decimal>, rough: f64) -> f64 {
    let exact = || exact(Decimal::of(a)?, Decimal::of(b)?)?.value();
    exact().unwrap_or(rough)
}

/// `a + b`
pub(super) fn add(a: f64, b: f64) -> f64 {
    computed(a, b, Decimal::add, a + b)
}

/// `a - b`
pub(super) fn sub(a: f64, b: f64) -> f64 {
    computed(a, b, Decimal::sub, a - b)
}

/// `a * b`
pub(super) fn mul(a: f64, b: f64) -> f64 {
    computed(a, b, Decimal::mul, a * b)
}

/// `a / b`
pub(super) fn div(a: f64, b: f64) -> f64 {
    computed(a, b, Decimal::div, a / b)
}
