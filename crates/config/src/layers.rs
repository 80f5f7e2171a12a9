//! How settings come together: default, file, environment, flags. The default
//! is also the schema: a key it does not have is refused, and a value must be
//! of the type it has there. Merging itself is the `config` crate's.

use crate::{Error, Settings, check};
use config_rs::{Config, Environment, File, FileFormat};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The documented default: the manual of `chartlift.toml`.
pub const DEFAULT: &str = include_str!("default.toml");

/// The settings file's name in the working and the data folder.
const FILE_NAME: &str = "chartlift.toml";

/// Keys whose value may also be given as a file.
const SECRET_KEYS: [&str; 5] = [
    "database.url",
    "s3.access_key_id",
    "s3.secret_access_key",
    "secrets.encryption_key",
    "secrets.other_encryption_key",
];

/// What [`Settings::load`] reads.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The file given by the user; it must exist. Without one, `chartlift.toml`
    /// is looked for in the working folder, then in the data folder.
    pub file: Option<PathBuf>,
    /// Flags, as (`section.key`, value). They win over everything.
    pub overrides: Vec<(String, String)>,
    /// The environment.
    pub env: Vec<(String, String)>,
}

impl LoadOptions {
    /// Reads this process's environment; variables that are not text are
    /// left out.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            overrides,
            env,
        }
    }
}

impl Settings {
    /// Puts the layers together, checks the result and completes what depends
    /// on other keys (the database's URL, the record store's location).
    ///
    /// # Errors
    /// When a layer cannot be read, has an unknown key or a value that cannot
    /// be used. The message names the key and where it was given.
    pub fn load(options: LoadOptions) -> Result<Self, Error> {
        let schema: Table = DEFAULT.parse().expect("the embedded default is TOML");
        let mut origins = BTreeMap::new();

        let from_env = read_env(&schema, &options.env)?;
        for (key, value, origin) in &from_env {
            check_text(&schema, key, value, origin)?;
        }
        let flags: Vec<_> = options
            .overrides
            .into_iter()
            .map(|(key, value)| (key, value, "the command line".to_owned()))
            .collect();
        for (key, value, origin) in &flags {
            check_text(&schema, key, value, origin)?;
        }

        let data_dir = data_dir(&schema, from_env.iter().chain(&flags));
        let in_data_dir = data_dir.join(FILE_NAME);
        let found = || {
            [PathBuf::from(FILE_NAME), in_data_dir.clone()]
                .into_iter()
                .find(|path| path.exists())
        };
        let file = options.file.or_else(found);
        let mut builder = Config::builder().add_source(File::from_str(DEFAULT, FileFormat::Toml));
        if let Some(path) = &file {
            let text = read_file(&schema, path, &mut origins)?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
        }
        let variables: HashMap<String, String> = from_env
            .iter()
            .map(|(key, value, _)| (variable_of(key), value.clone()))
            .collect();
        // Values stay text and are parsed into the field's type: guessing types
        // here would turn a namespace "1.10" into 1.1.
        builder = builder.add_source(
            Environment::with_prefix("CHARTLIFT")
                .prefix_separator("_")
                .separator("__")
                .source(Some(variables)),
        );
        for (key, value, _) in &flags {
            builder = builder.set_override(key, value.as_str())?;
        }
        for (key, _, origin) in from_env.into_iter().chain(flags) {
            origins.insert(key, origin);
        }
        let merged = builder.build()?;
        check::words(&merged, &origins)?;
        let mut settings: Self = merged.try_deserialize()?;
        settings.origins = origins;
        let temporal_address = options
            .env
            .iter()
            .find(|(name, _)| name == "TEMPORAL_ADDRESS");
        check::complete(
            &mut settings,
            temporal_address.map(|(_, value)| value.as_str()),
        )?;
        if file.as_ref() == Some(&in_data_dir) {
            check::stays_put(&settings, &data_dir)?;
        }
        check::check(&settings)?;
        Ok(settings)
    }
}

/// `api.port` → `CHARTLIFT_API__PORT`.
fn variable_of(key: &str) -> String {
    format!("CHARTLIFT_{}", key.replacen('.', "__", 1).to_uppercase())
}

/// The settings among the variables, as (key, value, origin). Variables of ours
/// without `__` are switches of tools and tests, not settings.
fn read_env(
    schema: &Table,
    env: &[(String, String)],
) -> Result<Vec<(String, String, String)>, Error> {
    let mut found = Vec::new();
    for (name, value) in env {
        let Some(rest) = name
            .strip_prefix("CHARTLIFT_")
            .filter(|rest| rest.contains("__"))
        else {
            continue;
        };
        let key = rest.replacen("__", ".", 1).to_lowercase();
        let of_file = key
            .strip_suffix("_file")
            .filter(|key| SECRET_KEYS.contains(key));
        let Some(secret) = of_file else {
            find(schema, &key, &format!("the variable {name}"))?;
            found.push((key, value.clone(), format!("the variable {name}")));
            continue;
        };
        let variable = name.trim_end_matches("_FILE").to_owned();
        if env.iter().any(|(other, _)| *other == variable) {
            return Err(Error::GivenTwice { variable });
        }
        let text = std::fs::read_to_string(value).map_err(|source| Error::SecretFile {
            variable: name.clone(),
            path: value.into(),
            source,
        })?;
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        found.push((secret.to_owned(), text, format!("the file named by {name}")));
    }
    Ok(found)
}

/// The default's value of `key`, or the error that lists the legal ones.
fn find<'s>(schema: &'s Table, key: &str, origin: &str) -> Result<&'s Value, Error> {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let keys = schema.get(section).and_then(Value::as_table);
    if let Some(value) = keys.and_then(|keys| keys.get(name)) {
        return Ok(value);
    }
    let names = |table: &Table| {
        table
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let legal = match keys {
        Some(keys) => format!("the keys of [{section}] are {}", names(keys)),
        None => format!("the sections are {}", names(schema)),
    };
    Err(Error::UnknownKey {
        key: key.to_owned(),
        origin: origin.to_owned(),
        legal,
    })
}

/// Refuses text that is no value of the key's type.
fn check_text(schema: &Table, key: &str, text: &str, origin: &str) -> Result<(), Error> {
    let fits = match find(schema, key, origin)? {
        Value::Integer(_) => text.parse::<i64>().is_ok(),
        Value::Boolean(_) => text.parse::<bool>().is_ok(),
        _ => true,
    };
    if fits {
        Ok(())
    } else {
        Err(wrong_type(schema, key, origin))
    }
}

/// Whether a file's value is of the type the schema has. Lists are of texts.
fn is_alike(schema: &Value, value: &Value) -> bool {
    let has_texts_alone = |values: &Vec<Value>| values.iter().all(Value::is_str);
    schema.type_str() == value.type_str() && value.as_array().is_none_or(has_texts_alone)
}

fn wrong_type(schema: &Table, key: &str, origin: &str) -> Error {
    let expected = match find(schema, key, origin) {
        Err(error) => return error,
        Ok(Value::Integer(_)) => "a whole number",
        Ok(Value::Boolean(_)) => "true or false",
        Ok(Value::Array(_)) => "a list of texts in quotes",
        Ok(_) => "text in quotes",
    };
    Error::WrongType {
        key: key.to_owned(),
        origin: origin.to_owned(),
        expected,
    }
}

/// The data folder as far as it is known before the file is read.
fn data_dir<'a>(
    schema: &Table,
    strong: impl DoubleEndedIterator<Item = &'a (String, String, String)>,
) -> PathBuf {
    let default = schema["data"]["dir"].as_str().unwrap_or_default();
    let given = strong.rev().find(|(key, _, _)| key == "data.dir");
    PathBuf::from(given.map_or(default, |(_, value, _)| value.as_str()))
}

/// Reads a settings file and holds each of its keys against the schema.
fn read_file(
    schema: &Table,
    path: &Path,
    origins: &mut BTreeMap<String, String>,
) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        Error::Syntax {
            path: path.to_owned(),
            line: text.as_bytes()[..offset]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
            message: error.message().to_owned(),
        }
    })?;
    let origin = path.display().to_string();
    for (section, keys) in &table {
        let Some(keys) = keys.as_table() else {
            // A key above the first section.
            find(schema, section, &origin)?;
            continue;
        };
        if !schema.contains_key(section) {
            find(schema, section, &origin)?;
        }
        for (name, value) in keys {
            let key = format!("{section}.{name}");
            if !is_alike(find(schema, &key, &origin)?, value) {
                return Err(wrong_type(schema, &key, &origin));
            }
            origins.insert(key, origin.clone());
        }
    }
    Ok(text)
}
