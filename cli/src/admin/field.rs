//! Flags of admin commands: how they are written and what they become in a request.

use crate::token::duration;
use serde_json::{Value, json};

/// What a flag's text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Comma-separated, becomes a list.
    List,
    Number,
    /// Takes no text; stands for this.
    Is(bool),
    /// `30s`, `10m`, `7d`; a number alone is seconds; −1 is without limit.
    Seconds,
    /// As above, in whole minutes; a number alone is minutes.
    Minutes,
    /// `10K`, `5M`, `2G`, `1T`; −1 is without limit.
    Bytes,
    /// As above, in whole mebibytes; a number alone is mebibytes.
    Mebibytes,
    /// So long ago, as Unix milliseconds.
    Ago,
    /// `ledger:entry`, `earliest` or `latest`.
    MessageId,
}

/// Where the value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Replaces `{key}` in the path.
    Path,
    Query,
    /// One key of the body.
    Key,
    /// The body itself.
    Body,
}

/// Whether it must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
    /// Taken when it is not given.
    Default(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// All its spellings, separated by spaces; pulsar-admin's own among them.
    pub(super) flags: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) need: Need,
}

impl Field {
    pub(super) const fn new(flags: &'static str, key: &'static str, kind: Kind) -> Self {
        Self { flags, key, kind, place: Place::Key, need: Need::Optional }
    }

    pub(super) const fn required(self) -> Self {
        Self { need: Need::Required, ..self }
    }

    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { need: Need::Default(default), ..self }
    }

    pub(super) const fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    pub(super) fn is_called(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|own| own == flag)
    }

    pub(super) fn takes_text(&self) -> bool {
        !matches!(self.kind, Kind::Is(_))
    }

    /// `--size <10G>`, in brackets when it may be left out.
    pub(super) fn usage(&self) -> String {
        let name = self.flags.split(' ').next().unwrap_or_default();
        let text = match self.kind {
            Kind::Is(_) => String::new(),
            Kind::Text => " TEXT".to_owned(),
            Kind::List => " A,B".to_owned(),
            Kind::Number => " N".to_owned(),
            Kind::Seconds | Kind::Minutes | Kind::Ago => " TIME".to_owned(),
            Kind::Bytes | Kind::Mebibytes => " SIZE".to_owned(),
            Kind::MessageId => " LEDGER:ENTRY".to_owned(),
        };
        if self.need == Need::Required { format!("{name}{text}") } else { format!("[{name}{text}]") }
    }

    /// The value of a text.
    pub(super) fn value(&self, text: &str, now_ms: u64) -> Result<Value, String> {
        let name = self.flags.split(' ').next().unwrap_or_default();
        read(self.kind, text, now_ms).map_err(|rule| format!("{name} {text}: {rule}"))
    }
}

fn read(kind: Kind, text: &str, now_ms: u64) -> Result<Value, String> {
    let whole = |text: &str| text.parse::<i64>().map_err(|_| "it is not a whole number".to_owned());
    if text == "-1" && matches!(kind, Kind::Seconds | Kind::Minutes | Kind::Bytes | Kind::Mebibytes) {
        return Ok(json!(-1));
    }
    match kind {
        Kind::Text => Ok(json!(text)),
        Kind::List => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
        Kind::Number => whole(text).map(Value::from),
        Kind::Is(value) => Ok(json!(value)),
        Kind::Seconds => duration(text).map(|time| json!(time.as_secs())),
        Kind::Minutes => match whole(text) {
            Ok(minutes) => Ok(json!(minutes)),
            Err(_) => duration(text).map(|time| json!(time.as_secs().div_ceil(60))),
        },
        Kind::Bytes => size(text).map(|bytes| json!(bytes)),
        Kind::Mebibytes => match whole(text) {
            Ok(mebibytes) => Ok(json!(mebibytes)),
            Err(_) => size(text).map(|bytes| json!(bytes.div_ceil(1 << 20))),
        },
        Kind::Ago => {
            let ago = u64::try_from(duration(text)?.as_millis()).unwrap_or(u64::MAX);
            Ok(json!(now_ms.saturating_sub(ago)))
        }
        Kind::MessageId => message_id(text),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let bad = || "write a size like 10K, 5M, 2G or 1T".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_uppercase().trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(bad)
}

fn message_id(text: &str) -> Result<Value, String> {
    let id = |ledger: Value, entry: Value| Ok(json!({ "ledgerId": ledger, "entryId": entry, "partitionIndex": -1 }));
    match text {
        "earliest" => id(json!(-1), json!(-1)),
        "latest" => id(json!(i64::MAX), json!(i64::MAX)),
        _ => match text.split_once(':').map(|(ledger, entry)| (ledger.parse::<u64>(), entry.parse::<u64>())) {
            Some((Ok(ledger), Ok(entry))) => id(json!(ledger), json!(entry)),
            _ => Err("write LEDGER:ENTRY, earliest or latest".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: Kind, text: &str) -> Result<Value, String> {
        read(kind, text, 10_000_000)
    }

    #[test]
    fn texts_become_what_the_api_wants() {
        assert_eq!(value(Kind::List, "a, b,"), Ok(json!(["a", "b"])));
        assert_eq!(value(Kind::Minutes, "3h"), Ok(json!(180)));
        assert_eq!(value(Kind::Minutes, "5"), Ok(json!(5)));
        assert_eq!(value(Kind::Minutes, "-1"), Ok(json!(-1)));
        assert_eq!(value(Kind::Bytes, "2G"), Ok(json!(2_147_483_648_u64)));
        assert_eq!(value(Kind::Mebibytes, "1G"), Ok(json!(1024)));
        assert_eq!(value(Kind::Ago, "1h"), Ok(json!(6_400_000)));
        assert_eq!(value(Kind::MessageId, "3:4"), Ok(json!({ "ledgerId": 3, "entryId": 4, "partitionIndex": -1 })));
    }

    #[test]
    fn texts_of_another_kind_are_refused() {
        for (kind, text) in [(Kind::Number, "x"), (Kind::Bytes, "1X"), (Kind::MessageId, "3"), (Kind::Seconds, "soon")]
        {
            assert!(value(kind, text).is_err(), "{text}");
        }
    }
}
