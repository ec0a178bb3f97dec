//! `cargo xtask tidy`: the rules of the house that a machine can check.
//!
//! **What**  Each check gives findings: where, which rule, what to do. All checks run; one finding fails the run.

mod files;
mod levels;
mod supply;

use crate::metadata::{Metadata, Scope};
use anyhow::{Context, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A file (with line), a package or a dependency.
    place: String,
    /// What is wrong, and the remedy.
    text: String,
}

impl Finding {
    fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A Rust file of the workspace.
#[derive(Debug)]
struct SourceFile {
    /// Relative to the workspace root, with `/`.
    path: String,
    text: String,
}

/// Runs all checks and prints what they find.
///
/// # Errors
/// When cargo or the file system fails; findings are the exit code.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let workspace = Metadata::read(root, Scope::Workspace)?;
    let everything = Metadata::read(root, Scope::Everything)?;
    let sources = read_sources(root)?;
    let mut findings = levels::check(&workspace.packages);
    findings.extend(levels::check_sources(&folders(root, &workspace), &sources));
    findings.extend(files::check(&sources));
    findings.extend(files::check_invariants(&folders(root, &workspace), &sources));
    findings.extend(supply::check_duplicates(&supply::duplicate_versions(root)?));
    findings.extend(supply::check_origin(&everything.packages));
    findings.extend(supply::check_reasons(root, &workspace.packages)?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    eprintln!("tidy: {} files, {} packages, {} findings", sources.len(), workspace.packages.len(), findings.len());
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}

/// Package name and its folder relative to the root, with a `/` at the end.
fn folders(root: &Path, workspace: &Metadata) -> Vec<(String, String)> {
    let folder = |path: &Path| relative(root, path.parent().unwrap_or(path)) + "/";
    workspace.packages.iter().map(|package| (package.name.clone(), folder(&package.manifest_path))).collect()
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn read_sources(root: &Path) -> Result<Vec<SourceFile>> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                // Build output, data and hidden folders hold no source of ours.
                if name != "target" && name != "data" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                sources.push(SourceFile { path: relative(root, &path), text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}
