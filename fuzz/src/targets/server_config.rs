//! The configuration file, by its public door.

use ::server::config::{Config, Settings};

use super::text;
use crate::engine::Target;

/// TOML by whoever runs the node.
pub(super) const CONFIG: Target = Target::new("server-config", config, || {
    let shipped = include_str!("../../../deploy/conf/chancery_full.toml");
    let bare: String = shipped
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    vec![bare.into_bytes(), b"data_dir = \"/d\"\n[backup]\nkeep = 18446744073709551615\n".to_vec()]
})
.tokens(&[
    b"\"\"\"",
    b"[[",
    b"]]",
    b"= ",
    b"[seal]\n",
    b"[backup]\n",
    b"[ledger]\n",
    b"{ a = ",
    b"1e999",
    b"1979-05-27T07:32:00Z",
    b"\\u0000",
]);

fn config(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(settings) = toml::from_str::<Settings>(text) {
        assert_eq!(toml::from_str::<Settings>(text).as_ref(), Ok(&settings));
        // A data folder that is there would be looked at.
        let elsewhere = Settings { data_dir: Some("/nonexistent/chancery-fuzz".into()), ..settings };
        let _ = Config::resolve(elsewhere);
    }
}
