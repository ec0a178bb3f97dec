//! `meridian admin`: pulsar-admin's nouns and verbs over HTTP, in milliseconds.

mod field;
mod nodes;
mod request;
mod verbs;

use crate::exit::Failure;
use crate::http::{Answer, HttpClient};
use crate::service::{block_on, read_token};
use crate::{clock, term};
use request::Request;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use verbs::Verb;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a verb the verbs of a noun are listed.\n\nExamples:\n  meridian admin tenants list\n  \
meridian admin namespaces set-retention acme/orders --time 3h --size 10G\n  \
meridian admin topics stats persistent://acme/orders/new -o json"
)]
pub(crate) struct AdminArgs {
    /// Address of the admin API [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
    /// File with a token (or token:… for the token itself)
    #[arg(long, value_name = "FILE")]
    auth_token: Option<String>,
    /// table or json
    #[arg(short, long, value_name = "FORM")]
    output: Option<String>,
    /// clusters, cluster, tenants, namespaces, topics or brokers; then a verb and what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Table,
    Json,
}

/// Flags that may also stand behind the verb.
#[derive(Debug)]
struct Settings {
    url: String,
    token: Option<String>,
    form: Form,
    words: Vec<String>,
}

impl Settings {
    fn of(args: AdminArgs) -> Result<Self, Failure> {
        let (mut url, mut token, mut output) = (args.admin_url, args.auth_token, args.output);
        let mut words = Vec::new();
        let mut rest = args.words.into_iter();
        while let Some(word) = rest.next() {
            let place = match word.as_str() {
                "--admin-url" => &mut url,
                "--auth-token" => &mut token,
                "-o" | "--output" => &mut output,
                _ => {
                    words.push(word);
                    continue;
                }
            };
            *place = Some(rest.next().ok_or_else(|| Failure::usage(format!("{word} needs a value")))?);
        }
        let form = match output.as_deref() {
            None | Some("table") => Form::Table,
            Some("json") => Form::Json,
            Some("yaml") => return Err(Failure::unbuilt("-o yaml")),
            Some(other) => return Err(Failure::usage(format!("-o {other}: use table or json"))),
        };
        let token = token.as_deref().map(read_token).transpose()?;
        Ok(Self { url: url.unwrap_or_else(|| "http://127.0.0.1:8080".to_owned()), token, form, words })
    }
}

/// Runs one command.
pub(crate) fn run(args: AdminArgs) -> Result<(), Failure> {
    let settings = Settings::of(args)?;
    let (noun, verb, rest) = match settings.words.as_slice() {
        [noun, verb, rest @ ..] if verb != "--help" && verb != "-h" => (noun, verb, rest),
        [noun, ..] => return list_verbs(Some(noun)),
        [] => return list_verbs(None),
    };
    let verb = request::find(noun, verb, rest).map_err(Failure::usage)?;
    let request = request::read(verb, rest, clock::wall_ms()).map_err(Failure::usage)?;
    let http = HttpClient::new(&settings.url, settings.token)?;
    let answer = block_on(async {
        let request = complete(&http, noun, request).await?;
        http.send(request.method, &request.path, request.body.as_ref()).await
    })?;
    show(&answer, settings.form, verb)
}

fn list_verbs(noun: Option<&str>) -> Result<(), Failure> {
    let shown: Vec<_> = verbs::all().filter(|verb| noun.is_none_or(|noun| verb.noun == noun)).collect();
    if shown.is_empty() {
        let nouns: BTreeSet<&str> = verbs::all().map(|verb| verb.noun).collect();
        let nouns: Vec<&str> = nouns.into_iter().collect();
        return Err(Failure::usage(format!("'{}' is unknown: use {}", noun.unwrap_or_default(), nouns.join(", "))));
    }
    for verb in shown {
        term::say(&format!("meridian admin {}\n    {}", verb.usage(), verb.help));
    }
    Ok(())
}

/// A tenant's record is written whole: what the user leaves out comes from the server.
async fn complete(http: &HttpClient, noun: &str, mut request: Request) -> Result<Request, Failure> {
    let Some(Value::Object(body)) = &mut request.body else { return Ok(request) };
    if noun != "tenants" {
        return Ok(request);
    }
    let known = if request.method == "POST" {
        read(http, &request.path).await?
    } else {
        Value::Object(Map::from_iter([("allowedClusters".to_owned(), own_clusters(http).await?)]))
    };
    if let Value::Object(known) = known {
        for (key, value) in known {
            body.entry(key).or_insert(value);
        }
    }
    Ok(request)
}

async fn own_clusters(http: &HttpClient) -> Result<Value, Failure> {
    let clusters = read(http, "/admin/v2/clusters").await?;
    let usable = |name: &&Value| name.as_str().is_some_and(|name| name != "global");
    Ok(clusters.as_array().into_iter().flatten().filter(usable).cloned().collect())
}

async fn read(http: &HttpClient, path: &str) -> Result<Value, Failure> {
    let answer = http.send("GET", path, None).await?;
    if answer.is_success() { Ok(answer.json()) } else { Err(Failure::refused(answer.reason())) }
}

fn show(answer: &Answer, form: Form, verb: &Verb) -> Result<(), Failure> {
    if !answer.is_success() {
        return Err(Failure::refused(answer.reason()));
    }
    if answer.body.is_empty() {
        // A script that asked for JSON gets JSON.
        if form == Form::Json {
            term::say("null");
        }
        return Ok(());
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(value) if form == Form::Json => {
            term::say(&serde_json::to_string_pretty(&value).unwrap_or_default());
        }
        Ok(status) if verb.is_called("cluster", "status") => {
            nodes::table(&status).iter().for_each(|row| term::say(row))
        }
        Ok(value) => rows(&value).iter().for_each(|row| term::say(row)),
        Err(_) => term::say(&String::from_utf8_lossy(&answer.body)),
    }
    Ok(())
}

/// A list is one item per line, an object one path per line.
fn rows(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        Value::Object(_) => {
            let mut leaves = Vec::new();
            flatten("", value, &mut leaves);
            let width = leaves.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
            leaves.into_iter().map(|(key, value)| format!("{key:<width$}  {value}")).collect()
        }
        other => vec![scalar(other)],
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let path = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(key, value)| flatten(&path(key), value, out)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(at, value)| flatten(&path(&at.to_string()), value, out));
        }
        Value::Array(items) => out.push((prefix.to_owned(), items.iter().map(scalar).collect::<Vec<_>>().join(", "))),
        other => out.push((prefix.to_owned(), scalar(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_lines_for_people() {
        assert_eq!(rows(&json!(["a", 1])), ["a", "1"]);
        let object = json!({ "a": { "b": [1, 2] }, "long": "x", "list": [{ "c": null }] });
        assert_eq!(rows(&object), ["a.b       1, 2", "long      x", "list.0.c  null"]);
        assert_eq!(rows(&json!("ok")), ["ok"]);
    }

    #[test]
    fn connection_flags_may_stand_behind_the_verb() {
        let words = ["tenants", "list", "--admin-url", "http://x:1", "-o", "json"].map(str::to_owned).to_vec();
        let args = AdminArgs { admin_url: None, auth_token: Some("token:t".to_owned()), output: None, words };
        let settings = Settings::of(args).unwrap();
        assert_eq!((settings.url.as_str(), settings.form, settings.words.len()), ("http://x:1", Form::Json, 2));
        assert_eq!(settings.token.as_deref(), Some("t"));
    }
}
