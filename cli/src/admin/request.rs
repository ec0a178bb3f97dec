//! From the words of a command to a request.

use super::field::{Field, Need, Place};
use super::verbs::{Verb, all};
use crate::client::full_topic;
use crate::http::encode;
use serde_json::{Map, Value};

/// What to send.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

/// Why words are no command; the text for the user.
pub(super) type Misuse = String;

/// Finds the command.
pub(super) fn find(noun: &str, verb: &str, rest: &[String]) -> Result<&'static Verb, Misuse> {
    // One verb of pulsar-admin is two requests here.
    let verb = match (noun, verb) {
        ("topics", "reset-cursor") if rest.iter().any(|word| word == "-t" || word == "--time") => {
            "reset-cursor-to-time"
        }
        ("topics", "reset-cursor") => "reset-cursor-to-id",
        _ => verb,
    };
    all().find(|own| own.is_called(noun, verb)).ok_or_else(|| match all().any(|own| own.noun == noun) {
        true => format!("`{noun} {verb}` is unknown; `meridian admin {noun}` lists what there is"),
        false => format!("'{noun}' is unknown; `meridian admin` lists what there is"),
    })
}

/// Reads the words behind noun and verb.
pub(super) fn read(verb: &'static Verb, words: &[String], now_ms: u64) -> Result<Request, Misuse> {
    let misuse = |what: &str| format!("{what}\nusage: meridian admin {}", verb.usage());
    let mut arguments = Vec::new();
    let mut given: Vec<(&Field, Value)> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, text)) if flag.starts_with("--") => (flag, Some(text)),
            _ => (word.as_str(), None),
        };
        if !flag.starts_with('-') {
            arguments.push(word.as_str());
            continue;
        }
        let field = verb.fields.iter().find(|field| field.is_called(flag));
        let field = field.ok_or_else(|| misuse(&format!("{flag} is unknown here")))?;
        let text = match inline {
            Some(text) => text,
            None if !field.takes_text() => "",
            None => words.next().ok_or_else(|| misuse(&format!("{flag} needs a value")))?,
        };
        given.push((field, field.value(text, now_ms).map_err(|rule| misuse(&rule))?));
    }
    for field in verb.fields {
        match field.need {
            _ if given.iter().any(|(own, _)| own.flags == field.flags) => (),
            Need::Required => return Err(misuse(&format!("{} is missing", field.usage()))),
            Need::Default(text) => given.push((field, field.value(text, now_ms).map_err(|rule| misuse(&rule))?)),
            Need::Optional => (),
        }
    }
    build(verb, &arguments, given).map_err(|what| misuse(&what))
}

fn build(verb: &'static Verb, arguments: &[&str], given: Vec<(&Field, Value)>) -> Result<Request, Misuse> {
    let mut path = if verb.path.starts_with('/') { verb.path.to_owned() } else { format!("/admin/v2/{}", verb.path) };
    let names: Vec<&str> = verb.arguments().collect();
    if names.len() != arguments.len() {
        return Err(format!("it takes {} arguments, not {}", names.len(), arguments.len()));
    }
    for (name, text) in names.iter().zip(arguments) {
        path = path.replace(&format!("{{{name}}}"), &argument(name, text)?);
    }
    let mut query = Vec::new();
    let mut keys = Map::new();
    let mut whole = None;
    for (field, value) in given {
        let text = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match field.place {
            Place::Path => path = path.replace(&format!("{{{}}}", field.key), &encode(&text())),
            Place::Query => query.push(format!("{}={}", field.key, encode(&text()))),
            Place::Key => drop(keys.insert(field.key.to_owned(), value)),
            Place::Body => whole = Some(value),
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let has_keys = verb.fields.iter().any(|field| field.place == Place::Key);
    let body = whole.or_else(|| has_keys.then_some(Value::Object(keys)));
    if body.is_none() && verb.fields.iter().any(|field| field.place == Place::Body) && verb.method == "POST" {
        return Err("say what it shall be".to_owned());
    }
    Ok(Request { method: verb.method, path, body })
}

fn argument(name: &str, text: &str) -> Result<String, Misuse> {
    match name {
        "ns" => match text.split_once('/') {
            Some((tenant, namespace)) if !namespace.contains('/') => {
                Ok(format!("{}/{}", encode(tenant), encode(namespace)))
            }
            _ => Err(format!("'{text}' is not TENANT/NAMESPACE")),
        },
        "topic" => {
            let full = full_topic(text);
            let (domain, rest) = full.split_once("://").unwrap_or(("persistent", &full));
            match rest.splitn(3, '/').collect::<Vec<_>>().as_slice() {
                [tenant, namespace, topic] => {
                    Ok(format!("{domain}/{}/{}/{}", encode(tenant), encode(namespace), encode(topic)))
                }
                _ => Err(format!("'{text}' is no topic: write persistent://tenant/namespace/topic")),
            }
        }
        _ => Ok(encode(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(line: &str) -> Result<Request, Misuse> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        read(find(&words[0], &words[1], &words[2..])?, &words[2..], 10_000_000)
    }

    #[test]
    fn pulsar_admins_lines_become_its_requests() {
        let get = |line: &str| {
            let request = request(line).unwrap();
            (request.method, request.path, request.body.unwrap_or(Value::Null))
        };
        assert_eq!(get("tenants list"), ("GET", "/admin/v2/tenants".to_owned(), Value::Null));
        assert_eq!(
            get("namespaces set-retention acme/orders --time 3h --size 10G"),
            (
                "POST",
                "/admin/v2/namespaces/acme/orders/retention".to_owned(),
                json!({ "retentionTimeInMinutes": 180, "retentionSizeInMB": 10_240 })
            )
        );
        assert_eq!(
            get("namespaces set-backlog-quota acme/orders -l 2G -p producer_exception"),
            (
                "POST",
                "/admin/v2/namespaces/acme/orders/backlogQuota?backlogQuotaType=destination_storage".to_owned(),
                json!({ "limitSize": 2_147_483_648_u64, "limitTime": -1, "policy": "producer_exception" })
            )
        );
        assert_eq!(
            get("topics skip persistent://a/b/c%20d -s s/1 -n 5"),
            ("POST", "/admin/v2/persistent/a/b/c%2520d/subscription/s%2F1/skip/5".to_owned(), Value::Null)
        );
        assert_eq!(
            get("topics reset-cursor c -s s -t 1h").1,
            "/admin/v2/persistent/public/default/c/subscription/s/resetcursor/6400000"
        );
        assert_eq!(get("topics reset-cursor c -s s -m 3:4").2["entryId"], 4);
        assert_eq!(get("topics lookup c").1, "/lookup/v2/topic/persistent/public/default/c");
        assert_eq!(get("namespaces set-deduplication a/b --enable").2, json!(true));
        assert_eq!(get("topics delete a --force").1, "/admin/v2/persistent/public/default/a?force=true");
        assert_eq!(get("namespaces create a/b").2, json!({}));
    }

    #[test]
    fn wrong_words_say_what_is_wrong() {
        for (line, part) in [
            ("tenant list", "`meridian admin` lists"),
            ("tenants show", "`meridian admin tenants` lists"),
            ("tenants get", "it takes 1 arguments, not 0"),
            ("namespaces set-retention a/b --time 1h", "--size SIZE is missing"),
            ("namespaces policies a", "not TENANT/NAMESPACE"),
            ("topics stats a --nonsense", "--nonsense is unknown here"),
            ("namespaces set-deduplication a/b", "say what it shall be"),
        ] {
            let misuse = request(line).unwrap_err();
            assert!(misuse.contains(part), "{line}: {misuse}");
        }
    }
}
