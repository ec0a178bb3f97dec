//! What namespace and topic policies have in common: a value under a key of a JSON record, read, replaced or removed.
//!
//! **What**  A [`Policy`] row gives the path's word, the record's key and the shape of the value. Reading and checking the
//! value is left to the record's own type: it is put into the record as JSON and the record is read again.

use crate::answer::Refusal;
use crate::call::whole;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Which method sets a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setter {
    Post,
    Put,
}

/// Where in the record the value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Field,
    /// In a map from cluster to value, under this region's name.
    PerCluster,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A whole number, at least `least`; `rule` is said of others.
    Number {
        least: i64,
        rule: &'static str,
    },
    Flag,
    Text,
    List,
    Object,
}

/// One policy.
pub(crate) struct Policy {
    /// The last word of the path.
    pub path: &'static str,
    /// The key in the record's JSON.
    pub key: &'static str,
    pub place: Place,
    pub setter: Setter,
    pub shape: Shape,
}

/// The record as a JSON object.
pub(crate) fn fields(record: &impl Serialize) -> Result<Map<String, Value>, Refusal> {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) | Err(_) => Err(Refusal::new(500, "the policies cannot be shown as JSON")),
    }
}

impl Policy {
    /// The value that is set, `None` when there is none.
    pub(crate) fn value<'a>(&self, fields: &'a Map<String, Value>, cluster: &str) -> Option<&'a Value> {
        let value = fields.get(self.key)?;
        let value = match self.place {
            Place::Field => value,
            Place::PerCluster => value.get(cluster)?,
        };
        (!value.is_null()).then_some(value)
    }

    /// The record with this policy set to `value`, or removed for `None`.
    ///
    /// # Errors
    /// 412 when the record's type refuses the value.
    pub(crate) fn replaced<T: Serialize + DeserializeOwned>(
        &self,
        record: &T,
        cluster: &str,
        value: Option<&Value>,
    ) -> Result<T, Refusal> {
        let mut fields = fields(record)?;
        match (self.place, value) {
            (Place::Field, Some(value)) => {
                fields.insert(self.key.to_owned(), value.clone());
            }
            (Place::Field, None) => {
                fields.remove(self.key);
            }
            (Place::PerCluster, value) => {
                let entry = fields.entry(self.key).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(by_cluster) = entry {
                    match value {
                        Some(value) => by_cluster.insert(cluster.to_owned(), value.clone()),
                        None => by_cluster.remove(cluster),
                    };
                }
            }
        }
        serde_json::from_value(Value::Object(fields))
            .map_err(|error| Refusal::bad_value(format!("invalid value of {}: {error}", self.path)))
    }

    /// Brings a body into the policy's shape; `None` removes the policy.
    ///
    /// # Errors
    /// 412 with the rule.
    pub(crate) fn shaped(&self, body: Value) -> Result<Option<Value>, Refusal> {
        let wrong = |expected: &str| Refusal::bad_value(format!("{} takes {expected}", self.path));
        let value = match (self.shape, body) {
            (_, Value::Null) => return Ok(None),
            (Shape::Number { least, rule }, body) => match whole(&body) {
                Some(number) if number >= least => Value::from(number),
                Some(_) => return Err(Refusal::bad_value(rule)),
                None => return Err(wrong("a whole number")),
            },
            (Shape::Flag, Value::Bool(flag)) => Value::Bool(flag),
            (Shape::Flag, Value::String(text)) if text.eq_ignore_ascii_case("true") => Value::Bool(true),
            (Shape::Flag, Value::String(text)) if text.eq_ignore_ascii_case("false") => Value::Bool(false),
            (Shape::Flag, _) => return Err(wrong("true or false")),
            (Shape::Text, Value::String(text)) => Value::String(text),
            (Shape::Text, _) => return Err(wrong("a text")),
            (Shape::List, Value::Array(list)) => Value::Array(list),
            (Shape::List, _) => return Err(wrong("a list")),
            (Shape::Object, Value::Object(object)) => Value::Object(object),
            (Shape::Object, _) => return Err(wrong("an object")),
        };
        Ok(Some(value))
    }
}
