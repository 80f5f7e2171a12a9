//! `docker-compose.yml` and `Dockerfile`, which nobody runs here: held against the
//! compose specification's own schema, and against what the schema cannot know.

mod image;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{python, repository, skipped};
use config::{LoadOptions, Settings};
use serde_json::Value;

use self::image::is_pinned;

const SECRETS: &str = "/run/secrets/";
/// What a variable's name must not be part of, unless it names a file.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "PWD", "SECRET", "TOKEN", "KEY"];
/// Services that do their work once and end.
const ONE_SHOTS: [&str; 3] = ["temporal-schema", "temporal-setup", "migrate"];

/// The file as JSON, by a YAML parser that is not ours; none where there is no Python.
fn compose() -> Result<Option<Value>> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with check-jsonschema");
        return Ok(None);
    };
    let script = "import json, sys\nfrom ruamel.yaml import YAML\n\
                  print(json.dumps(YAML(typ='safe').load(open(sys.argv[1]))))";
    let read = Command::new(python)
        .args(["-c", script])
        .arg(repository().join("docker-compose.yml"))
        .output()?;
    let said = String::from_utf8_lossy(&read.stderr);
    ensure!(read.status.success(), "{said}");
    Ok(Some(serde_json::from_slice(&read.stdout)?))
}

fn services(compose: &Value) -> Result<&serde_json::Map<String, Value>> {
    compose["services"].as_object().context("services")
}

/// The variables of a service.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let of = service["environment"].as_object().into_iter().flatten();
    of.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<&str> {
    let of = list.as_array().into_iter().flatten();
    of.filter_map(Value::as_str).collect()
}

#[test]
fn the_compose_file_is_one_by_the_specification() -> Result<()> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with check-jsonschema");
        return Ok(());
    };
    let judged = |file: &Path| -> Result<(bool, String)> {
        let judge = Command::new(python.with_file_name("check-jsonschema"))
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(file)
            .output()
            .context("run check-jsonschema")?;
        let said = String::from_utf8([judge.stdout, judge.stderr].concat())?;
        Ok((judge.status.success(), said))
    };
    let file = repository().join("docker-compose.yml");
    let (is_fine, said) = judged(&file)?;
    ensure!(is_fine, "{said}");
    // The judge notices what is not in the specification.
    let dir = tempfile::tempdir()?;
    let broken = dir.path().join("docker-compose.yml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&broken, text.replacen("healthcheck:", "healthchek:", 1))?;
    ensure!(!judged(&broken)?.0, "the judge takes anything");
    Ok(())
}

#[test]
fn every_service_tells_its_health_or_is_done_before_others_begin() -> Result<()> {
    let Some(compose) = compose()? else {
        return Ok(());
    };
    let services = services(&compose)?;
    for (name, service) in services {
        let is_one_shot = ONE_SHOTS.contains(&name.as_str());
        let has_check = !texts(&service["healthcheck"]["test"]).is_empty();
        ensure!(is_one_shot != has_check, "{name}: a health check or an end");
        let restart = service["restart"].as_str().unwrap_or_default();
        ensure!(
            restart
                == if is_one_shot {
                    "on-failure:5"
                } else {
                    "unless-stopped"
                },
            "{name} is restarted `{restart}`"
        );
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            ensure!(services.contains_key(other), "{name} waits for no service");
            let wanted = if ONE_SHOTS.contains(&other.as_str()) {
                "service_completed_successfully"
            } else {
                "service_healthy"
            };
            ensure!(
                how["condition"] == wanted,
                "{name} waits for {other}: {how}"
            );
        }
    }
    for one_shot in ONE_SHOTS {
        let is_waited_for = |service: &Value| !service["depends_on"][one_shot].is_null();
        ensure!(
            services.values().any(is_waited_for),
            "{one_shot} is for nobody"
        );
    }
    Ok(())
}

#[test]
fn secrets_are_files_and_nowhere_else() -> Result<()> {
    let Some(compose) = compose()? else {
        return Ok(());
    };
    let secrets = compose["secrets"].as_object().context("secrets")?;
    let dir = made_secrets()?;
    for (name, secret) in secrets {
        let file = secret["file"].as_str().context("a secret is a file")?;
        ensure!(file == format!("./secrets/{name}"), "{name} is {file}");
        let made = std::fs::read_to_string(dir.path().join(name))?;
        ensure!(made.len() >= 16, "docker/make-secrets makes {name}");
    }
    for (name, service) in services(&compose)? {
        let granted = texts(&service["secrets"]);
        for secret in &granted {
            ensure!(secrets.contains_key(*secret), "{name}: no secret {secret}");
        }
        for (variable, value) in environment(service) {
            let is_secret = SECRET_WORDS.iter().any(|word| variable.contains(word));
            ensure!(
                !is_secret || variable.ends_with("_FILE"),
                "{name}: {variable} is in the environment"
            );
            if let Some(secret) = value.strip_prefix(SECRETS) {
                ensure!(granted.contains(&secret), "{name} may not read {secret}");
            }
        }
        let command = service["command"].to_string();
        for rest in command.split(SECRETS).skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let secret = &rest[..end.unwrap_or(rest.len())];
            ensure!(granted.contains(&secret), "{name} may not read {secret}");
        }
    }
    Ok(())
}

/// What `docker/make-secrets` makes, which is kept when it runs again.
fn made_secrets() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let made = Command::new(repository().join("docker/make-secrets"))
            .arg(dir.path())
            .output()
            .context("run docker/make-secrets")?;
        ensure!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        kept.push(std::fs::read(dir.path().join("encryption_key"))?);
    }
    ensure!(kept[0] == kept[1], "a key was made again");
    Ok(dir)
}

#[test]
fn the_settings_are_ones_that_chartlift_takes() -> Result<()> {
    let Some(compose) = compose()? else {
        return Ok(());
    };
    let dir = made_secrets()?;
    let here = format!("{}/", dir.path().display());
    for name in ["migrate", "api", "worker"] {
        let service = &services(&compose)?[name];
        ensure!(
            texts(&service["command"]) == [name],
            "{name} runs `chartlift {name}`"
        );
        let env = environment(service).into_iter();
        let env = env.map(|(key, value)| (key, value.replace(SECRETS, &here)));
        let loaded = Settings::load(LoadOptions {
            file: None,
            overrides: Vec::new(),
            env: env.collect(),
        });
        let settings = loaded.with_context(|| name.to_owned())?;
        ensure!(
            settings.database.is_postgres(),
            "{name} has another database"
        );
        ensure!(objects::is_s3(&settings.records.location));
        ensure!(!settings.temporal.is_embedded());
        ensure!(!settings.secrets.encryption_key.is_empty());
        guard::Allow::parse(&settings.guard.allow)?;
        let is_open = name == "api";
        ensure!(
            settings.api.host.is_unspecified() == is_open,
            "{name} listens"
        );
    }
    Ok(())
}

#[test]
fn images_are_pinned_and_workers_can_be_many() -> Result<()> {
    let Some(compose) = compose()? else {
        return Ok(());
    };
    let services = services(&compose)?;
    for (name, service) in services {
        let image = service["image"].as_str().context("an image")?;
        ensure!(is_pinned(image), "{name} runs {image}");
        ensure!(
            service["container_name"].is_null(),
            "{name} has a fixed name"
        );
        for port in texts(&service["ports"]) {
            ensure!(
                port.starts_with("127.0.0.1:"),
                "{name} is open to all: {port}"
            );
        }
    }
    ensure!(
        services["worker"]["ports"].is_null(),
        "a worker has a fixed port"
    );
    let version = env!("CARGO_PKG_VERSION");
    ensure!(services["worker"]["image"] == format!("chartlift:{version}"));
    // The store is the one of the tests, and workflows find what they need.
    let tools = std::fs::read_to_string(repository().join("xtask/src/tools.rs"))?;
    let store = services["s3"]["image"].as_str().unwrap_or_default();
    let store = store.rsplit_once(":v").context("a version")?.1;
    ensure!(
        tools.contains(&format!("version: \"{store}\"")),
        "{store} is not tested"
    );
    let setup = services["temporal-setup"]["command"].to_string();
    for attribute in steps::SEARCH_ATTRIBUTES {
        ensure!(setup.contains(attribute), "{attribute} is not made");
    }
    Ok(())
}
