//! Who may know whom: the table of rooms, compared with every Cargo.toml and with the source below the line.

use super::{Finding, SourceFile};
use crate::metadata::Package;
use crate::source;

/// One crate's place.
struct Room {
    name: &'static str,
    level: u8,
    kind: &'static str,
}

const fn room(name: &'static str, level: u8, kind: &'static str) -> Room {
    Room { name, level, kind }
}

/// The levels of docs/ARCHITECTURE.md. A crate depends only on crates of strictly lower levels.
const ROOMS: [Room; 24] = [
    room("base", 0, "core"),
    room("wire", 1, "core"),
    room("auth", 1, "core"),
    room("tenancy", 2, "core"),
    room("ledger", 2, "core"),
    room("bookie", 2, "core"),
    room("meta-api", 2, "core"),
    room("link", 3, "core"),
    room("managed", 3, "core"),
    room("cluster", 3, "core"),
    room("broker", 4, "core"),
    room("admin", 5, "core"),
    room("node", 6, "core"),
    room("identity", 6, "shell"),
    room("disk", 7, "shell"),
    room("meta", 7, "shell"),
    room("peer", 7, "shell"),
    room("model", 7, "core"),
    room("quic", 7, "shell"),
    room("server", 8, "shell"),
    room("sim", 8, "core"),
    room("live", 8, "shell"),
    room("meridian", 9, "shell"),
    room("xtask", 9, "shell"),
];

/// The highest level that decides and does not act. `identity` shares it: shells use it, and no core can.
const LINE: u8 = 6;

/// Crates that a core cannot name, not even in tests.
const SHELL_CRATES: [&str; 11] =
    ["tokio", "tokio-rustls", "quinn", "mio", "socket2", "rustix", "openraft", "foyer", "axum", "getrandom", "rand"];

/// What source below the line cannot say: files, sockets, threads, clocks, entropy, tasks.
const SHELL_WORDS: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "tokio",
    "quinn",
    "mio",
    "socket2",
    "rustix",
    "OsRng",
    "thread_rng",
];

/// Compares every package with the table.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let Some(room) = ROOMS.iter().find(|room| room.name == package.name) else {
            findings.push(Finding::new(&package.name, "has no level: add it to the table in xtask/src/tidy/levels.rs"));
            continue;
        };
        findings.extend(check_declaration(package, room));
        findings.extend(package.dependencies.iter().filter_map(|edge| {
            let core_names_shell = room.kind == "core" && SHELL_CRATES.contains(&edge.name.as_str());
            if core_names_shell {
                let text = format!("is a core and depends on {}: cores decide, shells act", edge.name);
                return Some(Finding::new(&package.name, text));
            }
            let other = ROOMS.iter().find(|other| other.name == edge.name)?;
            let itself_in_tests = other.name == room.name && edge.kind.as_deref() == Some("dev");
            (other.level >= room.level && !itself_in_tests).then(|| {
                let text = format!("level {} depends on {} of level {}", room.level, other.name, other.level);
                Finding::new(&package.name, text + ": a crate uses only lower levels")
            })
        }));
    }
    let gone = ROOMS.iter().filter(|room| !packages.iter().any(|package| package.name == room.name));
    findings.extend(gone.map(|room| Finding::new(room.name, "is in the table of levels but not in the workspace")));
    findings
}

fn check_declaration(package: &Package, room: &Room) -> Option<Finding> {
    let said = package.metadata.as_ref().and_then(|metadata| metadata.house.as_ref());
    let said = said.map(|house| (house.level, house.kind.as_str()));
    let meant = (room.level, room.kind);
    (said != Some(meant)).then(|| {
        let text = format!("[package.metadata.house] says {said:?}, the table of levels says {meant:?}");
        Finding::new(&package.name, text)
    })
}

/// Looks for shell words in the source of every crate below the line.
pub(super) fn check_sources(folders: &[(String, String)], sources: &[SourceFile]) -> Vec<Finding> {
    let below = |room: &Room| room.level <= LINE && room.kind == "core";
    let pure = |name: &str| ROOMS.iter().any(|room| room.name == name && below(room));
    let mut findings = Vec::new();
    for (_, folder) in folders.iter().filter(|(name, _)| pure(name)) {
        let prefix = format!("{folder}src/");
        for file in sources.iter().filter(|file| file.path.starts_with(&prefix)) {
            for (number, line) in source::code_only(&file.text).lines().enumerate() {
                let words = SHELL_WORDS.iter().filter(|word| source::find_word(line, word).is_some());
                findings.extend(words.map(|word| {
                    let text = format!("`{word}` below the line: take it as an argument or an effect");
                    Finding::new(format!("{}:{}", file.path, number + 1), text)
                }));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{ROOMS, check, check_sources};
    use crate::metadata::Package;
    use crate::tidy::SourceFile;
    use serde_json::json;

    /// All rooms as declared, with the given edges of one of them.
    fn packages(of: &str, edges: &[(&str, Option<&str>)]) -> Vec<Package> {
        let package = |room: &super::Room| {
            let edges: &[_] = if room.name == of { edges } else { &[] };
            let edges: Vec<_> = edges.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
            let house = json!({"house": {"level": room.level, "kind": room.kind}});
            serde_json::from_value(json!({
                "name": room.name, "version": "0.1.0", "source": null, "license": null, "manifest_path": "/x/Cargo.toml",
                "dependencies": edges, "metadata": house,
            }))
            .unwrap()
        };
        ROOMS.iter().map(package).collect()
    }

    #[test]
    fn lower_levels_may_be_used_and_a_crate_may_test_with_itself() {
        assert_eq!(check(&packages("broker", &[("managed", None), ("bytes", None), ("broker", Some("dev"))])), []);
    }

    #[test]
    fn the_same_or_a_higher_level_is_refused_even_in_tests() {
        assert_eq!(check(&packages("link", &[("managed", None)])).len(), 1);
        assert_eq!(check(&packages("ledger", &[("broker", Some("dev"))])).len(), 1);
    }

    #[test]
    fn a_core_that_names_tokio_is_refused_and_a_shell_is_not() {
        assert_eq!(check(&packages("broker", &[("tokio", Some("dev"))])).len(), 1);
        assert_eq!(check(&packages("server", &[("tokio", None)])), []);
    }

    #[test]
    fn a_package_without_a_room_and_a_room_without_a_package_are_found() {
        let mut all = packages("base", &[]);
        all[0].name = "common".to_owned();
        assert_eq!(check(&all).len(), 2);
    }

    #[test]
    fn a_declaration_that_differs_from_the_table_is_found() {
        let mut all = packages("base", &[]);
        all[0].metadata = None;
        assert_eq!(check(&all).len(), 1);
    }

    #[test]
    fn a_clock_below_the_line_is_found_in_code_and_not_in_comments() {
        let text = "// no Instant::now here\nlet now = Instant::now();\n".to_owned();
        let file = |path: &str| SourceFile { path: path.to_owned(), text: text.clone() };
        let folders =
            [("broker".to_owned(), "region/broker/".to_owned()), ("disk".to_owned(), "storage/disk/".to_owned())];
        let found = check_sources(&folders, &[file("region/broker/src/a.rs"), file("storage/disk/src/b.rs")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "region/broker/src/a.rs:2");
    }
}
