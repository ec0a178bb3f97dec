//! What comes from others: one version of each, a known licence, one registry, and a written reason.

use super::Finding;
use crate::metadata::Package;
use crate::steps;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The only place that code of others comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Licences that need nothing from us but their text.
const LICENCES: [&str; 8] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Apache-2.0 WITH LLVM-exception",
];
/// Where the reasons are.
const REASONS: &str = "docs/dependencies.md";
/// Crates that are built in two versions, and why we cannot avoid it. An entry that is not needed any more is a finding.
const DUPLICATES: [(&str, &str); 13] = [
    ("base64", "pem 4 (rcgen) is ahead of jsonwebtoken"),
    ("cpufeatures", "curve25519-dalek 4 and sha2 0.10 (jsonwebtoken) against chacha20 0.10 (proptest's rand)"),
    ("foldhash", "petgraph 0.8 (prost-build) against foyer"),
    ("getrandom", "ring 0.17 against tempfile and rand 0.10"),
    ("hashbrown", "petgraph, governor and foyer each hold another one"),
    ("itertools", "prost-build against prost-derive and foyer"),
    ("pem", "jsonwebtoken 11 against rcgen 0.14"),
    ("rand", "openraft 0.9 and rsa 0.9 against foyer and quinn"),
    ("rand_chacha", "follows rand"),
    ("rand_core", "follows rand"),
    ("syn", "derive macros are moving from 2 to 3"),
    ("thiserror", "openraft 0.9 stays on 1"),
    ("thiserror-impl", "follows thiserror"),
];

/// Names that cargo builds in more than one version, with the versions.
///
/// # Errors
/// When cargo fails.
pub(super) fn duplicate_versions(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut command = steps::cargo(root);
    command.args([
        "tree",
        "--workspace",
        "--duplicates",
        "--depth",
        "0",
        "--prefix",
        "none",
        "--edges",
        "normal,build,dev",
    ]);
    let output = command.output().context("cannot run cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(parse_tree(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines like `base64 v0.22.1 (proc-macro)`. The same version twice is one crate built with two feature sets: no finding.
fn parse_tree(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

/// Compares the duplicates with the list of those that we cannot avoid.
pub(super) fn check_duplicates(duplicates: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    let listed = |name: &str| DUPLICATES.iter().any(|(listed, _)| *listed == name);
    let new = duplicates.iter().filter(|(name, _)| !listed(name)).map(|(name, versions)| {
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let text = format!("is built as {}: agree on one, or give a reason in tidy/supply.rs", versions.join(" and "));
        Finding::new(name, text)
    });
    let gone = DUPLICATES.iter().filter(|(name, _)| !duplicates.contains_key(*name));
    let gone = gone.map(|(name, _)| Finding::new(*name, "is not built twice any more: remove it from tidy/supply.rs"));
    new.chain(gone).collect()
}

/// Every crate of others comes from crates.io under a licence of the list.
pub(super) fn check_origin(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let Some(origin) = &package.source else { continue };
        let place = format!("{} {}", package.name, package.version);
        if origin != REGISTRY {
            findings.push(Finding::new(&place, format!("comes from {origin}: only crates.io is allowed")));
        }
        let licence = package.license.as_deref().unwrap_or("no licence");
        if !is_allowed(licence) {
            findings.push(Finding::new(&place, format!("licence `{licence}` is not in the list of tidy/supply.rs")));
        }
    }
    findings
}

/// An SPDX expression holds when every AND part has one OR part in the list. `/` is the old way to write OR.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    let every = split(expression, " AND ");
    if every.len() > 1 {
        return every.iter().all(|part| is_allowed(part));
    }
    let any = split(expression, " OR ");
    if any.len() > 1 {
        return any.iter().any(|part| is_allowed(part));
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => LICENCES.contains(&expression),
    }
}

/// Splits outside of parentheses.
fn split<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut from, mut depth) = (0, 0_i32);
    for (at, c) in expression.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 && at >= from && expression[at..].starts_with(word) {
            parts.push(&expression[from..at]);
            from = at + word.len();
        }
    }
    parts.push(&expression[from..]);
    parts
}

/// Every dependency on others' code has its line in docs/dependencies.md.
///
/// # Errors
/// When that file cannot be read.
pub(super) fn check_reasons(root: &Path, packages: &[Package]) -> Result<Vec<Finding>> {
    let text = std::fs::read_to_string(root.join(REASONS)).with_context(|| format!("cannot read {REASONS}"))?;
    Ok(missing_reasons(&text, packages))
}

fn missing_reasons(text: &str, packages: &[Package]) -> Vec<Finding> {
    let own: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let used: BTreeSet<&str> =
        packages.iter().flat_map(|package| &package.dependencies).map(|edge| edge.name.as_str()).collect();
    let unexplained = used.difference(&own).filter(|name| !text.contains(&format!("| `{name}` |")));
    unexplained
        .map(|name| Finding::new(REASONS, format!("has no line for `{name}`: what do we need it for?")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{DUPLICATES, check_duplicates, check_origin, is_allowed, missing_reasons, parse_tree};
    use crate::metadata::Package;
    use serde_json::json;

    fn package(source: &str, licence: &str) -> Package {
        serde_json::from_value(json!({
            "name": "a", "version": "1.0.0", "source": source, "license": licence, "manifest_path": "/a/Cargo.toml",
            "dependencies": [{"name": "bytes", "kind": null}], "metadata": null,
        }))
        .unwrap()
    }

    #[test]
    fn two_versions_are_a_duplicate_and_one_version_built_twice_is_not() {
        let found = parse_tree("a v1.0.0\n\na v2.0.0 (proc-macro)\n\nb v1.0.0\n\nb v1.0.0\n");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn an_unknown_duplicate_and_a_stale_excuse_are_findings() {
        let mut duplicates = DUPLICATES.iter().map(|(name, _)| ((*name).to_owned(), Default::default())).collect();
        assert_eq!(check_duplicates(&duplicates).len(), 0);
        duplicates.insert("leftpad".to_owned(), Default::default());
        assert_eq!(check_duplicates(&duplicates).len(), 1);
        duplicates.remove("syn");
        assert_eq!(check_duplicates(&duplicates).len(), 2);
    }

    #[test]
    fn licence_expressions_are_understood() {
        for good in ["MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Unicode-3.0", "Unlicense OR MIT", "ISC AND MIT"] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["BUSL-1.1", "MIT AND GPL-3.0", "GPL-3.0 OR AGPL-3.0", "no licence"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn code_from_elsewhere_or_under_another_licence_is_found() {
        assert_eq!(check_origin(&[package(super::REGISTRY, "MIT")]).len(), 0);
        assert_eq!(check_origin(&[package("git+https://example.org/a", "BUSL-1.1")]).len(), 2);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let packages = [package("", "MIT")];
        assert_eq!(missing_reasons("| `bytes` | shared slices |", &packages).len(), 0);
        assert_eq!(missing_reasons("bytes", &packages).len(), 1);
    }
}
