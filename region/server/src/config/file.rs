//! The TOML file: every key must be known; errors name file, line and what was probably meant.

use super::ConfigError;
use super::settings::{SETTINGS, Setting};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value of the file.
pub(super) struct Entry {
    pub(super) setting: &'static Setting,
    /// A list is joined with commas.
    pub(super) value: String,
    /// `file:line: section.key`.
    pub(super) place: String,
}

/// Sections whose keys may also stand at the top of a file.
const TOP: &str = "server";

/// The row of a setting; `section` may be empty for the settings of the server itself. Dashes count as underscores.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Setting> {
    let section = if section.is_empty() { TOP } else { section };
    let key = key.replace('-', "_");
    SETTINGS.iter().find(|setting| setting.section == section && setting.key == key)
}

/// What to say about a name that is in no row.
pub(super) fn unknown(section: &str, key: &str) -> String {
    let wanted = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }.replace('-', "_");
    let names = SETTINGS.iter().map(|setting| {
        if section.is_empty() && setting.section == TOP {
            setting.key.to_owned()
        } else {
            format!("{}.{}", setting.section, setting.key)
        }
    });
    let nearest = names.map(|name| (distance(&wanted, &name), name)).min();
    match nearest {
        Some((steps, name)) if steps <= 1 + wanted.len() / 4 => format!("unknown setting; did you mean {name}?"),
        _ => "unknown setting; `meridian server --help` lists the common ones".to_owned(),
    }
}

/// Reads a file.
pub(super) fn entries(source: &str, content: &str) -> Result<Vec<Entry>, ConfigError> {
    let root = DeTable::parse(content).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(content, span.start));
        ConfigError::new(&format!("{source}:{line}"), error.message().to_owned())
    })?;
    let reader = Reader { source, content };
    let mut entries = Vec::new();
    for (key, value) in root.get_ref() {
        match value.get_ref() {
            DeValue::Table(section) => {
                for (inner, value) in section {
                    entries.push(reader.entry(key.get_ref(), inner, value)?);
                }
            }
            _ => entries.push(reader.entry("", key, value)?),
        }
    }
    Ok(entries)
}

struct Reader<'a> {
    source: &'a str,
    content: &'a str,
}

impl Reader<'_> {
    fn entry(
        &self,
        section: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Entry, ConfigError> {
        let line = line_of(self.content, key.span().start);
        let dot = if section.is_empty() { "" } else { "." };
        let place = format!("{}:{line}: {section}{dot}{}", self.source, key.get_ref());
        let setting =
            find(section, key.get_ref()).ok_or_else(|| ConfigError::new(&place, unknown(section, key.get_ref())))?;
        let value = scalar(value.get_ref()).ok_or_else(|| {
            let found = value.get_ref().type_str();
            ConfigError::new(
                &place,
                format!("it needs a text, a number, true, false or a list of texts, not a {found}"),
            )
        })?;
        Ok(Entry { setting, value, place })
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}

fn line_of(content: &str, offset: usize) -> usize {
    content.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Single letters to insert, remove or replace to make `b` of `a`.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let here = (diagonal + usize::from(left != *right)).min(before + 1).min(above + 1);
            if let Some(place) = row.get_mut(j) {
                *place = before;
            }
            diagonal = above;
            before = here;
        }
        if let Some(last) = row.last_mut() {
            *last = before;
        }
    }
    row.last().copied().unwrap_or(0)
}
