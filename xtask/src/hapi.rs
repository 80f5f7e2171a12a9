//! HAPI FHIR, a real FHIR server that tests pull from: Maven brings its jars and
//! compiles the class of ours that starts it (`tests/hapi/`). The jars are kept in the
//! cache beside what is made of them, so that another version of the class downloads
//! nothing; what Maven is configured with says where they come from.

use crate::machine::output;
use crate::stage::{self, minutes};
use crate::tools::{chosen, hash, lock, runs};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What it is made of; a change of any makes it anew.
const FOLDER: &str = "tests/hapi";
const FILES: [&str; 3] = ["pom.xml", "Hapi.java", "Expiry.java"];
/// Names a program to start instead, with the same arguments.
const VARIABLE: &str = "CHARTLIFT_HAPI";
const JAVA_MIN: u32 = 17;
/// Downloads of many files: one that breaks off goes on with those that are left.
const ATTEMPTS: u32 = 4;
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15 * 60);
/// It lives for a test: what makes a long-lived server quick would only delay it.
const JAVA_FLAGS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx1g";

/// Finds the program that starts it, or makes it.
pub(crate) fn install(cache: &Path) -> Result<PathBuf> {
    if let Some(path) = chosen(VARIABLE)? {
        return Ok(path);
    }
    let mut made_of = JAVA_FLAGS.as_bytes().to_vec();
    for name in FILES {
        let path = Path::new(FOLDER).join(name);
        made_of.extend(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    let folder = cache.join(format!("hapi-{:016x}", hash(&made_of)));
    let program = folder.join("hapi");
    // It names its jars and the Java it was made with, and either may have gone.
    let usable = || program.is_file() && runs(&program, &["--version"]);
    if usable() {
        return Ok(program);
    }
    // Two Mavens in one folder of jars would disturb each other.
    let _held = lock(cache, "hapi")?;
    if usable() {
        return Ok(program);
    }
    let java = java()?;
    ensure!(
        runs(Path::new("mvn"), &["--version"]),
        "the tests of HAPI FHIR need Maven: install it (Debian: apt-get install maven), or set \
         {VARIABLE} to a program that starts such a server"
    );
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let started = Instant::now();
    println!("building HAPI FHIR with Maven; the first time, that downloads some 300 MB");
    build(cache, &folder)?;
    write_program(&folder, &program, &java)?;
    ensure!(usable(), "{} does not run", program.display());
    println!(
        "built HAPI FHIR in {:.2} minutes",
        minutes(started.elapsed())
    );
    Ok(program)
}

/// Downloads and compiles.
fn build(cache: &Path, folder: &Path) -> Result<()> {
    let pom = std::path::absolute(Path::new(FOLDER).join("pom.xml")).context("find the pom")?;
    let given = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    for attempt in 1..=ATTEMPTS {
        let mut maven = Command::new("mvn");
        // -U: what could not be downloaded the last time is tried again.
        maven
            .args([
                "--batch-mode",
                "--quiet",
                "--no-transfer-progress",
                "-U",
                "--file",
            ])
            .arg(&pom)
            .arg(given("maven.repo.local", &cache.join("maven")))
            .arg(given("out", folder))
            .arg(given("mdep.outputFile", &folder.join("classpath")))
            .args(["compiler:compile", "dependency:build-classpath"]);
        let done = stage::run(maven, ATTEMPT_LIMIT)?;
        if done.is_ok() {
            return Ok(());
        }
        println!("Maven {} (attempt {attempt} of {ATTEMPTS})", done.ended);
    }
    anyhow::bail!(
        "Maven could not build HAPI FHIR, see above; without it, set {VARIABLE} to a program that \
         starts such a server"
    )
}

/// The program: one file, as the other tools are.
fn write_program(folder: &Path, program: &Path, java: &Path) -> Result<()> {
    let classpath = std::fs::read_to_string(folder.join("classpath")).context("read classpath")?;
    let text = format!(
        "#!/bin/sh\nexec '{}' {JAVA_FLAGS} -cp '{}:{}' Hapi \"$@\"\n",
        java.display(),
        folder.join("classes").display(),
        classpath.trim()
    );
    std::fs::write(program, text).with_context(|| format!("write {}", program.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(program, executable)
            .with_context(|| format!("make {} executable", program.display()))?;
    }
    Ok(())
}

/// The Java that Maven uses too: of `JAVA_HOME`, else on PATH.
fn java() -> Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let java = home.map_or_else(
        || PathBuf::from("java"),
        |home| PathBuf::from(home).join("bin/java"),
    );
    let compiler = java.with_file_name("javac");
    let version = output(&compiler.to_string_lossy(), &["-version"]);
    let version = version.as_deref().and_then(java_version);
    ensure!(
        version.is_some_and(|version| version >= JAVA_MIN) && runs(&java, &["-version"]),
        "the tests of HAPI FHIR need a JDK, {JAVA_MIN} or later: install it (Debian: apt-get \
         install default-jdk-headless), or set {VARIABLE} to a program that starts such a server"
    );
    Ok(java)
}

/// The first number of what `javac -version` prints: `javac 17.0.15`.
fn java_version(text: &str) -> Option<u32> {
    let version = text.trim().strip_prefix("javac ")?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_is_told_by_its_first_number() {
        assert_eq!(java_version("javac 17.0.15"), Some(17));
        assert_eq!(java_version("javac 21-ea\n"), Some(21));
        assert_eq!(java_version("javac 1.8.0_402"), Some(1));
        assert_eq!(java_version("not found"), None);
    }
}
