//! The settings in force, as `chartlift config` and the like show them.

use super::Settings;

impl Settings {
    /// The settings in force as TOML, each changed key with a comment on where
    /// it was given, without secrets.
    #[must_use]
    pub fn print_redacted(&self) -> String {
        let table = toml::Table::try_from(self).expect("settings are tables of plain values");
        let mut out = String::new();
        for (section, keys) in &table {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("[{section}]\n"));
            for (key, value) in keys.as_table().into_iter().flatten() {
                out.push_str(&format!("{key} = {value}"));
                if let Some(origin) = self.origins.get(&format!("{section}.{key}")) {
                    out.push_str(&format!("  # {origin}"));
                }
                out.push('\n');
            }
        }
        out
    }
}
