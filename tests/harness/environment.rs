//! Where the tests find what they run.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The repository's root: the one that the tests run in. The path that was compiled
/// in may be that of another clone, which built the same target folder.
#[must_use]
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = std::env::current_dir().unwrap_or_default();
        let root = here
            .ancestors()
            .find(|folder| folder.join("xtask/Cargo.toml").is_file());
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
        root.or(built_in.parent())
            .expect("tests/ lies in the repository")
            .to_owned()
    })
}

/// The `chartlift` binary of this build, failpoints included.
#[must_use]
pub fn binary() -> PathBuf {
    let folder = std::env::var_os("CHARTLIFT_TEST_BIN_DIR").map_or_else(
        || {
            // target/release/deps/it-… → target/release
            let test = std::env::current_exe().expect("a test has a path");
            test.ancestors()
                .nth(2)
                .expect("tests lie in deps/")
                .to_owned()
        },
        PathBuf::from,
    );
    let binary = folder.join("chartlift");
    assert!(
        binary.exists(),
        "{} is missing: run the tests by `cargo xtask test`",
        binary.display()
    );
    binary
}

/// The Python that has DuckDB and pyarrow, where `cargo xtask test` made one.
#[must_use]
pub fn python() -> Option<PathBuf> {
    std::env::var_os("CHARTLIFT_PYTHON").map(PathBuf::from)
}

/// A number from the environment: how long runs are made of short tests.
#[must_use]
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
    })
}

/// Says loudly that a test could not run; under `CI=true` that fails the run.
pub fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}
