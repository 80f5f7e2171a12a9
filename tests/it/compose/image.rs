//! `Dockerfile`: what the image is made of and runs as.

use anyhow::{Context, Result, ensure};
use chartlift_tests::repository;

#[test]
fn the_image_is_small_pinned_and_not_roots() -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(repository().join(name));
    let dockerfile = read("Dockerfile")?;
    let lines = |word: &'static str| {
        dockerfile
            .lines()
            .filter_map(move |line| line.strip_prefix(word))
    };
    let images: Vec<&str> = lines("FROM ")
        .filter_map(|from| from.split_whitespace().next())
        .collect();
    ensure!(
        images.len() == 2 && images.iter().all(|image| is_pinned(image)),
        "{images:?}"
    );
    ensure!(images[1].ends_with("-slim"), "{images:?}");
    ensure!(
        lines("USER ").next_back() == Some("10001:10001"),
        "it runs as root"
    );
    let toolchain = read("rust-toolchain.toml")?;
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.context("a toolchain")?.trim_matches('"');
    ensure!(
        images[0].starts_with(&format!("rust:{channel}-")),
        "{images:?}"
    );
    ensure!(lines("ENV RUSTUP_TOOLCHAIN=").next() == Some(channel));
    // All members of the workspace go to the builder, and nothing that is not named.
    let ignored = read(".dockerignore")?;
    ensure!(ignored.lines().any(|line| line == "*"));
    for folder in [
        "activities",
        "api",
        "bench",
        "cli",
        "crates",
        "sandbox",
        "tests",
        "worker",
    ] {
        ensure!(
            ignored.lines().any(|line| line == format!("!{folder}")),
            "no {folder}"
        );
    }
    Ok(())
}

/// Whether an image is named by a version: a tag that begins with a number.
pub(super) fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    tag.trim_start_matches('v')
        .starts_with(|c: char| c.is_ascii_digit())
        && tag.contains('.')
}
