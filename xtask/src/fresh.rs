//! `cargo xtask fresh`: what a stranger gets. Both commands of the README run on
//! a clean clone of HEAD, with nothing downloaded or built before. Only the
//! toolchains themselves, and settings of where to download from, are taken over.

use crate::machine::{commit, machine, output, write_result};
use crate::outcome::Tally;
use crate::soak::merge;
use crate::stage::{self, announce, minutes};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The README's commands: name, arguments of cargo, limit in minutes.
const COMMANDS: [(&str, &[&str], u64); 2] = [
    ("demo", &["run", "--release", "--", "demo", "--exit"], 90),
    ("test", &["xtask", "test"], 180),
];

/// What `cargo xtask fresh` is asked.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave the clone and its home behind, to look at.
    #[arg(long)]
    keep: bool,
}

/// Runs both; true if both passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let started = Instant::now();
    let commit = commit();
    ensure!(
        commit["commit"].is_string(),
        "there is no commit yet to clone"
    );
    if commit["dirty"] == json!(true) {
        println!("note: uncommitted changes are not part of a clone of HEAD");
    }
    let room = std::env::temp_dir().join(format!("chartlift-fresh-{}", std::process::id()));
    std::fs::create_dir_all(&room).with_context(|| format!("create {}", room.display()))?;
    let room = room.canonicalize().context("find the temporary folder")?;
    let done = in_room(&room);
    if options.keep {
        println!("kept: {}", room.display());
    } else if let Err(error) = std::fs::remove_dir_all(&room) {
        println!("remove {}: {error}", room.display());
    }
    let (passed, figures) = done?;

    let mut result = json!({
        "name": "fresh",
        "command": COMMANDS.map(|(_, arguments, _)| shown(arguments)),
        "machine": machine(),
        "figures": figures,
        "verdict": if passed { "passed" } else { "failed" },
        "minutes": minutes(started.elapsed()),
    });
    merge(&mut result, commit);
    let path = write_result("fresh", &result)?;
    println!(
        "fresh: {} ({})",
        result["verdict"].as_str().unwrap_or_default(),
        path.display()
    );
    Ok(passed)
}

fn shown(arguments: &[&str]) -> String {
    format!("cargo {}", arguments.join(" "))
}

/// Clones into the empty folder `room` and runs the commands there.
fn in_room(room: &Path) -> Result<(bool, Map<String, Value>)> {
    let (home, clone) = (room.join("home"), room.join("chartlift"));
    settle_in(&home)?;
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--no-hardlinks", "."])
        .arg(&clone);
    let cloned = stage::run(git, Duration::from_secs(10 * 60))?;
    ensure!(cloned.is_ok(), "git clone {}", cloned.ended);

    let mut figures = Map::new();
    let mut passed = true;
    for (name, arguments, limit_min) in COMMANDS {
        announce(name, &shown(arguments));
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&clone);
        make_fresh(&mut cargo, &home);
        let report = stage::run(cargo, Duration::from_secs(limit_min * 60))?;
        println!(
            "==> {name}: {} after {:.2} minutes",
            report.ended,
            minutes(report.took)
        );
        figures.insert(format!("{name}_minutes"), minutes(report.took).into());
        figures.insert(format!("{name}_ended"), report.ended.to_string().into());
        if report.tally != Tally::default() && name == "test" {
            figures.insert("tests_passed".into(), report.tally.really_passed().into());
            figures.insert("tests_failed".into(), report.tally.failed.into());
            figures.insert("tests_skipped".into(), report.tally.left_out().into());
        }
        passed &= report.is_ok();
    }
    Ok((passed, figures))
}

/// Takes over from the real home where to download from, and nothing else.
fn settle_in(home: &Path) -> Result<()> {
    let old = std::env::home_dir().context("find the home folder")?;
    let old_cargo =
        std::env::var_os("CARGO_HOME").map_or_else(|| old.join(".cargo"), PathBuf::from);
    let files = [
        (
            old_cargo.join("config.toml"),
            home.join(".cargo/config.toml"),
        ),
        (old.join(".config/go/env"), home.join(".config/go/env")),
        (
            old.join(".config/pip/pip.conf"),
            home.join(".config/pip/pip.conf"),
        ),
        (old.join(".m2/settings.xml"), home.join(".m2/settings.xml")),
    ];
    for (from, to) in files {
        let dir = to.parent().context("find the file's folder")?;
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        if from.is_file() {
            std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Gives a command the environment of someone who has just arrived. PATH, and
/// what the toolchains read (proxies, mirrors, certificates), stay.
fn make_fresh(command: &mut Command, home: &Path) {
    let ours = |name: &str| {
        let cargo = name.starts_with("CARGO")
            && !name.starts_with("CARGO_HTTP")
            && !name.starts_with("CARGO_NET");
        cargo
            || name.starts_with("CHARTLIFT_")
            || name.starts_with("XDG_")
            || name.starts_with("TEMPORAL_")
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(&name);
        }
    }
    // The toolchain is named by the clone's own file, not by the one this
    // program was started with.
    command.env_remove("RUSTUP_TOOLCHAIN");
    for name in [
        "GOPATH",
        "GOBIN",
        "GOCACHE",
        "GOMODCACHE",
        "RUSTFLAGS",
        "VIRTUAL_ENV",
    ] {
        command.env_remove(name);
    }
    if let Some(rustup) = rustup_home() {
        command.env("RUSTUP_HOME", rustup);
    }
    // Go's downloads would otherwise be read-only and could not be removed.
    let flags = output("go", &["env", "GOFLAGS"]).unwrap_or_default();
    command.env("GOFLAGS", format!("{flags} -modcacherw").trim());
    command
        .env("HOME", home)
        .env("CARGO_HOME", home.join(".cargo"));
    command.env("CHARTLIFT_CACHE", home.join(".cache/chartlift"));
}

/// Where the installed toolchains are: they are not part of what is tried.
fn rustup_home() -> Option<PathBuf> {
    let given = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    given
        .or_else(|| Some(std::env::home_dir()?.join(".rustup")))
        .filter(|path| path.is_dir())
}
