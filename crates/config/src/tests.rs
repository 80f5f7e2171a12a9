//! What an operator relies on: the documented default, precedence, refusals
//! that say where, and silence about secrets.

mod printed;

use crate::{DEFAULT, Error, LoadOptions, LogFormat, Settings};
use std::path::PathBuf;

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A settings file of this test's own, gone when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let dir = format!("chartlift-config-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        self.0.parent().map(std::fs::remove_dir_all);
    }
}

fn load(
    file: Option<&TempFile>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, Error> {
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    Settings::load(LoadOptions {
        file: file.map(|file| file.0.clone()),
        overrides: own(flags),
        env: own(env),
    })
}

fn refusal(file: Option<&TempFile>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, env, flags).unwrap_err().to_string()
}

#[test]
fn the_default_is_complete_and_every_key_is_explained() {
    let settings = load(None, &[], &[]).unwrap();
    let dir = std::env::current_dir().unwrap().join("chartlift-data");
    assert_eq!(settings.data.dir, dir);
    assert_eq!(
        settings.database.url.expose(),
        format!("sqlite://{}/chartlift.db", dir.display())
    );
    assert_eq!(
        settings.records.location,
        format!("{}/records", dir.display())
    );
    assert_eq!(settings.api.address().to_string(), "127.0.0.1:8080");
    assert!(settings.temporal.is_embedded());
    assert_eq!(
        (settings.temporal.grpc_port, settings.temporal.ui_port),
        (7233, 8233)
    );
    assert_eq!(settings.worker.linger().as_millis(), 500);
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.origin("api.port"), "the default");

    let lines: Vec<&str> = DEFAULT.lines().collect();
    for (at, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'))
    {
        // `namespace` and `ui_port` share the comment of the key above them.
        let above = lines[at - 1];
        assert!(
            above.starts_with('#') || above.contains(" = "),
            "no comment above: {line}"
        );
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_legal_keys() {
    let file = TempFile::new("unknown.toml", "[api]\nprot = 9000\n");
    let text = refusal(Some(&file), &[], &[]);
    assert!(
        text.contains("`api.prot`") && text.contains("unknown.toml"),
        "{text}"
    );
    assert!(text.contains("the keys of [api] are host, port"), "{text}");

    let file = TempFile::new("section.toml", "[apis]\n");
    assert!(refusal(Some(&file), &[], &[]).contains("the sections are api, data, "));
    let file = TempFile::new("top.toml", "port = 1\n");
    assert!(refusal(Some(&file), &[], &[]).contains("unknown setting `port`"));

    let text = refusal(None, &[("CHARTLIFT_API__PROT", "9000")], &[]);
    assert!(
        text.contains("`api.prot` in the variable CHARTLIFT_API__PROT"),
        "{text}"
    );
    assert!(refusal(None, &[], &[("api.prot", "1")]).contains("the command line"));
}

#[test]
fn a_list_is_a_list_in_a_file_and_has_commas_elsewhere() {
    assert!(load(None, &[], &[]).unwrap().guard.allow.is_empty());
    let file = TempFile::new(
        "list.toml",
        "[guard]\nallow = [\"10.0.0.0/8\", \"ehr.internal\"]\n",
    );
    let settings = load(Some(&file), &[], &[]).unwrap();
    assert_eq!(settings.guard.allow, ["10.0.0.0/8", "ehr.internal"]);
    let shown = settings.print_redacted();
    assert!(
        shown.contains("allow = [\"10.0.0.0/8\", \"ehr.internal\"]  # "),
        "{shown}"
    );

    let env = [("CHARTLIFT_GUARD__ALLOW", "127.0.0.1/32, ::1")];
    let settings = load(Some(&file), &env, &[]).unwrap();
    assert_eq!(settings.guard.allow, ["127.0.0.1/32", "::1"]);

    for text in [
        "[guard]\nallow = \"10.0.0.0/8\"\n",
        "[guard]\nallow = [1]\n",
    ] {
        let file = TempFile::new("no-list.toml", text);
        let text = refusal(Some(&file), &[], &[]);
        assert!(text.contains("must be a list of texts in quotes"), "{text}");
    }
}

#[test]
fn attachment_types_are_media_types_or_beginnings_of_some() {
    let default = load(None, &[], &[]).unwrap().worker.attachment_types;
    assert!(default.iter().any(|pattern| pattern == "application/pdf"));
    let set = |text| load(None, &[("CHARTLIFT_WORKER__ATTACHMENT_TYPES", text)], &[]);
    for good in ["*/*", "text/plain", "text/*, application/vnd.ms-*", ""] {
        assert!(set(good).is_ok(), "{good}");
    }
    for bad in [
        "text",
        "*",
        "*/plain",
        "text/",
        "/plain",
        "te*t/plain",
        "text/pl*in",
        "a/b/c",
    ] {
        let text = set(bad).unwrap_err().to_string();
        let names_it = text.contains("worker.attachment_types") && text.contains(bad);
        assert!(names_it, "{bad}: {text}");
    }
}

#[test]
fn a_record_store_in_s3_needs_a_key_which_is_not_printed() {
    let place = ("records.location", "s3://bucket/x");
    let id = ("s3.access_key_id", "AKIDEXAMPLE");
    assert!(refusal(None, &[], &[place]).contains("`s3.access_key_id`"));
    assert!(refusal(None, &[], &[place, id]).contains("`s3.secret_access_key`"));
    let file = TempFile::new("key", "hush/secret\n");
    let name = file.0.display().to_string();
    let env = [("CHARTLIFT_S3__SECRET_ACCESS_KEY_FILE", name.as_str())];
    let settings = load(None, &env, &[place, id]).unwrap();
    assert_eq!(settings.records.location, "s3://bucket/x");
    assert_eq!(settings.s3.secret_access_key.expose(), "hush/secret");
    let shown = format!("{} {settings:?}", settings.print_redacted());
    assert!(
        !shown.contains("hush") && !shown.contains("AKID"),
        "{shown}"
    );
}

#[test]
fn variables_without_a_section_are_not_settings() {
    let env = [
        ("CHARTLIFT_CACHE", "x"),
        ("CHARTLIFT_TEST_BIN_DIR", "y"),
        ("OTHER__KEY", "z"),
    ];
    load(None, &env, &[]).unwrap();
}

#[test]
fn file_then_variable_then_flag() {
    let file = TempFile::new(
        "order.toml",
        "[api]\nport = 9001\n[worker]\npull_slots = 7\n",
    );
    let settings = load(Some(&file), &[], &[]).unwrap();
    assert_eq!((settings.api.port, settings.worker.pull_slots), (9001, 7));
    let env = [("CHARTLIFT_API__PORT", "9002")];
    let settings = load(Some(&file), &env, &[]).unwrap();
    assert_eq!((settings.api.port, settings.worker.pull_slots), (9002, 7));
    let settings = load(Some(&file), &env, &[("api.port", "9003")]).unwrap();
    assert_eq!(settings.api.port, 9003);
    assert_eq!(settings.origin("api.port"), "the command line");
    assert!(settings.origin("worker.pull_slots").ends_with("order.toml"));
}

#[test]
fn the_data_folder_may_hold_the_file_that_may_not_move_it() {
    let file = TempFile::new("chartlift.toml", "[api]\nport = 9010\n");
    let dir = file.0.parent().unwrap().to_str().unwrap();
    let env = [("CHARTLIFT_DATA__DIR", dir)];
    assert_eq!(load(None, &env, &[]).unwrap().api.port, 9010);
    // Here the variable is the stronger. Where only the default named the
    // folder, the file would win and is refused.
    let text = "[data]\ndir = \"elsewhere\"\n";
    std::fs::write(&file.0, text).unwrap();
    let settings = load(None, &env, &[]).unwrap();
    assert_eq!(settings.data.dir.to_str(), Some(dir));
    crate::check::stays_put(&settings, dir.as_ref()).unwrap();
    let refused = crate::check::stays_put(&settings, "elsewhere".as_ref()).unwrap_err();
    assert!(
        refused.to_string().contains("cannot name another"),
        "{refused}"
    );
}

#[test]
fn text_that_looks_like_a_number_stays_text() {
    let env = [("CHARTLIFT_TEMPORAL__NAMESPACE", "1.10")];
    assert_eq!(load(None, &env, &[]).unwrap().temporal.namespace, "1.10");
}

#[test]
fn temporal_address_is_heeded_where_nothing_else_is_given() {
    let env = [("TEMPORAL_ADDRESS", "temporal.example.org:7233")];
    assert_eq!(
        load(None, &env, &[]).unwrap().temporal.address,
        "temporal.example.org:7233"
    );
    let settings = load(None, &env, &[("temporal.address", "localhost:1")]).unwrap();
    assert_eq!(settings.temporal.address, "localhost:1");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_place() {
    let file = TempFile::new("type.toml", "[api]\nport = \"many\"\n");
    let text = refusal(Some(&file), &[], &[]);
    assert!(
        text.contains("`api.port`") && text.contains("type.toml must be a whole number"),
        "{text}"
    );
    let file = TempFile::new("syntax.toml", "[api]\n\nport = = 1\n");
    assert!(refusal(Some(&file), &[], &[]).contains("syntax.toml line 3 is not valid TOML"));

    for (key, value, expected) in [
        ("api.port", "many", "must be a whole number"),
        ("api.port", "70000", "use 1 to 65535"),
        ("api.host", "localhost", "not an IP address"),
        ("worker.page_count", "0", "use 1 to 10000"),
        ("worker.pull_slots", "-1", "out of bounds"),
        ("temporal.ui_port", "7233", "also `temporal.grpc_port`"),
        ("temporal.address", "somewhere", "host:port"),
        ("temporal.task_queue_prefix", "a b", "letters"),
        ("database.url", "mysql://u:hush@db/x", "postgres://"),
        ("database.url", "postgres://u:hush@db", "postgres://"),
        ("database.connections_max", "1", "use 2 to 1000"),
        ("records.location", "gs://bucket/x", "local folder"),
        ("log.format", "xml", "use text or json"),
        ("log.level", "chatty=loud=x", "use error, warn"),
        ("secrets.encryption_key", "hush", "32 bytes in base64"),
        ("secrets.other_encryption_key", "hush", "32 bytes in base64"),
    ] {
        let text = refusal(None, &[], &[(key, value)]);
        assert!(text.contains(expected), "{key}: {text}");
        assert!(
            text.contains(&format!("`{key}` in the command line")),
            "{key}: {text}"
        );
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn a_secret_may_come_from_a_file_but_not_from_two_places() {
    let file = TempFile::new("key.txt", &format!("{KEY}\n"));
    let path = file.0.to_str().unwrap();
    let of_file = ("CHARTLIFT_SECRETS__ENCRYPTION_KEY_FILE", path);
    let settings = load(None, &[of_file], &[]).unwrap();
    assert_eq!(settings.secrets.encryption_key.expose(), KEY);

    let text = refusal(
        None,
        &[of_file, ("CHARTLIFT_SECRETS__ENCRYPTION_KEY", KEY)],
        &[],
    );
    assert!(
        text.contains("CHARTLIFT_SECRETS__ENCRYPTION_KEY_FILE are set"),
        "{text}"
    );
    let text = refusal(
        None,
        &[("CHARTLIFT_DATABASE__URL_FILE", "/nowhere/at/all")],
        &[],
    );
    assert!(
        text.contains("CHARTLIFT_DATABASE__URL_FILE") && text.contains("/nowhere"),
        "{text}"
    );
    let text = refusal(None, &[("CHARTLIFT_API__PORT_FILE", path)], &[]);
    assert!(text.contains("unknown setting `api.port_file`"), "{text}");
}

#[test]
fn an_error_is_small_enough_to_return() {
    assert!(std::mem::size_of::<Error>() < 128);
}
