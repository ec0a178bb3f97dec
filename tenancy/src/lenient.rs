//! Reading JSON the way Pulsar's broker does: a text where a number or a yes is expected, `null` where anything is.
//!
//! **What**  Functions for `#[serde(deserialize_with)]`. They accept `5`, `5.0`, `"5"`, `true`, `"true"`, `null`
//! (facts/pulsar-admin-rest.md §9). A number outside of the target's range is an error, not a wrap.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt::Display;

fn whole_number<E: Error>(value: &Value) -> Result<Option<i128>, E> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            // A float with a fraction is cut, as Java's JSON reader does; the cast saturates, the range check follows.
            whole
                .or_else(|| number.as_f64().map(|float| float.trunc() as i128))
                .map(Some)
                .ok_or_else(|| bad("a number", value))
        }
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => text.trim().parse().map(Some).map_err(|_| bad("a number", value)),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(bad("a number", value)),
    }
}

fn bad<E: Error>(expected: &str, found: &(impl Display + ?Sized)) -> E {
    let found: String = found.to_string().chars().take(64).collect();
    E::custom(format_args!("expected {expected}, found {found}"))
}

fn narrow<N: TryFrom<i128>, E: Error>(number: i128) -> Result<N, E> {
    N::try_from(number).map_err(|_| bad("a number within range", &number))
}

/// A whole number, or nothing for `null` and the empty text.
pub(crate) fn maybe_number<'de, D: Deserializer<'de>, N: TryFrom<i128>>(from: D) -> Result<Option<N>, D::Error> {
    whole_number(&Value::deserialize(from)?)?.map(narrow).transpose()
}

/// A whole number; `null` is 0.
pub(crate) fn number<'de, D: Deserializer<'de>, N: TryFrom<i128> + Default>(from: D) -> Result<N, D::Error> {
    Ok(maybe_number(from)?.unwrap_or_default())
}

/// A whole number; `null` is −1, Pulsar's word for "no limit" and "not set".
pub(crate) fn number_or_unset<'de, D: Deserializer<'de>, N: TryFrom<i128>>(from: D) -> Result<N, D::Error> {
    narrow(whole_number(&Value::deserialize(from)?)?.unwrap_or(-1))
}

/// A number with a fraction; `null` is 0.
pub(crate) fn float<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(from)?;
    match &value {
        Value::Null => Ok(0.0),
        Value::Number(number) => number.as_f64().ok_or_else(|| bad("a number", &value)),
        Value::String(text) => text.trim().parse().map_err(|_| bad("a number", &value)),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(bad("a number", &value)),
    }
}

/// Yes or no, or nothing for `null`.
pub(crate) fn maybe_flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(flag)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Value::String(text) if text.is_empty() => Ok(None),
        other => Err(bad("true or false", &other)),
    }
}

/// Yes or no; `null` is no.
pub(crate) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(maybe_flag(from)?.unwrap_or_default())
}

/// Anything with a default; `null` is the default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
