//! What cargo knows of the workspace: packages, their place in the house, dependencies, targets, licences.

use crate::steps;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The answer of `cargo metadata`, as far as xtask reads it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Packages of the workspace, and those of others unless [`Scope::Workspace`] was asked for.
    pub(crate) packages: Vec<Package>,
    /// Where cargo builds, with `CARGO_TARGET_DIR` honoured.
    pub(crate) target_directory: PathBuf,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// None for packages of this workspace.
    pub(crate) source: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
    /// `[package.metadata]`: null when absent.
    pub(crate) metadata: Option<PackageMetadata>,
}

/// One edge.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None is an ordinary dependency; else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// One target.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// `[package.metadata]`.
#[derive(Debug, Deserialize)]
pub(crate) struct PackageMetadata {
    pub(crate) house: Option<House>,
}

/// `[package.metadata.house]`: where the package says that it lives.
#[derive(Debug, Deserialize)]
pub(crate) struct House {
    pub(crate) level: u8,
    pub(crate) kind: String,
}

/// Which packages to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Only the workspace's own.
    Workspace,
    /// Everything that is built for any target.
    Everything,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo fails or answers something else than its documented JSON.
    pub(crate) fn read(root: &Path, scope: Scope) -> Result<Self> {
        let mut command = steps::cargo(root);
        command.args(["metadata", "--format-version", "1"]);
        if scope == Scope::Workspace {
            command.arg("--no-deps");
        }
        let output = command.output().context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("cannot read the answer of cargo metadata")
    }

    /// The workspace's package of this name.
    pub(crate) fn own(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.source.is_none() && package.name == name)
    }
}

impl Package {
    /// Whether a target of this kind (`bin`, `test`) and, if given, this name exists.
    pub(crate) fn has_target(&self, kind: &str, name: Option<&str>) -> bool {
        let wanted = |target: &&Target| target.kind.iter().any(|k| k == kind) && name.is_none_or(|n| n == target.name);
        self.targets.iter().find(wanted).is_some()
    }
}
